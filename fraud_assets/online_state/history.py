"""What a new epoch is folded from: what the lake held at one moment, and what the log has brought since.

The lake's part is indexed by entity once; what comes later is kept beside it, and only the entities that it concerns are
folded again, from all of their rows. That is right whatever order rows come in, which an append to a finished state is not:
two workers log their decisions in another order than the state saw them.
"""

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fraud_core.contracts import Contract
from fraud_core.features import Epochs, FeatureSet
from fraud_core.features.final_states import Item, entity_states
from fraud_core.features.offline import read_history

_LAKE_COLUMNS: Final = ("known_at", "_stream", "_shard", "_incarnation", "_offset", "_index", "_epoch")
EVERYTHING: Final = 1 << 62
"""What a new epoch has read: all rows that it is given."""
DECISIONS: Final = "decisions"
Touched = dict[str, set[str]]
"""Entity kind to the ids of the entities that something new concerns."""


@dataclass(frozen=True)
class _Index:
    """The rows of each entity of one kind among the lake's."""

    ids: pl.DataFrame
    """`id`, `code`."""
    shares: NDArray[np.int64]
    """A number per entity that any process would give it, by which the work is cut into parts."""
    order: NDArray[np.int64]
    starts: NDArray[np.int64]

    @classmethod
    def of(cls, values: pl.Series) -> "_Index":
        text = values.cast(pl.String)
        ids = text.unique().drop_nulls().sort().rename("id").to_frame().with_row_index("code")
        joined = text.rename("id").to_frame().join(ids, on="id", how="left", maintain_order="left")
        codes = joined["code"].cast(pl.Int64).fill_null(-1).to_numpy()
        order = np.argsort(codes, kind="stable")
        starts = np.searchsorted(codes[order], np.arange(ids.height + 1))
        shares = np.array([zlib.crc32(id.encode()) for id in ids["id"]], np.int64)
        return cls(ids, shares, order, starts)

    def rows(self, codes: NDArray[np.int64]) -> NDArray[np.int64]:
        """All rows of these entities."""
        begins, ends = self.starts[codes], self.starts[codes + 1]
        sizes = ends - begins
        if not sizes.sum():
            return np.empty(0, np.int64)
        offsets = np.repeat(begins - np.concatenate(([0], np.cumsum(sizes)[:-1])), sizes)
        return self.order[offsets + np.arange(sizes.sum())]


class LiveHistory:
    """The events and labels of one rebuild."""

    def __init__(
        self, features: FeatureSet, events: pl.DataFrame, labels: pl.DataFrame, epochs: Epochs, epoch: int
    ) -> None:
        self.features, self.epoch = features, epoch
        self._contract: Contract = features.contract
        self._columns = needed_columns(features)
        self._base = self._narrow(events)
        self._labels = labels
        self._tail = self._base.clear()
        self._removed = np.zeros(self._base.height, np.bool_)
        self._epochs = epochs
        self._index = {name: _Index.of(self._base[plan.rule.field]) for name, plan in features.plans.items()}
        hashes = self._base[self._contract.event_id].hash(seed=0).to_numpy()
        self._by_hash = np.argsort(hashes, kind="stable")
        self._hashes = hashes[self._by_hash]
        self.newest_ms = int(self._base["known_at"].dt.epoch("ms").to_numpy().max(initial=0))

    @property
    def events(self) -> int:
        """Payments held."""
        return self._base.height - int(self._removed.sum()) + self._tail.height

    @property
    def entities(self) -> dict[str, int]:
        """How many entities of each kind the lake's part holds."""
        return {name: index.ids.height for name, index in self._index.items()}

    def _narrow(self, events: pl.DataFrame) -> pl.DataFrame:
        return events.select([name for name in self._columns if name in events.columns])

    # -- what comes later

    def add(self, rows: pl.DataFrame) -> Touched:
        """Take in payments, each new to the lake or the decision about one that it has; returns whom they concern.

        A payment whose decision is held already is left out: the first one stands.
        """
        rows = self._narrow(rows).unique(self._contract.event_id, keep="first", maintain_order=True)
        event_id = self._contract.event_id
        held = self._places(rows[event_id])
        decided = held.filter(pl.Series(self._base["_stream"].gather(held["place"]) == DECISIONS))
        known = pl.concat([decided[event_id], self._tail[event_id]])
        rows = rows.join(known.to_frame(), on=event_id, how="anti")
        gone = held.join(rows.select(event_id), on=event_id, how="semi")["place"].to_numpy()
        self._removed[gone] = True
        self._tail = pl.concat([self._tail, rows.select(self._tail.columns)])
        touched: Touched = {}
        for frame in (rows, self._base[gone] if len(gone) else rows.clear()):
            _touch(touched, self.features, frame)
        return touched

    def add_labels(self, labels: pl.DataFrame, payments: pl.DataFrame) -> Touched:
        """Take in all labels of some payments, and those payments themselves, older ones among them."""
        event_id = self._contract.event_id
        if labels.is_empty():
            return {}
        self._labels = pl.concat(
            [
                self._labels.join(labels.select(event_id).unique(), on=event_id, how="anti"),
                labels.select(self._labels.columns),
            ]
        )
        unknown = payments.join(self._places(payments[event_id]).select(event_id), on=event_id, how="anti")
        touched = self.add(unknown)
        _touch(touched, self.features, self._narrow(payments))
        return touched

    def _places(self, ids: pl.Series) -> pl.DataFrame:
        """Those of the event ids that the lake's part holds, with their places."""
        hashes = ids.hash(seed=0).to_numpy()
        first = np.searchsorted(self._hashes, hashes, side="left")
        last = np.searchsorted(self._hashes, hashes, side="right")
        found = [
            (id, int(place))
            for id, begin, end in zip(ids.to_list(), first.tolist(), last.tolist(), strict=True)
            for place in self._by_hash[begin:end]
        ]
        name = self._contract.event_id
        frame = pl.DataFrame(found, schema={name: pl.String, "place": pl.Int64}, orient="row")
        mine = self._base[name].gather(frame["place"])
        return frame.filter((mine == frame[name]) & ~pl.Series(self._removed[frame["place"].to_numpy()]))

    # -- what it makes

    def part(self, namespace: str, entity: str, part: int, of: int) -> Iterator[Item]:
        """The states of one part of the entities of a kind, from the lake's rows."""
        index = self._index[entity]
        rows = index.rows(np.flatnonzero(index.shares % of == part))
        yield from self._fold(namespace, entity, self._base[rows[~self._removed[rows]]])

    def ids(self, entity: str) -> list[str]:
        """The entities of a kind that the lake's part holds."""
        return self._index[entity].ids["id"].to_list()

    def touched(
        self,
        namespace: str,
        entity: str,
        ids: set[str],
        upto: tuple[int, Mapping[str, int]] | None = None,
    ) -> Iterator[Item]:
        """The states of some entities, from all of their rows; `upto`: an epoch, and the last of its seqs that counts by id."""
        wanted = pl.DataFrame({"id": sorted(ids)}, schema={"id": pl.String})
        index = self._index[entity]
        codes = wanted.join(index.ids, on="id", how="inner")["code"].cast(pl.Int64).to_numpy()
        rows = index.rows(codes)
        field = self.features.plans[entity].rule.field
        later = self._tail.filter(pl.col(field).cast(pl.String).is_in(wanted["id"].implode()))
        events = pl.concat([self._base[rows[~self._removed[rows]]], later])
        if upto is not None and upto[1]:
            epoch, seqs = upto
            last = pl.col(field).cast(pl.String).replace_strict(seqs, default=None, return_dtype=pl.Int64)
            newer = (pl.col("_epoch") == epoch) & (pl.col(f"_seq_{entity}") > last)
            events = events.filter(~newer.fill_null(value=False))
        yield from self._fold(namespace, entity, events)

    def _fold(self, namespace: str, entity: str, events: pl.DataFrame) -> Iterator[Item]:
        if events.is_empty():
            return
        event_id = self._contract.event_id
        labels = self._labels.join(events.select(event_id), on=event_id, how="semi")
        history = read_history(self.features, events, labels, self._epochs)
        plan = self.features.plans[entity]
        yield from entity_states(history, plan, namespace, self.epoch, self.newest_ms)


def needed_columns(features: FeatureSet) -> list[str]:
    """The columns of the lake that a fold reads."""
    contract = features.contract
    fields = [source.field for source in features.program.inputs]
    fields += [plan.rule.field for plan in features.plans.values()]
    seqs = [f"_seq_{name}" for name in features.plans]
    return list(dict.fromkeys([contract.event_id, contract.event_time, *fields, *_LAKE_COLUMNS, *seqs]))


def _touch(touched: Touched, features: FeatureSet, rows: pl.DataFrame) -> None:
    for name, plan in features.plans.items():
        ids = rows[plan.rule.field].drop_nulls().cast(pl.String).unique().to_list()
        if ids:
            touched.setdefault(name, set()).update(ids)
