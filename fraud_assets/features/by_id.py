"""Payments and labels of a build by the payment's id: here copies of a payment and its labels meet.

They are read once and put away in parts. A part is settled on its own: it is cleared of copies, and each payment gets its turn, by
which the rows of all parts together are ordered as `read_history` would have them.
"""

from collections.abc import Callable, Iterator
from typing import Final

import polars as pl

from fraud_assets.features.narrow import coded
from fraud_assets.features.reading import Reading, needed_columns
from fraud_assets.features.snapshots import Snapshot
from fraud_assets.features.spill import PART, Spill
from fraud_assets.lake import DECISIONS
from fraud_core.errors import StartRefused
from fraud_core.features import FeatureSet
from fraud_core.features.labels import label_effects, told_order
from fraud_core.features.order import TURN, up_to

FRESH: Final = "_fresh"
"""Column (Boolean): whether a payment is folded; else it is here for its labels."""
_BATCH_ROWS: Final = 50_000
_FEW_IDS: Final = 4_000_000


class ById:
    """In `parts` parts. First `put_away`, then `settle` each part."""

    def __init__(  # noqa: PLR0917
        self,
        features: FeatureSet,
        reading: Reading,
        payments: pl.LazyFrame,
        labels: pl.LazyFrame,
        start: Snapshot | None,
        parts: int,
        spill: Callable[[str], Spill],
    ) -> None:
        """`payments`: all of them, copies included; `labels` as `read_labels` gives them."""
        self.features, self.reading, self.start, self.parts = features, reading, start, parts
        self._id = features.contract.event_id
        self._all_payments, self._all_labels = payments, labels
        self._columns = needed_columns(features, payments.collect_schema())
        self._payments, self._decided, self._labels = spill("payments"), spill("decided"), spill("labels")

    def put_away(self) -> None:
        """Read the lake. Raises StartRefused when a copy that the snapshot stands for does not count any more."""
        reading, known = self.reading, pl.col("known_at")
        part = hashed(self._id, 0, self.parts).alias(PART)
        digest = self._digest
        labelled = (
            self._all_labels.filter(known >= reading.known_from)
            .select(digest.alias("digest"), "event_date")
            .collect(engine="streaming")
        )
        digests = labelled["digest"].unique()
        first_labelled = labelled["event_date"].min()
        fresh = (known >= reading.known_from).fill_null(value=False)
        if self.start:
            self._check_copies(self.start)
            fresh &= ~self.start.cut.rows
        chosen = fresh
        if first_labelled is not None:  # which of them really are: see _once
            reached = (pl.col("event_date") >= first_labelled) | (known >= reading.known_from)
            chosen |= reached & digest.is_in(digests.implode())
        chosen = (chosen & reading.within).fill_null(value=False)
        row = 0
        payments = self._all_payments.filter(chosen).select(*self._columns, part, fresh.alias(FRESH))
        for batch in _batches(payments):
            self._payments.add(coded(batch).with_columns((pl.int_range(pl.len()) + row).alias(TURN)))
            row += batch.height
        decided = self._all_payments.filter(~chosen & (pl.col("_stream") == DECISIONS))
        if self.start:
            sent = self._all_payments.filter(chosen & (pl.col("_stream") != DECISIONS))
            ids = sent.select(digest.alias("digest")).unique().head(_FEW_IDS).collect(engine="streaming")
            if ids.height < _FEW_IDS:
                decided = decided.filter(digest.is_in(ids["digest"].implode()))
        for batch in _batches(decided.select(self._id, part)):
            self._decided.add(batch)
        labels = self._all_labels.filter(digest.is_in(digests.implode()))
        for batch in _batches(
            labels.select(self._id, "is_fraud", *told_order(labels.collect_schema()), part)
        ):
            self._labels.add(batch)

    def settle(self, part: int) -> tuple[pl.DataFrame, pl.DataFrame | None] | None:
        """The payments of a part, each once and with its turn, and what its labels do to entities; None when it is empty."""
        rows = self._payments.take(part)
        decided, labels = self._decided.take(part), self._labels.take(part)
        if rows is None:
            return None
        rows, labels = self._once(rows, decided, labels)
        if rows.is_empty():
            return None
        effects = None
        if labels is not None:
            labelled = rows.join(labels, on=self._id, how="semi").sort(TURN)
            effects = label_effects(self.features, labelled, labels)
        if self.start:  # a history has payments that were labelled since, however old
            rows = rows.filter(pl.col(FRESH) | (pl.col("known_at") < self.reading.known_from))
        return rows, effects

    @property
    def _digest(self) -> pl.Expr:
        return pl.col(self._id).cast(pl.String).hash(seed=1)

    def _check_copies(self, start: Snapshot) -> None:
        """A decision that came after the snapshot wins over the sent copy that the snapshot stands for."""
        digest, decided = self._digest, pl.col("_stream") == DECISIONS
        there = up_to(start.read) & (pl.col("known_at") >= start.cut.before)
        later = self._all_payments.filter(decided & ~start.cut.rows & ~there)
        ids = later.select(digest.alias("digest")).unique().collect(engine="streaming")["digest"]
        if ids.is_empty():
            return
        beaten = self._all_payments.filter(~decided & start.cut.rows & digest.is_in(ids.implode()))
        if beaten.select(pl.len()).collect(engine="streaming").item():
            raise StartRefused("a payment that was kept as sent has been decided since")

    def _once(
        self, rows: pl.DataFrame, decided: pl.DataFrame | None, labels: pl.DataFrame | None
    ) -> tuple[pl.DataFrame, pl.DataFrame | None]:
        """The payments of a part without copies, each with its turn, and the labels that count."""
        is_decision = pl.col("_stream") == DECISIONS
        ids = rows.filter(is_decision).select(self._id)
        if decided is not None:
            ids = pl.concat([ids, decided])
        if ids.height:
            sent = rows.filter(~is_decision).join(ids, on=self._id, how="anti")
            rows = pl.concat([sent, rows.filter(is_decision)])
        recent = pl.col(FRESH)
        if labels is None:
            rows = rows.filter(recent) if rows.select((~recent).any()).item() else rows
        else:
            known = pl.col("known_at") >= self.reading.known_from
            since = labels.filter(known).select(self._id).unique()
            if rows.select((~recent).any()).item():
                older = rows.filter(~recent).join(since, on=self._id, how="semi")
                rows = pl.concat([older, rows.filter(recent)])
            frauds = labels.filter(pl.col("is_fraud").cast(pl.Boolean)).select(self._id).unique()
            # A payment that nobody ever called fraud has no effect on anything.
            labels = labels.join(since, on=self._id, how="semi").join(frauds, on=self._id, how="semi")
        turn = (recent.cast(pl.Int64) * 2 + is_decision.cast(pl.Int64)) * 2**60 + pl.col(TURN)
        return rows.with_columns(turn.alias(TURN)), labels


def hashed(field: str, seed: int, parts: int) -> pl.Expr:
    """The part that a key belongs to, of so many."""
    return (pl.col(field).cast(pl.String).hash(seed=seed) % parts).cast(pl.Int32)


def _batches(rows: pl.LazyFrame) -> Iterator[pl.DataFrame]:
    yield from rows.collect_batches(
        chunk_size=_BATCH_ROWS, maintain_order=True, lazy=True, engine="streaming"
    )
