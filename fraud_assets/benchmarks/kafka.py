"""The same path from Kafka: a broker that is named by the settings, or a real one of the benchmark's own where Java and Maven are."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from fraud_assets.benchmarks.figures import span
from fraud_assets.benchmarks.load import ROUND, Templates, numbered
from fraud_assets.benchmarks.rig import Rig, own_settings
from fraud_assets.ingestion.verify import verify
from fraud_assets.lake import STREAMS, open_lake
from fraud_core.errors import PlatformError
from fraud_core.log import INGEST, Manifest, json_entry, open_log
from fraud_core.settings import load_settings

_STREAM: Final = "transactions"
_PATIENCE_S: Final = 600.0
_CACHE: Final = Path("~/.cache/spearhead").expanduser()


def from_kafka(rig: Rig, made: Templates, events: int) -> dict[str, Any]:
    """Rate and CPU of ingesting a backlog of single JSON events from Kafka; why there is none, where no broker can be had."""
    try:
        with _servers(rig) as (servers, which):
            return {"kafka": which, **_measure(rig, servers, made, events)}
    except (PlatformError, ImportError) as error:
        return {"kafka": f"none: {' '.join(str(error).split())}", "kafka_events_per_s": None}


def _measure(rig: Rig, servers: str, made: Templates, events: int) -> dict[str, Any]:
    from fraud_core.log.kafka_connection import connect
    from fraud_core.log.kafka_topics import create_topics

    home = rig.home / "on_kafka"
    settings = own_settings(
        home,
        redis_url=rig.valkey.url,
        log="kafka",
        kafka_servers=servers,
        ingest_run_s=3_600.0,
        namespace=f"bench{int(time.time())}",
    )
    create_topics(connect(settings), [f"{settings.namespace}.{stream}" for stream in STREAMS], partitions=1)
    log, manifest = open_log(settings), Manifest()
    try:
        for first in range(0, events, ROUND):
            payloads, ids = numbered(made, first)
            log.append(_STREAM, [json_entry(payload) for payload in payloads])
            manifest.add(_STREAM, ids, unreadable=len(payloads) - len(ids))
        (shard,) = log.shards(_STREAM)
        end, lake, begun = log.end(shard), open_lake(settings), time.time()
        child = rig.start("ingest_kafka", "fraud_assets.benchmarks.ingest_run", "LOOP", settings=settings)
        rig.wait(lambda: log.readers(shard).get(INGEST, 0) >= end, child, "ingest_kafka", _PATIENCE_S)
        child.kill()
    finally:
        log.close()
    done = span(lake, begun)
    manifest.save(home / "manifest.json")
    result = verify(settings, home / "manifest.json")
    proof = result.streams[_STREAM]
    watched = rig.watched["ingest_kafka"]
    return {
        "kafka_events_per_s": round(done.events_per_s),
        "kafka_cpu_us_per_event": round(watched.used_s(done.begin, done.end) / max(done.events, 1) * 1e6, 2),
        "kafka_peak_rss_mib": round(watched.peak_rss_mib),
        "kafka_lost": proof.lost + proof.pending,
        "kafka_duplicated": proof.duplicated,
        "kafka_proved": result.ok,
    }


@contextmanager
def _servers(rig: Rig) -> Iterator[tuple[str, str]]:
    named = load_settings().kafka_servers
    if named:
        yield named, f"configured: {named}"
        return
    from fraud_core.log.kafka_broker import VERSION, start_broker

    here = Path(".cache").resolve()
    broker = start_broker(rig.home / "kafka", here if here.is_dir() else _CACHE)
    try:
        rig.watch("kafka", broker.process.pid)
        yield broker.servers, f"Apache Kafka {VERSION}, a broker of its own"
    finally:
        broker.kill()
