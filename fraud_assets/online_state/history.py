"""What a new epoch is folded from: what the lake held at one moment, and what the log has brought since.

The lake's part stands on shelves on disk, by entity; what comes later is kept beside it, and only the entities that it concerns
are folded again, from all of their rows. That is right whatever order rows come in, which an append to a finished state is not:
two workers log their decisions in another order than the state saw them.
"""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Final

import polars as pl

from fraud_assets.online_state.gathering import Gathered, needed_columns
from fraud_core.contracts import Contract
from fraud_core.features import Epochs, FeatureSet
from fraud_core.features.final_states import Item, entity_states
from fraud_core.features.offline import read_history
from fraud_core.features.order import RESTART_SHARE

EVERYTHING: Final = 1 << 62
"""What a new epoch has read: all rows that it is given."""
DECISIONS: Final = "decisions"
Touched = dict[str, set[str]]
"""Entity kind to the ids of the entities that something new concerns."""


class LiveHistory:
    """The events and labels of one rebuild."""

    def __init__(
        self, features: FeatureSet, base: Gathered, schema: pl.Schema, epochs: Epochs, epoch: int
    ) -> None:
        """`schema`: of the lake's payments."""
        self.features, self.epoch = features, epoch
        self._contract: Contract = features.contract
        self._id = self._contract.event_id
        self._base, self._epochs = base, epochs
        columns = [name for name in needed_columns(features) if name in schema]
        self._tail = pl.DataFrame(schema={name: schema[name] for name in columns})
        self._superseded = base.payments.find(pl.Series([], dtype=pl.String)).select(self._id)
        """Of the lake's payments, those about which the log has brought a decision."""
        self._later_labels = base.labels.find(pl.Series([], dtype=pl.String))
        """All labels of the payments that were labelled since."""
        self.newest_ms = base.newest_ms

    @property
    def events(self) -> int:
        """Payments held."""
        return self._base.payments.rows - self._superseded.height + self._tail.height

    @property
    def entities(self) -> dict[str, int]:
        """How many entities of each kind the lake's part holds."""
        return {name: shelf.keys for name, shelf in self._base.entities.items()}

    # -- what comes later

    def add(self, rows: pl.DataFrame) -> Touched:
        """Take in payments, each new to the lake or the decision about one that it has; returns whom they concern.

        A payment whose decision is held already is left out: the first one stands.
        """
        rows = rows.select(self._tail.columns).unique(self._id, keep="first", maintain_order=True)
        held = self._base.payments.find(rows[self._id]).join(self._superseded, on=self._id, how="anti")
        decided = held.filter(pl.col("_stream") == DECISIONS)
        known = pl.concat([decided[self._id], self._tail[self._id]]).to_frame()
        rows = rows.join(known, on=self._id, how="anti", maintain_order="left")
        gone = held.join(rows, on=self._id, how="semi")
        self._superseded = pl.concat([self._superseded, gone.select(self._id)])
        self._tail = pl.concat([self._tail, rows])
        touched: Touched = {}
        for frame in (rows, gone):
            _touch(touched, self.features, frame)
        return touched

    def add_labels(self, labels: pl.DataFrame, payments: pl.DataFrame) -> Touched:
        """Take in all labels of some payments, and those payments themselves, older ones among them."""
        if labels.is_empty():
            return {}
        earlier = self._later_labels.join(labels, on=self._id, how="anti")
        self._later_labels = pl.concat([earlier, labels.select(earlier.columns)])
        held = self._base.payments.find(payments[self._id]).join(self._superseded, on=self._id, how="anti")
        touched = self.add(payments.join(held, on=self._id, how="anti"))
        _touch(touched, self.features, payments)
        return touched

    # -- what it makes

    def part(self, namespace: str, entity: str, part: int) -> Iterator[Item]:
        """The states of one part of the entities of a kind, from the lake's rows."""
        yield from self._fold(namespace, entity, self._once(self._base.entities[entity].part(part)))

    def ids(self, entity: str) -> list[str]:
        """The entities of a kind that the lake's part holds."""
        shelf = self._base.entities[entity]
        parts = [shelf.part(part)[shelf.key].cast(pl.String).unique() for part in range(shelf.parts)]
        return pl.concat(parts).to_list()

    def touched(
        self,
        namespace: str,
        entity: str,
        ids: set[str],
        upto: tuple[int, Mapping[str, int]] | None = None,
    ) -> Iterator[Item]:
        """The states of some entities, from all of their rows; `upto`: an epoch, and the last of its seqs that counts by id."""
        yield from self._fold(namespace, entity, self._events_of(entity, ids, upto))

    def uncounted(
        self, entity: str, ids: set[str], upto: tuple[int, Mapping[str, int]], late: pl.Series
    ) -> dict[str, int]:
        """Of the rows that `touched` folds, how many the seq of an entity's state leaves out, by id.

        A state that expired has forgotten what came before: its seq began again at 1. And payments of `late` (their ids) are
        folded for their labels' sake alone. Both lie further back than any window, so that the features are those of all rows.
        """
        shelf, began = self._base.entities[entity], pl.col(f"_seq_{entity}") == 1
        events = self._events_of(entity, ids, upto)
        # Writers that meet append in any order, moments apart; a state expires after a horizon at least. See fold_order.
        pause = timedelta(milliseconds=self.features.plans[entity].rule.horizon_ms * RESTART_SHARE)
        began_at = pl.col("known_at").filter(began & (pl.col("_epoch") == upto[0])).max().over(shelf.key)
        forgotten = (pl.col("known_at") < began_at - pause).fill_null(value=False)
        left_out = events.filter(forgotten | pl.col(self._id).is_in(late.implode()))
        return dict(left_out.group_by(pl.col(shelf.key).cast(pl.String)).len().iter_rows())

    def _events_of(
        self, entity: str, ids: set[str], upto: tuple[int, Mapping[str, int]] | None
    ) -> pl.DataFrame:
        shelf, wanted = self._base.entities[entity], pl.Series(sorted(ids), dtype=pl.String)
        text = pl.col(shelf.key).cast(pl.String)
        base = self._once(shelf.find(wanted))
        later = self._tail.filter(text.is_in(wanted.implode())).select(base.columns)
        events = pl.concat([base, later])
        if upto is not None and upto[1]:
            epoch, seqs = upto
            last = text.replace_strict(seqs, default=None, return_dtype=pl.Int64)
            newer = (pl.col("_epoch") == epoch) & (pl.col(f"_seq_{entity}") > last)
            events = events.filter(~newer.fill_null(value=False))
        return events

    def _once(self, rows: pl.DataFrame) -> pl.DataFrame:
        return rows.join(self._superseded, on=self._id, how="anti", maintain_order="left")

    def _fold(self, namespace: str, entity: str, events: pl.DataFrame) -> Iterator[Item]:
        if events.is_empty():
            return
        plan = self.features.plans[entity]
        labels = self._labels_of(events[self._id]) if plan.has_labels else None
        history = read_history(self.features, events, labels, self._epochs, entity)
        yield from entity_states(history, plan, namespace, self.epoch, self.newest_ms)

    def _labels_of(self, ids: pl.Series) -> pl.DataFrame:
        later = self._later_labels.join(ids.to_frame(), on=self._id, how="semi")
        earlier = self._base.labels.find(ids).join(later, on=self._id, how="anti")
        return pl.concat([earlier, later])


def _touch(touched: Touched, features: FeatureSet, rows: pl.DataFrame) -> None:
    for name, plan in features.plans.items():
        ids = rows[plan.rule.field].drop_nulls().cast(pl.String).unique().to_list()
        if ids:
            touched.setdefault(name, set()).update(ids)
