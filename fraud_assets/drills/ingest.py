"""The drill of ingestion: real runs killed at every named step and at random moments, two at once, the broker killed too.

The plan of deaths follows from the seed; what the processes meet between them does not, and need not: whatever the
order, the proof must hold at the end, and every verdict must be the one that the producer foresaw.
"""

import shutil
import time
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final

import polars as pl

from fraud_assets.drills.nursery import IngestProcess
from fraud_assets.drills.producer import Producer, Verdicts
from fraud_assets.ingestion import VerifyResult, create_tables, verify
from fraud_assets.ingestion.failpoint import FAILPOINTS
from fraud_assets.lake import LEDGER, STREAMS, open_lake
from fraud_assets.quality.results import ANY, read_results, record_results
from fraud_core.contracts import load_contracts
from fraud_core.errors import PlatformError, SettingsError
from fraud_core.log import open_log
from fraud_core.log.valkey import ValkeyServer, start_valkey
from fraud_core.settings import Settings

RANDOM: Final = "random moment"
_AT_FAILPOINTS: Final = 0.6
"""Share of the kills that strike at a named step; the others at any moment."""
_TWO_AT_ONCE: Final = 0.3
_BROKER_EVERY: Final = 20
"""One death of the broker for so many of ingest runs."""
_PATIENCE_S: Final = 120.0
_ATTEMPTS: Final = 3


@dataclass
class DrillResult:
    """What the drill did and what it found."""

    kills: int = 0
    kills_per_point: dict[str, int] = field(default_factory=dict)
    seed: int = 0
    broker_kills: int = 0
    runs: int = 0
    """Ingest processes started, the killed ones among them."""
    commits: int = 0
    resumed: int = 0
    """Plans that a run finished for a dead one."""
    refused: int = 0
    """Commits that were refused because another run was first."""
    events: int = 0
    valid: int = 0
    duplicates: int = 0
    quarantined: int = 0
    lost: int = 0
    duplicated: int = 0
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0
    lake: str = ""

    @property
    def ok(self) -> bool:
        """Whether nothing was lost or doubled, and nothing else went wrong."""
        return not (self.lost or self.duplicated or self.problems)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "ok": self.ok}


def drill_ingest(
    settings: Settings,
    *,
    kills: int = 200,
    seed: int = 1,
    lake: str = "",
    folder: Path | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> DrillResult:
    """Run the drill in a folder of its own beside a private Valkey; `lake` puts its tables elsewhere (s3://…).

    Of `settings` only the contracts, the keys and the object store's access are used. The folder goes when all was well.
    Raises PlatformError when the drill itself cannot go on.
    """
    if kills < 1:
        raise SettingsError(f"A drill was expected to kill at least 1 run; {kills} were asked for.")
    name = f"drill-{uuid.uuid4().hex[:8]}"
    place = folder or settings.home_path / "drills" / name
    place.mkdir(parents=True, exist_ok=True)
    tables = f"{lake.rstrip('/')}/{name}" if lake else ""
    result = _Drill(settings, place, lake=tables, kills=kills, seed=seed, say=say).run()
    if result.ok and folder is None:
        shutil.rmtree(place)
    return result


def planned_kills(kills: int, random: Random) -> list[str]:
    """Where each kill strikes: every failpoint equally often, then random moments, in random order."""
    each = max(1, int(kills * _AT_FAILPOINTS) // len(FAILPOINTS))
    points = [point for point in FAILPOINTS for _ in range(each)]
    random.shuffle(points)
    points = points[:kills] + [RANDOM] * (kills - len(points))
    random.shuffle(points)
    return points


class _Drill:
    def __init__(
        self,
        settings: Settings,
        place: Path,
        *,
        lake: str,
        kills: int,
        seed: int,
        say: Callable[[str], None],
    ) -> None:
        self.place, self.say = place, say
        self.random = Random(seed)
        self.points = planned_kills(kills, self.random)
        self.result = DrillResult(seed=seed)
        self.companion: IngestProcess | None = None
        self.broker = self._start_broker(0)
        # Small plans and windows: the more steps, the more there is to interrupt.
        self.settings = settings.changed(
            home=place,
            lake=lake,
            lake_marker="",
            redis_url=self.broker.url,
            namespace="drill",
            shards=2,
            plan_max_events=60,
            commit_interval_s=0.05,
            compact_every=8,
            uniqueness_window=50_000,
            failpoint="",
        )
        self.result.lake = self.settings.lake_uri
        contracts = load_contracts(self.settings.contracts)
        self.producer = Producer(contracts, lambda: open_log(self.settings), seed=seed)
        self.contracts = contracts

    def run(self) -> DrillResult:
        """All kills, then the proof."""
        began = time.monotonic()
        try:
            create_tables(open_lake(self.settings), self.contracts, STREAMS)
            self.producer.start()
            deadly = set(range(_BROKER_EVERY // 2, len(self.points), _BROKER_EVERY))
            for number, point in enumerate(self.points):
                if not self._strike(point, broker_too=number in deadly):
                    break  # what stands in the way of one run stands in the way of all
                if (number + 1) % _BROKER_EVERY == 0:
                    self.say(f"{number + 1} of {len(self.points)} runs killed")
            self._end_companion()
            self.producer.stop()
            if self.producer.failure is not None:
                raise PlatformError(
                    f"The drill's producer failed: {self.producer.failure}"
                ) from self.producer.failure
            self._drain()
            self._prove()
        finally:
            self.broker.stop()
        self.result.kills_per_point = dict(sorted(self.result.kills_per_point.items()))
        self.result.seconds = round(time.monotonic() - began, 1)
        return self.result

    # -- deaths

    def _strike(self, point: str, *, broker_too: bool) -> bool:
        """Kill one run at `point`, or say that none came there. A run that ends before is followed by another."""
        for _ in range(_ATTEMPTS):
            if self.companion is None and self.random.random() < _TWO_AT_ONCE:
                self.companion = self._start_run(seconds=20)
            named = point != RANDOM
            passes = 1 if point == "after_compaction" else self.random.randint(1, 4)
            victim = self._start_run(failpoint=f"{point}:{passes}" if named else "", seconds=_PATIENCE_S)
            ready = victim.wait_for("ready", _PATIENCE_S)
            if broker_too:
                self._kill_broker()
                broker_too = False
            if ready and not named:
                time.sleep(self.random.random() ** 2)  # rather early than late: most steps are short
                victim.kill()
            code = self._ended(victim)
            if code == -9:
                self.result.kills += 1
                self.result.kills_per_point[point] = self.result.kills_per_point.get(point, 0) + 1
                return True
            if not self.producer.is_alive():
                break
        self._problem(f"A run was to be killed at {point}, and none came there in {_ATTEMPTS} attempts.")
        return False

    def _start_run(self, *, failpoint: str = "", seconds: float | None = None) -> IngestProcess:
        self.result.runs += 1
        return IngestProcess(
            self.settings, failpoint=failpoint, seconds=seconds, errors=self.place / "ingest.log"
        )

    def _ended(self, run: IngestProcess) -> int | None:
        """Wait for a run's end and count what it said."""
        code = run.wait(_PATIENCE_S)
        if code is None:
            run.kill()
            run.wait(10)
        counted = Counter(word for word, _ in run.messages)
        self.result.commits += counted["commit"] + counted["resumed"]
        self.result.resumed += counted["resumed"]
        self.result.refused += counted["refused"]
        if run.error and not run.error.startswith("LogUnavailable"):  # the broker was killed, too
            self._problem(f"An ingest run failed: {run.error}")
        if self.companion is not None and self.companion is not run and not self.companion.alive:
            self._end_companion()
        return code

    def _end_companion(self) -> None:
        companion, self.companion = self.companion, None
        if companion is not None:
            self._ended(companion)

    def _kill_broker(self) -> None:
        time.sleep(self.random.random())
        self.broker.process.kill()
        self.broker.process.wait()
        self.result.broker_kills += 1
        self.broker = self._start_broker(self.broker.port)

    def _start_broker(self, port: int) -> ValkeyServer:
        # Synced at each write: with `everysec` the producer could not know which of the last second's events to send again.
        return start_valkey(self.place / "valkey", port, appendfsync="always", timeout_s=_PATIENCE_S)

    # -- the proof

    def _drain(self) -> None:
        code = self._ended(self._start_run())
        if code != 0:
            self._problem(f"The last run, which nobody killed, ended with {code}.")

    def _prove(self) -> None:
        manifest = self.place / "manifest.json"
        self.producer.manifest.save(manifest)
        proof = verify(self.settings, manifest)
        for name in ("events", "valid", "duplicates", "quarantined", "lost", "duplicated"):
            setattr(self.result, name, getattr(proof, name))
        for problem in proof.problems:
            self._problem(problem)
        if proof.pending:
            self._problem(f"{proof.pending} events are still pending after a run to the end.")
        for stream, expected in self.producer.verdicts.items():
            of = proof.streams[stream]
            found = Verdicts(of.valid, of.duplicates, of.quarantined)
            if found != expected:
                self._problem(
                    f"{stream}: {expected} was expected by what the producer sent, {found} was found."
                )

        self._check_results(proof)

    def _check_results(self, proof: VerifyResult) -> None:
        """The table of data-quality results is a fold of ledger and quarantine: it must count every plan once."""
        lake = open_lake(self.settings, probe=False)
        record_results(lake)
        plans = read_results(lake).filter(pl.col("code") == ANY).collect()
        found = (
            plans.unique(["stream", "shard", "end"]).height,
            plans["checked"].sum(),
            plans["failed"].sum(),
        )
        expected = (lake.scan(LEDGER).select(pl.len()).collect().item(), proof.events, proof.quarantined)
        if plans.height != found[0] or found != expected:
            self._problem(
                f"data_quality: {expected} plans, events and violations were expected once each; {found} were found in "
                f"{plans.height} rows."
            )

    def _problem(self, text: str) -> None:
        if text not in self.result.problems:
            self.result.problems.append(text)
