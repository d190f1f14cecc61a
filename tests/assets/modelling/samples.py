"""A small world in which fraud depends on two of four features, with labels that arrive days later."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl

from fraud_assets.modelling.training_set import Roles

START = datetime(2026, 6, 1, tzinfo=UTC)
DAYS = 60
END = START + timedelta(days=DAYS)
MATURITY = timedelta(days=7)
FEATURES = ("amount_z", "night", "speed", "noise")
ROLES = Roles("payment_id", "paid_at", "card_id", "amount_minor")


def payments(rows: int = 12_000, seed: int = 1) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Features and labels: about 3 % frauds, a tenth of the values of `speed` missing, labels three days late."""
    random = np.random.default_rng(seed)
    matrix = random.lognormal(0, 1.5, (rows, len(FEATURES))).astype(np.float32)
    matrix[random.random(rows) < 0.1, 2] = np.nan
    log_odds = 1.6 * np.log(matrix[:, 0]) + 1.2 * np.log(np.nan_to_num(matrix[:, 2], nan=1.0)) - 7.0
    fraud = random.random(rows) < 1 / (1 + np.exp(-log_odds))
    at = np.sort(random.integers(0, DAYS * 86_400_000_000, rows))
    frame = pl.DataFrame(matrix, schema=list(FEATURES)).with_columns(
        pl.Series("payment_id", [f"p-{number:06d}" for number in range(rows)]),
        (pl.lit(START) + pl.Series(at).cast(pl.Duration("us")))
        .cast(pl.Datetime("us", "UTC"))
        .alias("paid_at"),
        pl.Series("card_id", random.integers(0, 600, rows)).cast(pl.String),
        pl.Series("amount_minor", random.integers(100, 100_000, rows)),
    )
    frame = frame.with_columns(known_at=pl.col("paid_at"))
    labels = frame.filter(pl.Series(fraud)).select(
        "payment_id", is_fraud=pl.lit(True), known_at=pl.col("paid_at") + timedelta(days=3)
    )
    return frame, labels
