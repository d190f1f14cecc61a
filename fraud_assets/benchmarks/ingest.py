"""`spearhead bench ingest`: how fast events come from the log into Delta through Dagster's ingest run, and at what cost.

One run of the real job goes through all of it, on a Valkey and a lake of its own: first through a deep backlog of single JSON
events, then beside a producer at full speed, then through blocks, then at a held rate. Rates are taken from the ledger, between the
first and the last commit of a phase, so that the start of a process counts for nothing; `verify` has the last word.
"""

import json
import platform
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final

import psutil
import redis
import typer
from rich.console import Console

from fraud_assets.benchmarks.ceiling import read_to_end
from fraud_assets.benchmarks.figures import Span, ages_s, span, span_from, today
from fraud_assets.benchmarks.kafka import from_kafka
from fraud_assets.benchmarks.load import ROUND, BlockLoad, JsonLoad, Templates, templates
from fraud_assets.benchmarks.rig import Rig
from fraud_assets.ingestion.verify import verify
from fraud_assets.lake import open_lake
from fraud_core.contracts import load_contracts
from fraud_core.log import BLOCK, INGEST, Entry, Shard, open_log
from fraud_core.simulator.wire import to_json

_STREAM: Final = "transactions"
_PATIENCE_S: Final = 600.0


def ingest(
    *,
    events: Annotated[int, typer.Option(help="Single JSON events of the backlog.", min=100_000)] = 1_000_000,
    block_events: Annotated[
        int, typer.Option(help="Events of the backlog in blocks.", min=100_000)
    ] = 2_000_000,
    block_size: Annotated[int, typer.Option(help="Events of one block.", min=1, max=ROUND)] = 1_000,
    kafka_events: Annotated[
        int, typer.Option(help="Single JSON events of the backlog in Kafka (0: no Kafka).", min=0)
    ] = 600_000,
    beside: Annotated[float, typer.Option(help="Seconds beside a producer at full speed.", min=1)] = 6.0,
    rate: Annotated[float, typer.Option(help="Events a second to hold.", min=1_000)] = 100_000,
    duration: Annotated[float, typer.Option(help="Seconds to hold the rate.", min=1)] = 15.0,
    violations: Annotated[
        float, typer.Option(help="Share of events that break the contract.", min=0, max=0.3)
    ] = 0.01,
    seed: Annotated[int, typer.Option(help="Seed of the events.")] = 7,
    folder: Annotated[
        Path | None,
        typer.Option("--dir", help="Folder for the log and the lake. Default: the temporary one."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as one line of JSON.")] = False,
) -> None:
    """Measure ingestion: the raw ceiling, the full path on JSON and blocks, the age of events at a held rate, memory, losses.

    Everything runs on this machine at once: Redis, the producer and the ingest run share its cores. Takes one to two minutes.
    """
    console = Console(stderr=True)
    made = templates(seed, violations)
    with Rig(folder, ingest_run_s=3_600.0) as rig:
        bench = IngestBench(rig, made, console)
        # A rate lies between commits: three plans are the least that gives one.
        events, block_events = (
            max(each, 3 * rig.settings.plan_max_events) for each in (events, block_events)
        )
        bench.ceiling(events // 3 // ROUND * ROUND)
        bench.json_backlog(events)
        bench.beside_a_producer(beside)
        bench.blocks(block_events, block_size)
        bench.held(rate, duration)
        bench.prove()
        bench.kafka(kafka_events)
        figures = {
            **bench.figures,
            "violations": violations,
            "bytes_per_event": round(sum(map(len, made.payloads)) / len(made.payloads)),
            "settings": {
                name: getattr(rig.settings, name)
                for name in ("plan_max_events", "commit_interval_s", "uniqueness_window")
            },
            "date": today(),
            "machine": machine(),
        }
    if as_json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            console.print(f"[bold]{name}[/] {value}")


@dataclass
class IngestBench:
    """The phases, in order; `figures` grows along them."""

    rig: Rig
    made: Templates
    console: Console
    figures: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        settings = self.rig.settings
        self.lake = open_lake(settings)
        self.log = open_log(settings)
        self.shard: Shard = self.log.shards(_STREAM)[0]
        self.redis: Any = redis.Redis.from_url(settings.redis_address)
        self.load = self._json_load(self.made, f"{settings.namespace}:log:{{{_STREAM}.{self.shard.number}}}")
        self.block_load: BlockLoad | None = None
        self._child: subprocess.Popen[bytes] | None = None

    def ceiling(self, events: int) -> None:
        """The raw ceiling, in this process, on valid events alone: one malformed line would stop the plain reader."""
        self._say("the raw ceiling: read and parse, nothing else")
        key = "ceiling"
        load = self._json_load(
            Templates(
                self.made.rows,
                to_json(self.made.rows),
                [each.encode() for each in self.made.rows["transaction_id"].to_list()],
            ),
            key,
        )
        load.send(events)
        self._settle()
        schema = load_contracts(self.rig.settings.contracts).transactions.polars_schema()
        seconds = []
        for _ in range(2):  # the first time warms up
            begun, used = time.perf_counter(), time.process_time()
            read = read_to_end("127.0.0.1", self.rig.valkey.port, key, schema)
            seconds.append(time.perf_counter() - begun)
            used = time.process_time() - used
        load.finish()
        self.redis.delete(key)
        self.figures |= {
            "ceiling_events_per_s": round(read / min(seconds)),
            "ceiling_cpu_us_per_event": round(used / read * 1e6, 2),
        }

    def json_backlog(self, events: int) -> None:
        """The full path, from a backlog of single events that was there before."""
        self._say(f"a backlog of {events:,} single JSON events")
        self.load.send(events // ROUND * ROUND)
        self._settle()
        begun = time.time()
        self._child = self.rig.start("ingest", "fraud_assets.benchmarks.ingest_run", "LOOP")
        self._drain()
        done = span(self.lake, begun)
        self._rates("json", done)
        self.figures["ratio_json"] = round(done.events_per_s / self.figures["ceiling_events_per_s"], 3)
        self.figures["cpu_us_per_event"] = self.figures["json_cpu_us_per_event"]["ingest"]

    def beside_a_producer(self, seconds: float) -> None:
        """The same while a producer appends as fast as it can, from its first event until all it sent are in Delta: both
        share the cores with Redis."""
        self._say(f"{seconds:g} s beside a producer at full speed")
        begun = time.time()
        sent_before = self.load.sent
        took = self.load.send(1 << 60, seconds=seconds)
        self.figures["producer_events_per_s"] = round((self.load.sent - sent_before) / took)
        self._drain()
        self._rates("json_beside_producer", span_from(self.lake, begun))

    def blocks(self, events: int, size: int) -> None:
        """A backlog of blocks. The run is held still while it grows."""
        self._say(f"a backlog of {events:,} events in blocks of {size:,}")
        self.block_load = BlockLoad(self.made, size)
        with self.rig.paused(self._running):
            for _ in range(0, events, 100 * size):
                self.log.append(
                    _STREAM, [Entry(BLOCK, block, events=size) for block in self.block_load.make(100 * size)]
                )
            self._settle()
            begun = time.time()
        self._drain()
        self._rates("block", span(self.lake, begun))

    def held(self, rate: float, duration: float) -> None:
        """A held rate of single events: how old they are when they are in Delta."""
        self._say(f"{rate:,.0f} events/s for {duration:g} s")
        after = self.log.end(self.shard)
        took = self.load.send(int(rate * duration) // ROUND * ROUND, rate=rate)
        sent = int(rate * duration) // ROUND * ROUND
        self._drain()
        median, high, most = ages_s(self.lake, after)
        self.figures |= {
            "held_rate_events_per_s": round(sent / took),
            "held_s": round(took, 1),
            "age_p50_s": round(median, 2),
            "age_p95_s": round(high, 2),
            "age_max_s": round(most, 2),
        }

    def prove(self) -> None:
        """Stop the run as a power cut would, bring in what is left, and let verify count."""
        self.load.finish()
        self._drain()
        self.figures["peak_rss_mib"] = round(self.rig.watched["ingest"].peak_rss_mib)
        self._running.kill()
        self._say("verify")
        manifest = self.load.manifest()
        if self.block_load is not None:
            manifest.merge(self.block_load.manifest())
        path = self.rig.home / "manifest.json"
        manifest.save(path)
        result = verify(self.rig.settings, path)
        proof = result.streams[_STREAM]
        self.figures |= {
            "events": proof.events,
            "lost": proof.lost + proof.pending,
            "duplicated": proof.duplicated,
            "proved": result.ok,
        }
        if not result.ok:
            self.console.print("\n".join(result.problems))

    def kafka(self, events: int) -> None:
        """The same from Kafka, with a lake of its own."""
        if events:
            self._say(f"a backlog of {events:,} single JSON events in Kafka")
            self.figures |= from_kafka(self.rig, self.made, events // ROUND * ROUND)
            for name in ("lost", "duplicated"):
                self.figures[name] += self.figures.get(f"kafka_{name}", 0)

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        assert self._child is not None
        return self._child

    def _rates(self, name: str, done: Span) -> None:
        # None: fewer than two plans, which say nothing of a rate.
        self.figures[f"{name}_events_per_s"] = round(done.events_per_s) if done.events else None
        if done.events:
            self.figures[f"{name}_cpu_us_per_event"] = {
                who: round(self.rig.watched[who].used_s(done.begin, done.end) / done.events * 1e6, 2)
                for who in ("ingest", "valkey")
            }

    def _drain(self) -> None:
        end = self.log.end(self.shard)
        self.rig.wait(
            lambda: self.log.readers(self.shard).get(INGEST, 0) >= end, self._running, "ingest", _PATIENCE_S
        )

    def _settle(self) -> None:
        """Wait until Redis has done with rewriting its append-only file: that belongs to the filling."""
        deadline = time.monotonic() + 60
        while self.redis.info("persistence")["aof_rewrite_in_progress"] and time.monotonic() < deadline:
            time.sleep(0.1)

    def _json_load(self, made: Templates, key: str) -> JsonLoad:
        return JsonLoad(made, "127.0.0.1", self.rig.valkey.port, key)

    def _say(self, what: str) -> None:
        self.console.print(f"[dim]{time.strftime('%H:%M:%S')}[/] {what}")


def machine() -> str:
    """Processor, cores and memory of this machine."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.partition(":")[2].strip()
            for line in info.read_text().splitlines()
            if line.startswith("model name")
        ]
        model = names[0] if names else model
    memory = psutil.virtual_memory().total / 2**30
    return f"{model}, {psutil.cpu_count()} cores, {memory:.0f} GiB"
