"""Payments as arrays of numbers, and as the table that the default contract describes.

Everything stays numeric until the last moment: strings are made once per table, by look-up or by formatting a code.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fraud_core.simulator.accounts import MOST_CARDS
from fraud_core.simulator.geography import COUNTRIES, RATES
from fraud_core.simulator.merchants import MCC
from fraud_core.simulator.world import World

CHANNELS: Final = ("pos", "ecom", "atm", "moto")
POS, ECOM, ATM, MOTO = range(4)
DEVICE_TYPES: Final = ("mobile", "desktop", "tablet", "other")
MOBILE, DESKTOP, TABLET, OTHER = range(4)
GENUINE: Final = -1
NO_CODE: Final = np.uint64(0)


@dataclass(frozen=True)
class Payments:
    """One item per payment, in no particular order."""

    time_ms: NDArray[np.int64]
    account: NDArray[np.int32]
    card: NDArray[np.int8]
    merchant: NDArray[np.int32]
    euro_cents: NDArray[np.int64]
    channel: NDArray[np.int8]
    device: NDArray[np.uint64]
    """Code of the device, NO_CODE where none is known."""
    device_type: NDArray[np.int8]
    address: NDArray[np.uint64]
    """Code of the network address, NO_CODE where there is none."""
    latitude: NDArray[np.float64]
    longitude: NDArray[np.float64]
    present: NDArray[np.bool_]
    scenario: NDArray[np.int8]
    """Index into SCENARIOS, GENUINE (-1) for an honest payment."""
    campaign: NDArray[np.int64]
    """Number of the fraud's campaign, -1 for an honest payment."""

    def __len__(self) -> int:
        return len(self.time_ms)

    def take(self, rows: NDArray[Any] | slice) -> "Payments":
        """These rows (indices, a mask or a slice)."""
        return Payments(*(getattr(self, name)[rows] for name in _NAMES))

    def cut(self, bounds: NDArray[np.int64]) -> list["Payments"]:
        """The rows from each bound to the next."""
        return [self.take(slice(*pair)) for pair in pairwise(bounds.tolist())]

    def at(self, time_ms: NDArray[np.int64]) -> "Payments":
        """The same payments at other times."""
        return replace(self, time_ms=time_ms)


_NAMES: Final = tuple(item.name for item in fields(Payments))


def concatenate(parts: Sequence[Payments]) -> Payments:
    """All rows of all parts."""
    if len(parts) == 1:
        return parts[0]
    return Payments(*(np.concatenate([getattr(part, name) for part in parts]) for name in _NAMES))


class Tables:
    """Turns payments of one world into rows of the default transactions contract."""

    def __init__(self, world: World) -> None:
        self._world = world
        accounts = np.arange(len(world.accounts))
        cards = np.arange(len(accounts) * MOST_CARDS)
        countries = pl.Series([item.code for item in COUNTRIES], dtype=pl.String)
        self._countries = countries
        self._currencies = pl.Series([item.currency for item in COUNTRIES], dtype=pl.String)
        self._mcc = pl.Series(MCC, dtype=pl.String)
        self._channels = pl.Series(CHANNELS, dtype=pl.String)
        self._device_types = pl.Series(DEVICE_TYPES, dtype=pl.String)
        self._accounts = pl.select(_named("a", pl.Series(accounts), 7)).to_series()
        self._merchants = pl.select(_named("m", pl.Series(np.arange(len(world.merchants))), 6)).to_series()
        # The letter in front keeps a token from ever being read as a card's number.
        self._cards = pl.select(
            _named("tok", pl.Series(world.code(1, cards) % np.uint64(10**11)), 11)
        ).to_series()
        self._cards = (self._cards + pl.Series(cards % 1000).cast(pl.String)).rename("card")

    def transactions(self, payments: Payments, ids: pl.Series) -> pl.DataFrame:
        """The payments as rows of the contract, in the order given, under these ids."""
        world, accounts = self._world, self._world.accounts
        account = payments.account
        country = world.cities.country[world.merchants.city[payments.merchant]]
        card = account.astype(np.int64) * MOST_CARDS + payments.card
        rate = RATES[country]
        amount = np.maximum(np.rint(payments.euro_cents * rate).astype(np.int64), 1)
        device = pl.Series("device", payments.device)
        frame = pl.DataFrame(
            {
                "transaction_id": ids,
                "event_ts": pl.Series(payments.time_ms * 1000).cast(pl.Datetime("us", "UTC")),
                "account_id": self._accounts.gather(account),
                "card_id": self._cards.gather(card),
                "merchant_id": self._merchants.gather(payments.merchant),
                "merchant_category": self._mcc.gather(world.merchants.category[payments.merchant]),
                "amount_minor": amount,
                "currency": self._currencies.gather(country),
                # What the amount is worth in the base currency, as a bank's books would have it.
                "amount_base_minor": np.rint(amount / rate).astype(np.int64),
                "country": self._countries.gather(country),
                "channel": self._channels.gather(payments.channel),
                "device_id": device,
                "device_type": self._device_types.gather(payments.device_type),
                "ip_hash": _hexadecimal(payments.address),
                "latitude": pl.Series(np.round(payments.latitude, 4), nan_to_null=True),
                "longitude": pl.Series(np.round(payments.longitude, 4), nan_to_null=True),
                "card_present": payments.present,
                "home_country": self._countries.gather(world.cities.country[accounts.city[account]]),
                "home_latitude": accounts.latitude[account],
                "home_longitude": accounts.longitude[account],
                "card_issued_on": pl.Series(accounts.card_issued[account, payments.card]).cast(pl.Date),
            }
        )
        has_device = pl.col("device_id") != 0
        return frame.with_columns(
            device_id=pl.when(has_device).then(pl.concat_str(pl.lit("dev_"), pl.col("device_id"))),
            device_type=pl.when(has_device).then(pl.col("device_type")),
        )


def _named(prefix: str, numbers: pl.Series, width: int) -> pl.Expr:
    return pl.concat_str(pl.lit(f"{prefix}_"), pl.lit(numbers).cast(pl.String).str.zfill(width))


def _hexadecimal(codes: NDArray[np.uint64]) -> pl.Series:
    """16 hexadecimal digits of each code, null where there is none."""
    known = np.flatnonzero(codes)
    digits = codes[known].astype(">u8").tobytes().hex().encode()
    texts = pl.Series(np.frombuffer(digits, dtype="S16").astype("U16"), dtype=pl.String)
    rows = np.full(len(codes), -1, dtype=np.int64)
    rows[known] = np.arange(len(known))
    index = pl.Series(rows)
    return (
        texts.gather(index.set(index < 0, None)).rename("ip_hash")
        if len(known)
        else pl.Series("ip_hash", [None] * len(codes), dtype=pl.String)
    )
