"""The drill of the online state: Redis loses it while payments are scored over HTTP, and every vector served is recomputed.

A Valkey, a lake and a scoring service of the drill's own; the service is the real one, a process of its own. Four losses in
turn: FLUSHALL; the server killed and restarted without its file; a fail-over to a replica that lacks the last second; keys
evicted for want of memory. After each the state is rebuilt under traffic. At the end the log is ingested and every decision's vector compared, bit for bit.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import httpx

from fraud_assets.drills.losing import LOSSES, LosingServer
from fraud_assets.drills.traffic import Traffic, payment
from fraud_assets.features import build_features
from fraud_assets.ingestion import run_ingest
from fraud_assets.lake import Lake, open_lake
from fraud_assets.monitoring.parity import feature_parity
from fraud_assets.online_state import StateBuild, rebuild_state
from fraud_assets.online_state.condition import lost_state
from fraud_assets.online_state.verify import verify_state
from fraud_core.contracts import Contracts, load_contracts
from fraud_core.errors import PlatformError, SettingsError
from fraud_core.features import FeatureSet, load_features
from fraud_core.free_ports import free_ports
from fraud_core.log import open_log
from fraud_core.platform.process import spawn
from fraud_core.settings import Settings

_START_S: Final = 120.0
_NOTICED_S: Final = 30.0


@dataclass
class StateDrillResult:
    """What the drill did and found."""

    requests: int = 0
    unanswered: int = 0
    """Requests that got no answer at all: refused, timed out, or 5xx."""
    degraded: int = 0
    """Answers made without the state, or that could not be logged."""
    reasons: dict[str, int] = field(default_factory=dict)
    logged: int = 0
    """Answers that said `logged: true`."""
    losses: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By kind: noticed_ms, rebuild_s, fence_ms, followed, epoch."""
    fence_ms: float = 0.0
    """The longest fence."""
    decisions: int = 0
    """Decisions that reached the lake."""
    lost_decisions: int = 0
    """Answers that said `logged: true` and are not in the lake: what Redis lost of its last second."""
    lost_in_calm: int = 0
    """Of those, the ones made while nothing was lost, that Redis had kept until they were ingested."""
    decisions_with_vector: int = 0
    """Of those, the ones made with the state."""
    compared: int = 0
    """Vectors compared with the recomputed ones."""
    mismatches: int = 0
    entities_compared: int = 0
    entities_differing: int = 0
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Nothing differs, and nothing was lost that Redis had kept."""
        return not self.problems

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"ok": self.ok, **asdict(self)}

    def conclude(self, first_difference: object = None) -> None:
        """Name what is wrong with these figures; what compared nothing has proved nothing."""
        if self.mismatches:
            self.problems.append(f"{self.mismatches} values differ, the first: {first_difference}.")
        if self.compared != self.decisions_with_vector:
            self.problems.append(
                f"{self.decisions_with_vector - self.compared} decisions could not be compared."
            )
        if self.lost_in_calm:
            self.problems.append(
                f"{self.lost_in_calm} decisions that were answered as logged while Redis lost nothing are not in the lake."
            )
        for what, count in (("vector", self.compared), ("entity", self.entities_compared)):
            if not count:
                self.problems.append(f"Not one {what} was compared, so nothing is proved.")


def drill_state(
    settings: Settings,
    *,
    folder: Path,
    losses: tuple[str, ...] = LOSSES,
    rate: float = 40.0,
    calm_s: float = 3.0,
    say: Callable[[str], None] = print,
) -> StateDrillResult:
    """Run the drill in `folder`. `rate`: requests a second; `calm_s`: seconds of traffic between two acts.

    Raises SettingsError unless at least one loss is asked for, and all of them are known.
    """
    if not losses or not set(losses) <= set(LOSSES):
        raise SettingsError(
            f"Losses were expected from {', '.join(LOSSES)}; found {', '.join(losses) or 'none'}. Name at least one."
        )
    began = time.monotonic()
    drill = _Drill(settings, folder, rate, calm_s, say)
    try:
        asyncio.run(drill.run(losses))
        drill.prove()
    finally:
        drill.stop()
    drill.result.seconds = round(time.monotonic() - began, 1)
    return drill.result


class _Drill:
    def __init__(
        self, settings: Settings, folder: Path, rate: float, calm_s: float, say: Callable[[str], None]
    ) -> None:
        self.result = StateDrillResult()
        self._folder, self._rate, self._calm_s, self._say = folder, rate, calm_s, say
        self._port, http_port = free_ports(2)
        self._server: LosingServer | None = None
        self._service: subprocess.Popen[bytes] | None = None
        self.settings = settings.changed(
            home=folder / "home",
            lake="",
            log="redis",
            redis_url=f"redis://127.0.0.1:{self._port}/0",
            namespace="drill",
            backend="onnxruntime",
            bundles="",
            serving_port=http_port,
            serving_workers=1,
            deadline_ms=1000,
        )
        self._traffic: Traffic | None = None
        self._calm_since = 0
        """Answers that had come when the state was whole again, or at the start."""
        self._kept: set[str] = set()
        """Decisions that Redis had until they were ingested."""

    # -- the stage

    async def run(self, losses: tuple[str, ...]) -> None:
        """Start everything, then bring about one loss after the other under traffic."""
        self._server = LosingServer(self._folder, self._port)
        contracts = load_contracts(self.settings.contracts)
        self._history(contracts)
        self._ingest()
        self._rebuild()
        self._serve()
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{self.settings.serving_port}", timeout=10
        ) as http:
            await self._until(lambda: self._listening(http), _START_S, "the scoring service answers")
            self._traffic = Traffic(contracts, self._rate)
            sending = asyncio.create_task(self._traffic.run(http))
            try:
                await self._calm()
                for loss in losses:
                    await self._lose(loss, self._traffic)
                    await self._calm()
            finally:
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)

    def _history(self, contracts: Contracts) -> None:
        """Some hundred payments that were known before the drill."""
        from fraud_core.log import json_entry

        log = open_log(self.settings)
        try:
            past = datetime.now(UTC) - timedelta(hours=3)
            rows = [payment(contracts, number, past + timedelta(seconds=number)) for number in range(400)]
            log.append("transactions", [json_entry(json.dumps(row).encode()) for row in rows])
        finally:
            log.close()

    def _serve(self) -> None:
        self._service = spawn(
            [sys.executable, "-m", "fraud_core.cli", "serve"],
            self.settings.environment(),
            self._folder / "service.log",
            uuid.uuid4().hex,
        )

    def stop(self) -> None:
        """End what was started."""
        if self._service is not None and self._service.poll() is None:
            os.killpg(self._service.pid, signal.SIGTERM)
            try:
                self._service.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(self._service.pid, signal.SIGKILL)
                self._service.wait()
        if self._server is not None:
            self._server.stop()

    # -- waiting

    async def _calm(self) -> None:
        await asyncio.sleep(self._calm_s)

    @staticmethod
    async def _listening(http: httpx.AsyncClient) -> bool:
        try:
            return (await http.get("/livez")).status_code == 200
        except httpx.HTTPError:
            return False

    @staticmethod
    async def _until(condition: Callable[[], Any], within_s: float, what: str) -> None:
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            if await condition():
                return
            await asyncio.sleep(0.05)
        raise PlatformError(f"The drill waited for {within_s:g} s and it did not come about: {what}.")

    # -- the losses

    async def _lose(self, loss: str, traffic: Traffic) -> None:
        self._say(f"{loss.replace('_', ' ')}, under traffic")
        self._keep(traffic)
        await asyncio.to_thread(self._ingest)
        assert self._server is not None
        lost_at = await asyncio.to_thread(self._server.lose, loss, lambda: traffic.logged)
        seen = len(traffic.answers)

        async def noticed() -> bool:
            later = list(traffic.answers.values())[seen:]
            return any(answer["fallback_reason"] == "state_lost" for answer in later)

        await self._until(noticed, _NOTICED_S, "an answer says that the state is lost")
        noticed_ms = (time.monotonic() - lost_at) * 1000
        words = await asyncio.to_thread(self._why)
        if words is None:
            self.result.problems.append(f"{loss}: what starts rebuilds by itself did not see it.")
        build = await asyncio.to_thread(self._rebuild)
        self.result.losses[loss] = {
            "noticed_ms": round(noticed_ms),
            "seen_as": words,
            "epoch": build.rebuilt.epoch,
            "rebuild_s": build.seconds,
            "fence_ms": build.fence_ms,
            "followed": build.followed,
        }
        self.result.fence_ms = max(self.result.fence_ms, build.fence_ms)
        seen = len(traffic.answers)

        async def recovered() -> bool:
            later = list(traffic.answers.values())[seen:]
            return any(answer["fallback_reason"] != "state_lost" and answer["logged"] for answer in later)

        await self._until(recovered, _NOTICED_S, "answers are made with the state again")
        self._calm_since = len(traffic.answers)

    def _keep(self, traffic: Traffic) -> None:
        """Note what was logged since the last loss was mended: it has to be in the lake after the next ingestion."""
        answers = list(traffic.answers.items())[self._calm_since :]
        self._kept |= {id for id, answer in answers if answer["logged"]}

    # -- the work of the other tier

    def _declared(self) -> tuple[Contracts, FeatureSet]:
        contracts = load_contracts(self.settings.contracts)
        return contracts, load_features(contracts.features_path, contracts)

    def _lake(self) -> Lake:
        return open_lake(self.settings)

    def _ingest(self) -> None:
        run_ingest(self.settings)

    def _why(self) -> str | None:
        return lost_state(self.settings, self._lake(), self._declared()[1])

    def _rebuild(self) -> StateBuild:
        log = open_log(self.settings)
        try:
            return rebuild_state(self.settings, self._lake(), log, *self._declared(), reason="drill")
        finally:
            log.close()

    def prove(self) -> None:
        """Ingest the log to its end, then compare every vector, and every entity of the state."""
        assert self._traffic is not None
        self._keep(self._traffic)
        self._ingest()
        lake, (contracts, features) = self._lake(), self._declared()
        log = open_log(self.settings)
        try:
            proof = verify_state(self.settings, lake, log, contracts, features, sample=0)
        finally:
            log.close()
        today = datetime.now(UTC).date()
        span = (today - timedelta(days=1), today)
        build_features(lake, contracts, features, *span)
        parity = feature_parity(lake, contracts, features, *span)
        held = set(
            lake.scan("decisions").select(contracts.decisions.event_id).collect().to_series().to_list()
        )
        found, answers = self.result, self._traffic.answers
        logged = {id for id, answer in answers.items() if answer["logged"]}
        found.requests, found.unanswered = self._traffic.sent, self._traffic.sent - len(answers)
        found.reasons = dict(Counter(answer["fallback_reason"] or "none" for answer in answers.values()))
        found.degraded = sum(n for reason, n in found.reasons.items() if reason not in {"none", "no_model"})
        found.logged, found.decisions, found.lost_decisions = len(logged), len(held), len(logged - held)
        found.lost_in_calm = len(self._kept - held)
        found.decisions_with_vector, found.compared = parity.decisions, parity.compared
        found.mismatches = parity.values
        found.entities_compared, found.entities_differing = proof.compared, proof.differing
        found.conclude(parity.first_difference)
        found.problems += [f"Online state: {words}" for words in proof.differences]
