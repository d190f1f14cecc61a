"""Made-up payments for benchmarks of features: as many as asked, in columns, with hot and quiet entities."""

from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
import polars as pl

from fraud_core.contracts import Contract

START_MS: Final = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp() * 1000)
_DAY_MS = 86_400_000


def payments(
    contract: Contract,
    rows: int,
    accounts: int,
    merchants: int,
    *,
    days: float = 90,
    seed: int = 7,
    first: int = 0,
    after_days: float = 0,
) -> pl.DataFrame:
    """`rows` payments over `days` days in the order of their times, with every field of the default contract.

    `first` numbers the first of them, `after_days` says when they begin: so that many can be made in parts.

    Activity is uneven: of the merchants, the busiest one takes some percent of all payments; one in five accounts has a
    second card; three payments of four name a device.
    """
    rng = np.random.default_rng(seed)
    start = START_MS + int(after_days * _DAY_MS)
    times = np.sort(rng.integers(start, start + int(days * _DAY_MS), rows))
    account = _uneven(rng, rows, accounts, 0.35)
    merchant = _uneven(rng, rows, merchants, 0.75)
    card = account * 2 + ((account % 5 == 0) & (rng.random(rows) < 0.5))
    device = account * 3 + rng.integers(0, 3, rows) * (rng.random(rows) < 0.1)
    amount = np.round(np.exp(rng.normal(7.8, 1.1, rows))).astype(np.int64) + 1
    codes = np.array(["5411", "5812", "5999", "5541", "4111", "7995", "6011", "5732"])
    countries = np.array(["DE", "FR", "IT", "ES", "NL", "GB", "US", "PL"])
    channels = contract.by_name["channel"].enum
    frame = pl.DataFrame(
        {
            "n": np.arange(first, first + rows),
            "account": account,
            "card": card,
            "merchant": merchant,
            "device": device,
        }
    )
    spread = rng.normal(0, 1, (2, rows))
    return frame.select(
        transaction_id=pl.format("b_{}", "n"),
        event_ts=pl.Series(times * 1000).cast(pl.Datetime("us", "UTC")),
        account_id=pl.format("a_{}", "account"),
        card_id=pl.format("tok_c{}", "card"),
        merchant_id=pl.format("m_{}", "merchant"),
        merchant_category=pl.Series(codes[merchant % len(codes)]),
        amount_minor=pl.Series(amount),
        currency=pl.lit("EUR"),
        amount_base_minor=pl.Series(amount),
        country=pl.Series(countries[np.where(rng.random(rows) < 0.97, account, merchant) % len(countries)]),
        channel=pl.Series(np.array(channels)[rng.integers(0, len(channels), rows)]),
        device_id=pl.when(pl.Series(rng.random(rows) < 0.75)).then(pl.format("dev_{}", "device")),
        device_type=pl.lit("mobile"),
        ip_hash=pl.lit(None, pl.String),
        latitude=pl.Series(np.round(50 + spread[0] * 4, 4)),
        longitude=pl.Series(np.round(10 + spread[1] * 6, 4)),
        card_present=pl.Series(rng.random(rows) < 0.6),
        home_country=pl.Series(countries[account % len(countries)]),
        home_latitude=pl.Series(np.round(46 + (account % 800) / 100, 4)),
        home_longitude=pl.Series(np.round(4 + (account % 1300) / 100, 4)),
        card_issued_on=pl.Series(18_000 + account % 1_500, dtype=pl.Int32).cast(pl.Date),
        known_at=pl.Series(times * 1000).cast(pl.Datetime("us", "UTC")),
        _shard=pl.lit(0, pl.Int32),
        _offset=pl.col("n") + 1,
        _index=pl.lit(0, pl.Int32),
    )


def frauds(contract: Contract, events: pl.DataFrame, share: float = 0.004) -> pl.DataFrame:
    """Labels of some of the payments, known three days later."""
    chosen = events.select(contract.event_id, contract.event_time).filter(
        pl.col(contract.event_id).hash(seed=3) % 100_000 < int(share * 100_000)
    )
    known = pl.col(contract.event_time) + pl.duration(days=3)
    return chosen.with_columns(is_fraud=pl.lit(True), reported_at=known, known_at=known)


def as_events(contract: Contract, frame: pl.DataFrame) -> list[dict[str, Any]]:
    """Rows as the JSON events that a client sends."""
    schema = contract.polars_schema()
    times = [name for name, dtype in schema.items() if isinstance(dtype, pl.Datetime)]
    days = [name for name, dtype in schema.items() if isinstance(dtype, pl.Date)]
    wanted = frame.select(
        pl.col(name).dt.strftime("%Y-%m-%dT%H:%M:%S%.3fZ")
        if name in times
        else pl.col(name).dt.strftime("%Y-%m-%d")
        if name in days
        else pl.col(name)
        for name in schema
    )
    return wanted.to_dicts()


def _uneven(
    rng: np.random.Generator, rows: int, entities: int, skew: float
) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Entity of each row; a larger `skew` (below 1) gives fewer of them more of the rows."""
    return np.minimum((entities * rng.random(rows) ** (1 / (1 - skew))).astype(np.int64), entities - 1)
