"""The proof that nothing was lost and nothing doubled: log = valid + duplicates + quarantine.

Three witnesses that share no memory: the ledger, whose ranges must join and whose counts must add up; the tables, where
every origin (stream, shard, life of the log, offset, index) may stand once; and a producer's manifest, which counted before the log did.
Works through the offsets in pieces, so its memory does not grow with the tables.
"""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
from deltalake import DeltaTable

from fraud_assets.ingestion.ledger import breaks, ledger_rows
from fraud_assets.ingestion.plan import Plan
from fraud_assets.ingestion.proof import StreamProof, VerifyResult
from fraud_assets.ingestion.reading import read_batch
from fraud_assets.ingestion.retired import Retired, retired_rows
from fraud_assets.ingestion.sequence import unlogged_updates
from fraud_assets.lake import DECISIONS, STREAMS, Lake, open_lake, rows_of, tables_of
from fraud_core.contracts import Contract, Contracts, load_contracts
from fraud_core.errors import LostRange
from fraud_core.features import load_features
from fraud_core.log import Log, Manifest, Shard, open_log
from fraud_core.settings import Settings

_PIECE: Final = 2_000_000
_ATTEMPTS: Final = 5


def verify(settings: Settings, manifests: Path | Sequence[Path] | None = None) -> VerifyResult:
    """Check every stream that was ever ingested, against the manifests of all its producers where they are given.

    Reads only. What is still in the log and not ingested counts as pending. Raises LakeError or LogUnavailable where
    there is nothing to check with.
    """
    contracts, lake, log = load_contracts(settings.contracts), open_lake(settings), open_log(settings)
    expected = _merged(manifests)
    try:
        for _ in range(_ATTEMPTS):
            ledger = ledger_rows(lake)
            result = _examine(contracts, lake, log, ledger)
            _compare_all(expected, result)
            if result.ok or ledger_rows(lake).height == ledger.height:
                break  # else an ingest run went on meanwhile: what was read does not belong together
    finally:
        log.close()
    return result


def _examine(contracts: Contracts, lake: Lake, log: Log, ledger: pl.DataFrame) -> VerifyResult:
    result = VerifyResult()
    result.problems += [f"Ledger: {problem}. Its ranges must join." for problem in breaks(ledger)]
    checks = {
        stream: _StreamCheck(lake, log, contracts, stream, result.problems)
        for stream in STREAMS
        if lake.exists(tables_of(stream)[0])
    }
    parts = {stream: ledger.filter(pl.col("stream") == stream) for stream in checks}
    # The log first, at once: an ingest run trims it behind what it commits while the tables are read.
    for stream, check in checks.items():
        check.count_pending(parts[stream])
    for stream, check in checks.items():
        result.streams[stream] = check.prove(parts[stream])
    if lake.exists(DECISIONS):
        result.unlogged_updates = unlogged_updates(lake, contracts.transactions, _horizons(contracts))
    return result


def _horizons(contracts: Contracts) -> dict[str, timedelta]:
    """How long the online state remembers an entity of each kind."""
    features = load_features(contracts.features_path, contracts)
    return {name: timedelta(milliseconds=plan.rule.horizon_ms) for name, plan in features.plans.items()}


def _compare_all(expected: Manifest, result: VerifyResult) -> None:
    for stream, count in expected.streams.items():
        proof = result.streams.setdefault(stream, StreamProof())
        _compare(stream, proof, count.events, (count.ids, count.id_hash_sum), result.problems)


def _merged(manifests: Path | Sequence[Path] | None) -> Manifest:
    whole = Manifest()
    for path in [manifests] if isinstance(manifests, Path) else manifests or ():
        whole.merge(Manifest.load(path))
    return whole


def _compare(stream: str, proof: StreamProof, events: int, ids: tuple[int, int], problems: list[str]) -> None:
    found = proof.events + proof.pending - proof.replayed
    if found < events:
        proof.lost = max(proof.lost, events - found)
        problems.append(
            f"{stream}: its producers sent {events} events, {found} are accounted for: {events - found} are lost."
        )
    elif found > events:
        problems.append(
            f"{stream}: {found} events are accounted for, {found - events} more than its producers' manifests say: a producer "
            "repeated an append, or its manifest was not given."
        )
    elif (proof.ids, proof.id_hash_sum) != ids:
        problems.append(
            f"{stream}: as many events as its producers sent, but not the same ones: {ids[0]} readable ids with the sum "
            f"{ids[1]:016x} were sent, {proof.ids} with {proof.id_hash_sum:016x} found."
        )


class _StreamCheck:
    """Checks the tables of one stream against its part of the ledger, and counts what the log still holds."""

    def __init__(self, lake: Lake, log: Log, contracts: Contracts, stream: str, problems: list[str]) -> None:
        self.lake, self.log, self.contracts, self.stream, self.problems = (
            lake,
            log,
            contracts,
            stream,
            problems,
        )
        self.contract: Contract = contracts.for_stream(stream)
        self.quarantine, *self.mains = tables_of(stream)
        self.tables: dict[str, DeltaTable] = {}
        self.proof = StreamProof()
        self.brought_back: set[str] = set()
        """Origins of the valid events that were brought back from quarantine."""

    def count_pending(self, ledger: pl.DataFrame) -> None:
        """Count what the log holds beyond this stream's part of the ledger."""
        for shard in self.log.existing_shards(self.stream):
            life = ledger.filter(pl.col("shard") == shard.number, pl.col("incarnation") == shard.incarnation)
            self._count_pending(shard, int(life["end"].max() or 0))  # type: ignore[arg-type]  # of a column of numbers

    def prove(self, ledger: pl.DataFrame) -> StreamProof:
        """The proof of this stream, once its pending events are counted."""
        self.tables = {name: self.lake.table(name) for name in (self.quarantine, *self.mains)}
        for name, total in (
            ("events", "events"),
            ("valid", "valid"),
            ("duplicates", "duplicates"),
            ("quarantined", "violations"),
        ):
            setattr(self.proof, name, int(ledger[total].sum()))
        odd = ledger.filter(pl.col("events") != pl.col("valid") + pl.col("duplicates") + pl.col("violations"))
        if odd.height:
            self.problems.append(f"{self.stream}: {odd.height} rows of the ledger do not add up.")
        for (number, life), ranges in ledger.group_by(["shard", "incarnation"], maintain_order=True):
            for piece in _pieces(ranges):
                self._check_piece(Shard(self.stream, int(number), str(life)), piece)
        return self.proof

    def _check_piece(self, shard: Shard, ranges: pl.DataFrame) -> None:
        counted: list[pl.DataFrame] = []
        for name in (self.quarantine, *self.mains):
            rows = self._rows(name, shard, ranges)
            counted.append(rows.select("_offset", "_index"))
            back = rows["_replay_of"].drop_nulls()
            wanted = ranges["valid"] if name in self.mains else ranges["duplicates"] + ranges["violations"]
            gone = retired_rows(
                self.lake, self.tables[name], name, shard, after=ranges["start"][0], upto=ranges["end"][-1]
            )
            self._check_counts(name, shard, rows, ranges, wanted.to_numpy(), gone=gone)
            if name in (self.quarantine, self.mains[-1]):
                self.proof.replayed += len(back) + gone.replayed
                self.proof.add_sum(gone.ids, gone.id_hash_sum)
                self.proof.add_ids(rows.filter(pl.col("_replay_of").is_null())["id"])
            if name == self.mains[-1]:
                self._check_brought_back(back)
        for name, main in zip(self.mains, counted[1:], strict=True):
            both = main.join(counted[0], on=["_offset", "_index"], how="semi").height
            if both:
                self.proof.duplicated += both
                self.problems.append(f"{shard}: {both} events stand in {name} and in quarantine.")

    def _check_brought_back(self, origins: pl.Series) -> None:
        """An event of quarantine may be in the table once, however often it was brought back."""
        before = len(self.brought_back)
        self.brought_back.update(origins)
        twice = before + len(origins) - len(self.brought_back)
        if twice:
            self.proof.duplicated += twice
            self.problems.append(
                f"{self.stream}: {self.mains[-1]} holds {twice} events from quarantine more than once, by their `_replay_of`."
            )

    def _check_counts(
        self,
        name: str,
        shard: Shard,
        rows: pl.DataFrame,
        ranges: pl.DataFrame,
        wanted: Any,
        *,
        gone: Retired,
    ) -> None:
        repeated = rows.height - rows.select("_offset", "_index").n_unique()
        which = np.searchsorted(
            ranges["end"].to_numpy(), rows.unique(["_offset", "_index"])["_offset"].to_numpy()
        )
        found = np.bincount(which, minlength=ranges.height)
        np.add.at(found, np.searchsorted(ranges["end"].to_numpy(), gone.ends), gone.rows)
        missing, extra = int(np.maximum(wanted - found, 0).sum()), int(np.maximum(found - wanted, 0).sum())
        self.proof.duplicated += repeated + extra
        self.proof.lost += missing
        if repeated or extra:
            self.problems.append(f"{shard}: {name} holds {repeated + extra} rows too many.")
        if missing:
            at = ranges.row(int(np.argmax(wanted > found)), named=True)
            self.problems.append(
                f"{shard}: {name} lacks {missing} rows that the ledger counts, the first between offsets "
                f"{at['start']} and {at['end']}."
            )

    def _rows(self, name: str, shard: Shard, ranges: pl.DataFrame) -> pl.DataFrame:
        event_id = "event_id" if name == self.quarantine else self.contracts.for_stream(name).event_id
        return (
            self.lake.scan(self.tables[name])
            .filter(
                rows_of(shard),
                pl.col("_offset") > ranges["start"][0],
                pl.col("_offset") <= ranges["end"][-1],
            )
            .select("_offset", "_index", "_replay_of", pl.col(event_id).alias("id"))
            .collect()
        )

    def _count_pending(self, shard: Shard, after: int) -> None:
        end = self.log.end(shard)
        try:
            while after < end:
                batch = read_batch(
                    self.log, shard, Plan(after, end, (), judged=False), self.contracts, 200_000
                )
                if batch.end == after:
                    break
                self.proof.pending += len(batch)
                self.proof.replayed += len(batch.replay_of)
                sent = np.ones(len(batch), dtype=np.bool_)
                sent[list(batch.replay_of)] = False
                self.proof.add_ids(batch.rows.filter(pl.Series(sent))[self.contract.event_id])
                after = batch.end
        except LostRange as error:
            self.proof.lost += 1  # how many is known to the producer alone
            self.problems.append(str(error))


def _pieces(ranges: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """Consecutive ranges with about `_PIECE` events together."""
    piece = (ranges["events"].cum_sum() - 1) // _PIECE
    for _, part in ranges.with_columns(piece.alias("_piece")).group_by(["_piece"], maintain_order=True):
        yield part
