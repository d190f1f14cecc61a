"""The drill of the online state: Redis loses it while payments are scored over HTTP, and every vector served is recomputed.

A Valkey, a lake and a scoring service of the drill's own; the service is the real one, a process of its own. Three losses in
turn: FLUSHALL; the server killed and restarted without its file; a fail-over to a replica that lacks the last second. After
each the state is rebuilt under traffic. At the end the log is ingested and every decision's vector compared, bit for bit.
"""

import asyncio
import json
import os
import signal
import socket
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
import redis

from fraud_assets.features import build_features
from fraud_assets.ingestion import run_ingest
from fraud_assets.lake import Lake, open_lake
from fraud_assets.monitoring.parity import feature_parity
from fraud_assets.online_state import StateBuild, rebuild_state
from fraud_assets.online_state.condition import lost_state
from fraud_assets.online_state.verify import verify_state
from fraud_core.contracts import Contracts, load_contracts
from fraud_core.errors import PlatformError
from fraud_core.features import FeatureSet, load_features
from fraud_core.log import open_log
from fraud_core.log.valkey import ValkeyServer, start_valkey
from fraud_core.platform.process import spawn
from fraud_core.settings import Settings

LOSSES: Final = ("wiped", "restarted_empty", "failed_over")
_START_S: Final = 120.0
_NOTICED_S: Final = 30.0
_LATE_S: Final = 30.0


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


def drill_state(
    settings: Settings,
    *,
    folder: Path,
    losses: tuple[str, ...] = LOSSES,
    rate: float = 40.0,
    calm_s: float = 3.0,
    say: Callable[[str], None] = print,
) -> StateDrillResult:
    """Run the drill in `folder`. `rate`: requests a second; `calm_s`: seconds of traffic between two acts."""
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
        self._port, http_port = _free_port(), _free_port()
        self._server: ValkeyServer | None = None
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
        self._answers: dict[str, dict[str, Any]] = {}
        self._sent = 0

    # -- the stage

    async def run(self, losses: tuple[str, ...]) -> None:
        """Start everything, then bring about one loss after the other under traffic."""
        self._server = start_valkey(self._folder / "valkey-0", self._port)
        contracts = load_contracts(self.settings.contracts)
        self._history(contracts)
        self._ingest()
        self._rebuild()
        self._serve()
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{self.settings.serving_port}", timeout=10
        ) as http:
            await self._until(lambda: self._listening(http), _START_S, "the scoring service answers")
            traffic = asyncio.create_task(self._traffic(http, contracts))
            try:
                await self._calm()
                for loss in losses:
                    await self._lose(loss)
                    await self._calm()
            finally:
                traffic.cancel()
                await asyncio.gather(traffic, return_exceptions=True)

    def _history(self, contracts: Contracts) -> None:
        """Some hundred payments that were known before the drill."""
        from fraud_core.log import json_entry

        log = open_log(self.settings)
        try:
            past = datetime.now(UTC) - timedelta(hours=3)
            rows = [_payment(contracts, number, past + timedelta(seconds=number)) for number in range(400)]
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

    # -- the traffic

    async def _traffic(self, http: httpx.AsyncClient, contracts: Contracts) -> None:
        sending: set[asyncio.Task[None]] = set()
        number = 1000
        while True:
            task = asyncio.create_task(self._send(http, _payment(contracts, number, datetime.now(UTC))))
            sending.add(task)
            task.add_done_callback(sending.discard)
            number += 1
            await asyncio.sleep(1 / self._rate)

    async def _send(self, http: httpx.AsyncClient, payment: dict[str, Any]) -> None:
        self._sent += 1
        try:
            response = await http.post("/v1/score", json=payment)
            if response.status_code == 200:
                self._answers[payment["transaction_id"]] = response.json()
        except httpx.HTTPError:
            return

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

    async def _lose(self, loss: str) -> None:
        self._say(f"{loss.replace('_', ' ')}, under traffic")
        await asyncio.to_thread(self._ingest)
        lost_at, seen = await asyncio.to_thread(getattr(self, f"_{loss}")), len(self._answers)

        async def noticed() -> bool:
            later = list(self._answers.values())[seen:]
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
        seen = len(self._answers)

        async def recovered() -> bool:
            later = list(self._answers.values())[seen:]
            return any(answer["fallback_reason"] != "state_lost" and answer["logged"] for answer in later)

        await self._until(recovered, _NOTICED_S, "answers are made with the state again")

    def _wiped(self) -> float:
        with redis.Redis(port=self._port) as client:
            client.flushall()
            client.function_flush()
        return time.monotonic()

    def _restarted_empty(self) -> float:
        assert self._server is not None
        self._server.process.kill()
        self._server.process.wait()
        self._server = start_valkey(self._folder / f"valkey-{time.monotonic_ns()}", self._port)
        return time.monotonic()

    def _failed_over(self) -> float:
        """A replica is cut off, the primary goes on for a second and dies, the replica takes its place."""
        assert self._server is not None
        replica = start_valkey(self._folder / f"replica-{time.monotonic_ns()}", 0)
        with redis.Redis(port=replica.port) as other:
            other.replicaof("127.0.0.1", self._port)
            deadline = time.monotonic() + _LATE_S
            while other.info("replication").get("master_link_status") != "up":
                if time.monotonic() > deadline:
                    raise PlatformError("The drill's replica did not come up to its primary.")
                time.sleep(0.05)
            other.replicaof("NO", "ONE")
            time.sleep(1.0)  # the second that the replica lacks
            self._server.process.kill()
            self._server.process.wait()
        replica.stop()  # its address becomes the primary's, as behind a proxy: started again there, on its own file
        self._server = start_valkey(replica.data_dir, self._port)
        return time.monotonic()

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
        found, answers = self.result, self._answers
        logged = {id for id, answer in answers.items() if answer["logged"]}
        found.requests, found.unanswered = self._sent, self._sent - len(answers)
        found.reasons = dict(Counter(answer["fallback_reason"] or "none" for answer in answers.values()))
        found.degraded = sum(n for reason, n in found.reasons.items() if reason not in {"none", "no_model"})
        found.logged, found.decisions, found.lost_decisions = len(logged), len(held), len(logged - held)
        found.compared, found.mismatches = parity.compared, parity.values
        found.entities_compared, found.entities_differing = proof.compared, proof.differing
        if parity.values:
            found.problems.append(f"{parity.values} values differ, the first: {parity.first_difference}.")
        if parity.compared != parity.decisions:
            found.problems.append(f"{parity.decisions - parity.compared} decisions could not be compared.")
        found.problems += [f"Online state: {words}" for words in proof.differences]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _payment(contracts: Contracts, number: int, at: datetime) -> dict[str, Any]:
    who, amount = number % 40, 100 + number % 5000
    return contracts.transactions.example() | {
        "transaction_id": f"txn_drill_{number:08d}",
        "event_ts": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "account_id": f"acc_{who:06d}",
        "card_id": f"crd_{who:06d}",
        "merchant_id": f"mer_{number % 7:06d}",
        "device_id": f"dev_{who:06d}",
        "amount_minor": amount,
        "amount_base_minor": amount,
    }
