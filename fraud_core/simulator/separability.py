"""How separable simulated fraud is: `python -m fraud_core.simulator.separability`.

Trains one model on raw fields and one on simple history features of the same history, both on the truth of the first
two thirds, and measures them on the rest: a world whose raw fields give the fraud away would teach nothing.
"""

import argparse
import json
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fraud_core.simulator.geography import distance_km
from fraud_core.simulator.history import History
from fraud_core.simulator.rhythm import DAY_MS
from fraud_core.simulator.world import World, WorldSpec

RAW_NUMBERS: Final = (
    "amount_minor",
    "amount_base_minor",
    "latitude",
    "longitude",
    "home_latitude",
    "home_longitude",
    "hour",
    "weekday",
    "card_age_days",
)
RAW_CATEGORIES: Final = (
    "merchant_category",
    "currency",
    "country",
    "home_country",
    "channel",
    "device_type",
    "card_present",
)
IDENTIFIERS: Final = ("merchant_id", "account_id", "card_id")
_LABEL_DELAY: Final = "7d"
FRAUD: Final = "_fraud"
UNTIL_MS: Final = 1_790_812_800_000
"""2026-10-01: a fixed end, so that the published numbers can be had again."""


def area_under_curve(truth: NDArray[np.bool_], score: NDArray[np.float64]) -> float:
    """Area under the ROC curve, ties counted as half (Mann and Whitney)."""
    ranks = pl.Series(score).rank("average").to_numpy()
    frauds = int(truth.sum())
    return float((ranks[truth].sum() - frauds * (frauds + 1) / 2) / (frauds * (len(truth) - frauds)))


def average_precision(truth: NDArray[np.bool_], score: NDArray[np.float64]) -> float:
    """Mean of the precision at each fraud, from the highest score down; equal scores share a place."""
    order = np.argsort(-score, kind="stable")
    hits, sorted_scores = np.cumsum(truth[order]), score[order]
    last = np.append(sorted_scores[1:] != sorted_scores[:-1], True)
    precision = hits[last] / (np.flatnonzero(last) + 1)
    return float((precision * np.diff(hits[last], prepend=0)).sum() / hits[-1])


def simulated_rows(spec: WorldSpec, days: int, until_ms: int) -> pl.DataFrame:
    """A history in order of time with its truth in `_fraud`, and the raw fields as numbers and categories."""
    chunks = History(World(spec), until_ms - days * DAY_MS, until_ms).chunks()
    rows = pl.concat([chunk.transactions for chunk in chunks]).sort("event_ts", "transaction_id")
    return rows.with_columns(
        pl.col("_scenario").is_not_null().alias(FRAUD),
        pl.col("event_ts").dt.hour().alias("hour"),
        pl.col("event_ts").dt.weekday().alias("weekday"),
        (pl.col("event_ts").dt.date() - pl.col("card_issued_on")).dt.total_days().alias("card_age_days"),
    )


def history_features(rows: pl.DataFrame) -> pl.DataFrame:
    """Plain features of the past of account, card, device and merchant; rows must be in order of time."""
    amount, when = pl.col("amount_base_minor"), pl.col("event_ts")
    rows = rows.with_columns(pl.int_range(pl.len()).alias("_row"))
    columns: list[pl.DataFrame] = []
    for entity in ("account_id", "merchant_id"):
        for window in ("1h", "1d", "7d"):
            rolled = rows.rolling("event_ts", period=window, group_by=entity).agg(
                pl.col("_row").last(),
                pl.len().alias(f"{entity}_{window}_count"),
                amount.sum().alias(f"{entity}_{window}_sum"),
                amount.mean().alias(f"{entity}_{window}_mean"),
                (amount < 1_000).sum().alias(f"{entity}_{window}_tiny"),
            )
            columns.append(rolled.drop(entity, "event_ts"))
    before = {
        "last_ms": when.dt.epoch("ms"),
        "last_latitude": pl.col("latitude"),
        "last_longitude": pl.col("longitude"),
    }
    rows = rows.with_columns(value.shift(1).over("account_id").alias(name) for name, value in before.items())
    rows = rows.with_columns(
        (when.dt.epoch("ms") - pl.col("last_ms")).alias("since_last_ms"),
        (
            amount
            / amount.shift(1).cum_sum().over("account_id")
            * pl.col("_row").cum_count().over("account_id")
        ).alias("amount_over_mean"),
        *(
            pl.int_range(pl.len()).over("account_id", other).alias(f"times_with_{other}")
            for other in ("merchant_id", "device_id", "country", "merchant_category", "channel", "ip_hash")
        ),
        pl.int_range(pl.len()).over("device_id").alias("device_uses"),
        pl.int_range(pl.len()).over("account_id").alias("account_uses"),
        (when - when.min().over("account_id", "device_id")).dt.total_seconds().alias("device_age_s"),
    )
    home = [rows[name].to_numpy() for name in ("latitude", "longitude", "home_latitude", "home_longitude")]
    last = [rows[name].to_numpy() for name in ("latitude", "longitude", "last_latitude", "last_longitude")]
    known = rows.filter(FRAUD).select(
        when.dt.offset_by(_LABEL_DELAY).alias("event_ts"), "merchant_id", "account_id"
    )
    rows = rows.with_columns(
        pl.Series("from_home_km", distance_km(*home)), pl.Series("from_last_km", distance_km(*last))
    ).with_columns((pl.col("from_last_km") / (pl.col("since_last_ms") / 3.6e6 + 0.02)).alias("speed_kmh"))
    for entity in ("merchant_id", "account_id"):
        reports = known.sort("event_ts").select(
            "event_ts", entity, (pl.int_range(pl.len()).over(entity) + 1).alias(f"{entity}_reported")
        )
        rows = rows.join_asof(reports, on="event_ts", by=entity, strategy="backward", check_sortedness=False)
    for part in columns:
        rows = rows.join(part.unique("_row", keep="last"), on="_row", how="left", maintain_order="left")
    return rows


def measure(
    days: int = 90, until_ms: int = UNTIL_MS, spec: WorldSpec | None = None, trees: int = 300
) -> dict[str, Any]:
    """Average precision and area under the curve of both models, and of each raw field alone."""
    rows = history_features(simulated_rows(spec or WorldSpec(), days, until_ms))
    late = (rows["event_ts"].dt.epoch("ms") >= until_ms - days * DAY_MS // 3).to_numpy()
    truth = rows[FRAUD].to_numpy()
    left_out = {FRAUD, "_row", "_scenario", "_virtual_ms", "last_ms", "last_latitude", "last_longitude"}
    raw = [*RAW_NUMBERS, *RAW_CATEGORIES]
    features = [
        *raw,
        *(name for name, kind in rows.schema.items() if kind.is_numeric() and name not in {*raw, *left_out}),
    ]
    result: dict[str, Any] = {
        "events": rows.height,
        "test_events": int(late.sum()),
        "fraud_share": round(float(truth.mean()), 5),
        "test_frauds": int(truth[late].sum()),
    }
    by_scenario = {}
    for name, chosen in (("raw", raw), ("history", features)):
        score = _fit(rows, chosen, truth, late, trees)
        result[f"{name}_average_precision"] = round(average_precision(truth[late], score), 3)
        result[f"{name}_auc"] = round(area_under_curve(truth[late], score), 3)
        cut = np.sort(score)[-max(1, int(0.01 * len(score)))]
        caught = rows.filter(pl.Series(late)).with_columns(pl.Series("_caught", score >= cut))
        recall = (
            caught.filter(FRAUD)
            .group_by("_scenario")
            .agg(pl.col("_caught").mean().round(2))
            .sort("_scenario")
        )
        by_scenario[name] = dict(recall.iter_rows())
    alone = {field: round(_alone(rows, field, truth, late), 3) for field in (*raw, *IDENTIFIERS)}
    result["recall_in_top_percent"] = by_scenario
    result["single_field_auc"] = dict(sorted(alone.items(), key=lambda item: -item[1]))
    return result


def _fit(
    rows: pl.DataFrame, names: list[str], truth: NDArray[np.bool_], late: NDArray[np.bool_], trees: int
) -> Any:
    import xgboost as xgb  # an extra, and slow to import

    numeric = rows.select(
        pl.col(name).cast(pl.String).rank("dense").cast(pl.Float32)
        if name in RAW_CATEGORIES
        else pl.col(name).cast(pl.Float32)
        for name in names
    ).to_numpy()
    model = xgb.XGBClassifier(
        n_estimators=trees, max_depth=6, learning_rate=0.06, subsample=0.8, colsample_bytree=0.6,
        min_child_weight=3, max_bin=1024, tree_method="hist", n_jobs=2, random_state=7,
    )  # fmt: skip
    model.fit(numeric[~late], truth[~late])
    return model.predict_proba(numeric[late])[:, 1].astype(np.float64)


def _alone(rows: pl.DataFrame, name: str, truth: NDArray[np.bool_], late: NDArray[np.bool_]) -> float:
    """How well one field alone ranks frauds: a number as it is or turned round, a category by its past share of fraud."""
    if name in RAW_NUMBERS:
        value = rows[name].cast(pl.Float64).fill_null(-1.0).to_numpy()[late]
        score = area_under_curve(truth[late], value)
        return max(score, 1 - score)
    early = rows.filter(pl.Series(~late))
    share = early.group_by(name).agg(((pl.col(FRAUD).sum() + 0.5) / (pl.len() + 100)).alias("share"))
    found = rows.filter(pl.Series(late)).join(
        share, on=name, how="left", maintain_order="left", nulls_equal=True
    )
    return area_under_curve(truth[late], found["share"].fill_null(0.005).to_numpy())


def main() -> None:
    """Measure and print as JSON."""
    parser = argparse.ArgumentParser(
        description="How separable simulated fraud is, by raw fields and by history."
    )
    parser.add_argument("--days", type=int, default=90)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--until-ms", type=int, default=UNTIL_MS, help="end of the history (ms since 1970)")
    chosen = parser.parse_args()
    print(json.dumps(measure(chosen.days, chosen.until_ms, WorldSpec(seed=chosen.seed)), indent=2))


if __name__ == "__main__":
    main()
