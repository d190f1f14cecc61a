"""Which rows of quarantine are meant: by stream, reason, day, shard, kind and state, or by their ids.

A selection reads the narrow columns only; the bytes are read for the rows that are shown or brought back.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Final, Literal

import polars as pl

from fraud_assets.lake import STREAMS, Lake, quarantine_of
from fraud_assets.lake.schemas import quarantine_schema
from fraud_assets.quarantine.audit import IDENTITY, OPEN, Audit
from fraud_core.errors import DataFileError, SettingsError
from fraud_core.log import Origin

Kind = Literal["violation", "duplicate", "all"]
State = Literal["open", "replayed", "discarded", "all"]
By = Literal["reason", "day", "stream", "shard", "kind", "state"]
UNKNOWN_LIFE: Final = "unknown"
"""Stands for the life of the log in rows that were written before lives were recorded."""

_NARROW: Final = (
    *IDENTITY, "known_at", "appended_at", "quarantine_date", "kind", "event_id", "reasons", "contract_version", "_replay_of",
)  # fmt: skip

_TYPES: Final = quarantine_schema()
_COLUMN_OF: Final = {
    "reason": "reasons", "day": "quarantine_date", "stream": "_stream", "shard": "_shard", "kind": "kind", "state": "state",
}  # fmt: skip


@dataclass(frozen=True)
class Selection:
    """What to look for; empty means any. Days are those on which events became known."""

    streams: tuple[str, ...] = STREAMS
    reasons: tuple[str, ...] = ()
    since: date | None = None
    until: date | None = None
    shard: int | None = None
    kind: Kind = "violation"
    state: State = "open"
    origins: tuple[Origin, ...] = ()

    @property
    def narrows(self) -> bool:
        """Whether it says more than a state and a kind."""
        return bool(
            self.streams != STREAMS
            or self.reasons
            or self.since
            or self.until
            or self.shard is not None
            or self.origins
        )


def check_scope(selection: Selection, *, everything: bool) -> None:
    """Refuse an act on all of quarantine that nobody asked for. Raises SettingsError."""
    if not (selection.narrows or everything):
        raise SettingsError(
            "Which events was expected: ids, or --stream, --reason, --from, --to or --shard. Nothing was given; "
            "--all means every event in that state."
        )


def nothing_there(lake: Lake, selection: Selection) -> str:
    """Why a selection can find nothing, where no table of its streams exists, and what to do; empty where one does."""
    if any(lake.exists(quarantine_of(stream)) for stream in selection.streams):
        return ""
    return (
        f"There is no quarantine of {', '.join(selection.streams)} in {lake.uri}: nothing was ingested there yet. "
        "`spearhead up` starts ingestion; another lake is SPEARHEAD_HOME or SPEARHEAD_LAKE."
    )


def find(lake: Lake, selection: Selection, audit: Audit | None = None) -> pl.DataFrame:
    """The rows that are meant, oldest first: their identity, `id`, `root`, `state` and what is known without the bytes.

    `root` is the origin of an event's first appearance: its own id, or that of the event which it brought back.
    Raises DataFileError when an id is of no row.
    """
    rows = _rows(lake, selection, _NARROW, audit)
    return (
        rows.sort("known_at", *IDENTITY)
        .with_columns(id_of())
        .with_columns(pl.coalesce("_replay_of", "id").alias("root"))
    )


def newest(lake: Lake, selection: Selection, limit: int) -> tuple[int, pl.DataFrame]:
    """How many rows are meant, and the last `limit` of them as `find` gives them, newest first; cheap, however many they are."""
    rows = _rows(lake, selection, (*IDENTITY, "known_at", "quarantine_date"))
    last = rows.top_k(min(limit, rows.height), by=["known_at", "_offset", "_index"])
    if not last.height:
        return rows.height, find(lake, replace(selection, streams=()))
    chosen = replace(
        selection,
        origins=tuple(Origin.parse(text) for text in last.select(id_of())["id"]),
        since=last["quarantine_date"].min(),  # type: ignore[arg-type]  # of a column of dates
        until=last["quarantine_date"].max(),  # type: ignore[arg-type]  # of a column of dates
    )
    return rows.height, find(lake, replace(chosen, state="all")).reverse()


def count_by(lake: Lake, selection: Selection, by: By) -> tuple[int, dict[str, int]]:
    """How many rows are meant, and how many per reason, the most frequent first, or per day, stream, shard, kind or state.

    A row with several reasons counts for each.
    """
    column = _COLUMN_OF[by]
    rows = _rows(lake, selection, tuple(dict.fromkeys((*IDENTITY, column))) if by != "state" else IDENTITY)
    if by == "reason":
        values = rows[column].explode(empty_as_null=False).drop_nulls()
        counted = values.value_counts(sort=True)
    else:
        counted = rows.group_by(column).len().sort(column)
    return rows.height, {str(name): count for name, count in counted.iter_rows()}


def payloads(lake: Lake, rows: pl.DataFrame) -> list[bytes | None]:
    """The bytes of `rows` (as `find` gives them) as they are kept, sealed or not; None for a duplicate."""
    found: dict[tuple[object, ...], bytes | None] = {}
    for (stream,), part in rows.group_by("_stream"):
        read = (
            lake.scan(quarantine_of(str(stream)))
            .filter(
                pl.col("quarantine_date").is_in(part["quarantine_date"].unique().implode()),
                pl.col("_offset").is_in(part["_offset"].unique().implode()),
            )
            .select(pl.col("_incarnation").fill_null(UNKNOWN_LIFE), *_place(), "payload")
            .collect()
        )
        found |= {tuple(row[:-1]): row[-1] for row in read.select(*IDENTITY, "payload").iter_rows()}
    return [found.get(row) for row in rows.select(IDENTITY).iter_rows()]


def id_of() -> pl.Expr:
    """The id by which people name a row: its origin, written out."""
    parts = ("_stream", "_incarnation", "_shard", "_offset", "_index")
    return pl.concat_str([pl.col(part).cast(pl.String) for part in parts], separator="/").alias("id")


def _place() -> tuple[str, ...]:
    return tuple(name for name in IDENTITY if name != "_incarnation")


def _rows(
    lake: Lake, selection: Selection, columns: Sequence[str], audit: Audit | None = None
) -> pl.DataFrame:
    """These columns and the `state` of the rows that are meant, in no order."""
    states = (audit or Audit(lake)).states()
    wanted = {origin.stream for origin in selection.origins}
    frames = [
        _of_stream(lake, stream, selection, columns)
        for stream in selection.streams
        if (not wanted or stream in wanted) and lake.exists(quarantine_of(stream))
    ]
    rows = pl.concat(frames) if frames else pl.DataFrame(schema={name: _TYPES[name] for name in columns})
    _check_present(selection.origins, rows)
    if states.height:
        rows = rows.join(states, on=IDENTITY, how="left").with_columns(pl.col("state").fill_null(OPEN))
    else:
        rows = rows.with_columns(pl.lit(None, pl.String).alias("last"), pl.lit(OPEN).alias("state"))
    return rows if selection.state == "all" else rows.filter(pl.col("state") == selection.state)


def _of_stream(lake: Lake, stream: str, selection: Selection, columns: Sequence[str]) -> pl.DataFrame:
    rows = lake.scan(quarantine_of(stream))
    held = rows.collect_schema().names()
    if selection.kind != "all":
        rows = rows.filter(pl.col("kind") == selection.kind)
    if selection.since is not None:
        rows = rows.filter(pl.col("quarantine_date") >= selection.since)
    if selection.until is not None:
        rows = rows.filter(pl.col("quarantine_date") <= selection.until)
    if selection.shard is not None:
        rows = rows.filter(pl.col("_shard") == selection.shard)
    if selection.origins:
        rows = rows.filter(pl.col("_offset").is_in([each.offset for each in selection.origins]))
    if selection.reasons:
        rows = rows.filter(
            pl.any_horizontal(pl.col("reasons").list.contains(code) for code in selection.reasons)
        )
    found = rows.select(
        pl.col(name) if name in held else pl.lit(None, _TYPES[name]).alias(name) for name in columns
    ).collect()
    found = found.with_columns(pl.col("_incarnation").fill_null(UNKNOWN_LIFE))
    if selection.origins:
        found = found.filter(id_of().is_in([str(each) for each in selection.origins]))
    return found


def _check_present(origins: Iterable[Origin], rows: pl.DataFrame) -> None:
    missing = sorted({str(each) for each in origins} - set(rows.select(id_of())["id"])) if origins else []
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise DataFileError(
            f"Rows of quarantine were expected under {', '.join(missing[:3])}{more}; there are none among the rows asked for. "
            "`spearhead quarantine list --kind all --state all` shows the ids; a row can also have passed its retention."
        )
