"""What a build of a range reads from the lake: the same choice of rows, whether they are held at once or streamed."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

import polars as pl
from deltalake import DeltaTable

from fraud_assets.lake import Lake
from fraud_assets.online_state.epochs import epoch_registry
from fraud_core.contracts import Contract, Contracts
from fraud_core.features import Epochs, FeatureSet, out_of_turn

_MARGIN = timedelta(hours=1)
"""On top of the contract's tolerance for times ahead of an event's arrival: nothing rests on the last minute."""
ORDER = ("known_at", "_stream", "_shard", "_incarnation", "_offset", "_index", "_epoch")
_TEXT_BYTES, _NUMBER_BYTES = 32, 8


@dataclass(frozen=True)
class Reading:
    """The payments that a build folds: known since `known_from`, or labelled since then; all of them `within`."""

    first: date
    last: date
    known_from: datetime
    within: pl.Expr
    """Events that may precede one of the range's in an entity's order; none when the range is empty."""
    epochs: Epochs
    known_to: datetime | None = None
    """All that became known up to then is among them."""

    @property
    def of_range(self) -> pl.Expr:
        return pl.col("event_date").is_between(self.first, self.last)


def reading_of(  # noqa: PLR0917
    lake: Lake, contracts: Contracts, features: FeatureSet, first: date, last: date, table: DeltaTable
) -> Reading:
    """Everything known since `first` minus the horizon, up to what was known when the range's last event was."""
    ahead = ahead_of(contracts)
    known_from = datetime.combine(first, time(), UTC) - features.horizon - ahead
    epochs = epoch_registry(lake)
    of_range = lake.scan(table).filter(pl.col("event_date").is_between(first, last))
    # Copies of a payment count too: what is read beyond the last event changes no value of the range.
    newest = (
        of_range.group_by("_stream", "_shard", "_incarnation")
        .agg(pl.col("known_at", "_offset", "_epoch").max())
        .collect(engine="streaming")
    )
    known = newest.select(pl.col("known_at").max()).item()
    if known is None:
        return Reading(first, last, known_from, pl.lit(value=False), epochs)  # there is nothing to answer
    known_to = known + ahead
    within = (pl.col("known_at") <= known_to).fill_null(True) | out_of_turn(newest, epochs)
    return Reading(first, last, known_from, within, epochs, known_to)


def ahead_of(contracts: Contracts) -> timedelta:
    """How much earlier than its own time an event may become known, and some more."""
    return timedelta(milliseconds=contracts.transactions.future_tolerance_ms) + _MARGIN


def needed_columns(features: FeatureSet, schema: pl.Schema) -> list[str]:
    """The columns of `transactions` that features are computed from, of those that there are."""
    contract = features.contract
    fields = [source.field for source in features.program.inputs]
    fields += [plan.rule.field for plan in features.plans.values()]
    seqs = [f"_seq_{name}" for name in features.plans]
    named = [*carried_columns(contract), "event_date", *fields, *ORDER, *seqs]
    return [name for name in dict.fromkeys(named) if name in schema]


def carried_columns(contract: Contract) -> list[str]:
    """Fields that the feature table keeps beside the features."""
    amount = [contract.amount] if contract.amount else []
    return list(dict.fromkeys([contract.event_id, contract.event_time, *contract.entities.values(), *amount]))


def row_bytes(schema: pl.Schema, columns: list[str]) -> int:
    """About what a row of these columns takes in memory."""
    return sum(_TEXT_BYTES if schema[name] == pl.String else _NUMBER_BYTES for name in columns)


def direct_bytes(features: FeatureSet, schema: pl.Schema) -> int:
    """About what an event takes while all are held at once: its columns, twice, integers, slots and features."""
    slots = max((len(plan.slots) for plan in features.plans.values()), default=0)
    integers = 2 * len(features.program.inputs) + slots + 12
    return 2 * row_bytes(schema, needed_columns(features, schema)) + 8 * integers + 4 * len(features.names)


def events_since(table: DeltaTable, day: date) -> int:
    """Events dated from `day` on, as the table's log counts them."""
    files = pl.DataFrame(table.get_add_actions(flatten=True))
    if files.is_empty() or "partition.event_date" not in files.columns:
        return 0
    since = files.filter(pl.col("partition.event_date").cast(pl.Date) >= day)
    return int(since["num_records"].sum())
