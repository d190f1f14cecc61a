"""The online side of `spearhead bench features`: a Valkey of its own, entities with histories of a given length, and a stopwatch.

What a payment costs the server depends on how busy it is: one that waits for each payment wakes up, and writes its
append-only file, for each; one that is never idle does both for several at once. Both are measured.
"""

import selectors
import socket
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import Any, Final

import hiredis
import numpy as np
import polars as pl
from redis import Redis
from redis.exceptions import ResponseError

from fraud_assets.benchmarks.payments import START_MS, as_events, frauds, payments
from fraud_core.errors import StateError
from fraud_core.features import FeatureSet, OnlineState, compute_offline, label_effects
from fraud_core.features.wire import pack
from fraud_core.log.valkey import start_valkey

AT_EVENTS: Final = (10, 25, 200, 5_000, 100_000)
_PRELOADED: Final = 60_000
"""Events that fill the histories of one length: many short ones or few long ones."""
_BATCH: Final = 200
_CONNECTIONS: Final = 16
"""Clients of a server that is never idle, each with one payment under way."""
_REWRITTEN_S: Final = 60
_SPAN_MS: Final = int(timedelta(days=20).total_seconds() * 1000)


def online_figures(features: FeatureSet, at: Sequence[int], calls: int) -> list[dict[str, float]]:
    """Per length of history: server CPU µs of one payment (all its entities), alone and at saturation, and the client's
    p50 and p99 µs of a round trip where payments come one at a time."""
    found = []
    with _redis() as client:
        for events in at:
            client.flushall()
            state = OnlineState(client, features, "bench")
            state.begin()
            found.append({"events_per_entity": events, **_measure(client, state, events, calls)})
    return found


def ping_us(times: int = 20_000) -> float:
    """Server CPU µs of a PING at saturation: what a call costs this machine before it does anything."""
    with _redis() as client:
        before = _server_cpu_s(client)
        _saturate(client, [pack((("PING",),))] * times, 1)
        return round((_server_cpu_s(client) - before) / times * 1e6, 1)


def mismatches(features: FeatureSet, seed: int, rows: int = 20_000) -> int:
    """Values in which the online state and the offline fold differ over a short history with labels, applied one by one."""
    contract = features.contract
    frame = payments(contract, rows, accounts=rows // 100, merchants=rows // 400, seed=seed)
    labels = frauds(contract, frame)
    with _redis() as client:
        state = OnlineState(client, features, "bench")
        state.begin()
        state.apply_label_effects(label_effects(features, frame, labels))
        events = as_events(contract, frame)
        served = [
            applied.vector
            for batch in _batches([(event, event[contract.event_id]) for event in events])
            for applied in state.apply_many(batch)
        ]
    wanted = compute_offline(features, frame, labels).select(features.names).to_numpy()
    online = np.stack(served)
    same = (online.view(np.uint32) == wanted.view(np.uint32)) | (np.isnan(online) & np.isnan(wanted))
    return int((~same).sum())


def _measure(client: "Redis", state: OnlineState, events: int, calls: int) -> dict[str, float]:
    groups = max(1, min(calls, _PRELOADED // events))
    each = 2 * -(-calls // groups)
    history, following = _histories(state.features, groups, events, each)
    for batch in _batches(history):
        state.apply_many(batch)
    _settle(client)
    before, waited = _server_cpu_s(client), []
    half = len(following) // 2
    for event, event_id in following[:half]:
        began = time.perf_counter()
        state.apply(event, event_id)
        waited.append(time.perf_counter() - began)
    used = _server_cpu_s(client) - before
    rest = [
        state.calls.prepare(state.epoch(), event, event_id).commands for event, event_id in following[half:]
    ]
    messages = [pack((("GET", state.calls.epoch_key), *commands)) for commands in rest]
    before = _server_cpu_s(client)
    _saturate(client, messages, 1 + len(rest[0]))
    saturated = _server_cpu_s(client) - before
    p50, p99 = np.percentile(waited, [50, 99]) * 1e6
    return {
        "server_us": round(used / half * 1e6, 1),
        "server_saturated_us": round(saturated / len(messages) * 1e6, 1),
        "client_p50_us": round(float(p50), 1),
        "client_p99_us": round(float(p99), 1),
        "bytes_per_entity_group": round(float(client.info("memory")["used_memory_dataset"]) / groups),
    }


def _settle(client: "Redis") -> None:
    """Have the append-only file rewritten now: the server does so whenever it has doubled, which here it does not again."""
    with suppress(ResponseError):  # one is under way
        client.bgrewriteaof()
    deadline = time.monotonic() + _REWRITTEN_S
    while True:
        info: Any = client.info("persistence")
        if not info["aof_rewrite_in_progress"] and not info["aof_rewrite_scheduled"]:
            return
        if time.monotonic() > deadline:
            raise StateError(
                f"The benchmark's Valkey was expected to rewrite its file within {_REWRITTEN_S} s."
            )
        time.sleep(0.05)


def _saturate(client: "Redis", messages: Sequence[bytes], replies: int) -> None:
    """Send each message, over the next connection that has nothing under way, and read its replies."""
    kwargs = client.connection_pool.connection_kwargs
    waiting = iter(messages)
    with selectors.DefaultSelector() as ready, ExitStack() as opened:
        busy = 0
        for message in islice(waiting, _CONNECTIONS):
            connection = opened.enter_context(
                socket.create_connection((kwargs["host"], kwargs["port"]), timeout=60)
            )
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            ready.register(connection, selectors.EVENT_READ, (hiredis.Reader(), []))
            connection.sendall(message)
            busy += 1
        while busy:
            for key, _ in ready.select():
                sender, (reader, got) = key.fileobj, key.data
                assert isinstance(sender, socket.socket)
                reader.feed(sender.recv(1 << 16))
                while (reply := reader.gets()) is not False:
                    if isinstance(reply, hiredis.ReplyError):
                        raise StateError(f"The online state refused a payment: {reply}.")
                    got.append(reply)
                if len(got) == replies:
                    got.clear()
                    message = next(waiting, b"")
                    busy -= not message
                    if message:
                        sender.sendall(message)


def _histories(
    features: FeatureSet, groups: int, events: int, following: int
) -> tuple[list[tuple[dict[str, Any], str]], list[tuple[dict[str, Any], str]]]:
    """Events of `groups` sets of entities that no other set shares, the sets in turn: a past, and what is measured."""
    contract = features.contract
    rows = groups * (events + following)
    frame = payments(contract, rows, accounts=groups, merchants=groups, seed=1)
    group, place = np.arange(rows) % groups, np.arange(rows) // groups
    times = START_MS + place * _SPAN_MS // (events + following)
    own = {
        field: pl.Series([f"{entity}-{number}" for number in group])
        for entity, field in contract.entities.items()
    }
    moment = pl.Series(times * 1000).cast(pl.Datetime("us", "UTC"))
    told = as_events(contract, frame.with_columns(**own, **{contract.event_time: moment}))
    with_ids = [(event, event[contract.event_id]) for event in told]
    return with_ids[: groups * events], with_ids[groups * events :]


def _batches(events: list[tuple[dict[str, Any], str]]) -> Iterator[list[tuple[dict[str, Any], str]]]:
    for start in range(0, len(events), _BATCH):
        yield events[start : start + _BATCH]


def _server_cpu_s(client: "Redis") -> float:
    used: Any = client.info("cpu")
    return float(used["used_cpu_user"]) + float(used["used_cpu_sys"])


@contextmanager
def _redis() -> Iterator["Redis"]:
    """A client of a Valkey that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="spearhead-bench-") as folder:
        server = start_valkey(Path(folder), 0)
        client = Redis.from_url(server.url)
        try:
            yield client
        finally:
            client.close()
            server.stop()
