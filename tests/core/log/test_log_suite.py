"""What every log must do, run against each implementation."""

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from random import Random

import polars as pl
import pytest

from fraud_core.errors import LogError, LostRange
from fraud_core.log import BLOCK, JSON, Entry, Log, Origin, block_entry, json_entry, open_log
from fraud_core.log.counting import TallyByReading
from fraud_core.log.open import open_kafka
from fraud_core.log.redis_ids import to_id
from fraud_core.log.redis_streams import RedisLog
from fraud_core.settings import load_settings
from tests.kafka import STREAMS, is_real, kafka_settings
from tests.kafka_mock import MockCluster

OpenLog = Callable[..., Log]


@pytest.fixture(
    params=[
        pytest.param("redis", marks=pytest.mark.valkey),
        pytest.param("cluster", marks=pytest.mark.valkey),
        pytest.param("kafka", marks=pytest.mark.kafka),
    ]
)
def new_log(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OpenLog]:
    """Opens an empty log: new_log(), or new_log(shards)."""
    opened: list[Log] = []
    held = ExitStack()

    def mocked(shards: int) -> Log:
        cluster = MockCluster()
        held.callback(cluster.stop)
        held.enter_context(cluster.told())
        settings = load_settings(_env_file=None, home=tmp_path, log="kafka", kafka_servers=cluster.servers)
        cluster.create([f"{settings.namespace}.{stream}" for stream in STREAMS], shards)
        opened.append(open_kafka(settings))
        return opened[-1]

    def open_empty(shards: int = 1) -> Log:
        if request.param == "kafka" and not is_real():
            if (needed := request.node.get_closest_marker("real_broker")) is not None:
                pytest.skip(f"needs a real broker: librdkafka's mock cluster knows no {needed.args[0]}")
            return mocked(shards)
        if request.param == "kafka":
            servers = request.getfixturevalue("kafka_session").servers
            settings = kafka_settings(servers, tmp_path, partitions=shards)
        else:
            one = request.param == "redis"
            url = request.getfixturevalue("valkey_url" if one else "cluster_session")
            name = f"n{len(opened)}" if one else f"n{uuid.uuid4().hex[:8]}"
            settings = load_settings(
                _env_file=None, home=tmp_path, redis_url=url, shards=shards, namespace=name
            )
        opened.append(open_log(settings))
        return opened[-1]

    yield open_empty
    for log in opened:
        log.close()
    held.close()


@pytest.fixture
def log(new_log: OpenLog) -> Log:
    return new_log()


def entries(count: int, start: int = 0) -> list[Entry]:
    return [json_entry(b'{"n":%d}' % number) for number in range(start, start + count)]


def test_entries_come_back_in_order_with_their_offsets_and_times(log: Log) -> None:
    (shard,) = log.shards("transactions")
    block = block_entry(pl.DataFrame({"n": [1, 2]}))
    offsets = log.append("transactions", [json_entry(b"{}"), block, json_entry(b"[", virtual_ms=17)])
    assert offsets == sorted(set(offsets))
    read = log.read(shard, 0, log.end(shard), 10)
    assert read.offsets.tolist() == offsets
    assert read.kinds == [JSON, BLOCK, JSON]
    assert read.payloads == [b"{}", block.payload, b"["]
    assert read.virtual_ms.tolist() == [-1, -1, 17]
    assert (abs(read.append_ms - time.time() * 1000) < 600_000).all()
    assert read.end == offsets[-1] == log.end(shard)


def test_an_event_from_quarantine_names_its_origin_and_goes_to_the_shard_asked_for(new_log: OpenLog) -> None:
    log = new_log(3)
    origin = Origin("transactions", "3f2a9c81d0e4", 2, 1876500000000000000, 4)
    sent = [json_entry(b"{}"), json_entry(b"[", virtual_ms=17, replay_of=str(origin)), json_entry(b"]")]
    for number in (2, 0):
        log.append("transactions", sent, shard=number)
    shards = log.shards("transactions")
    for number, count in enumerate((3, 0, 3)):
        read = log.read(shards[number], 0, log.end(shards[number]), 10)
        assert len(read) == count
        assert read.replay_of == ({1: str(origin)} if count else {})
        assert read.payloads == [b"{}", b"[", b"]"][:count]
    assert Origin.parse(str(origin)) == origin
    with pytest.raises(LogError, match="below 3"):
        log.append("transactions", sent, shard=3)


@pytest.mark.parametrize(
    "text", ["", "transactions", "transactions/a/0/-1/0", "t/a/0/9999999999999999999/0", "../a/0/1/0"]
)
def test_what_is_no_origin_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(LogError, match="transactions/3f2a9c81d0e4/0/"):
        Origin.parse(text)


def test_a_read_goes_on_after_an_offset_and_stops_at_the_bounds(log: Log) -> None:
    (shard,) = log.shards("transactions")
    offsets = log.append("transactions", entries(10))
    assert log.read(shard, offsets[2], offsets[5], 100).offsets.tolist() == offsets[3:6]
    assert log.read(shard, offsets[2], offsets[9], 2).offsets.tolist() == offsets[3:5]
    nothing = log.read(shard, offsets[9], offsets[9], 5)
    assert len(nothing) == 0
    assert nothing.end == offsets[9]


def test_an_empty_shard_ends_at_zero_and_reads_as_nothing(log: Log) -> None:
    (shard,) = log.shards("transactions")
    assert log.end(shard) == 0
    assert log.oldest(shard) == 0
    assert len(log.read(shard, 0, 0, 5)) == 0


def test_equal_keys_share_a_shard_and_every_shard_is_used(new_log: OpenLog) -> None:
    log = new_log(4)
    keys = [f"account-{number % 50}" for number in range(200)]
    log.append("transactions", [json_entry(key.encode()) for key in keys], keys)
    homes: dict[bytes, set[int]] = {}
    for shard in log.shards("transactions"):
        for payload in log.read(shard, 0, log.end(shard), 1000).payloads:
            homes.setdefault(payload, set()).add(shard.number)
    assert all(len(numbers) == 1 for numbers in homes.values())
    assert set().union(*homes.values()) == {0, 1, 2, 3}


@pytest.mark.real_broker("deletion")
def test_trimming_keeps_the_entry_and_waits_for_the_slowest_reader(log: Log) -> None:
    (shard,) = log.shards("transactions")
    offsets = log.append("transactions", entries(10))
    log.advance_reader(shard, "stream_scorer", offsets[3])
    assert log.trim(shard, offsets[7]) == 3
    assert log.oldest(shard) == offsets[3]
    log.advance_reader(shard, "stream_scorer", offsets[9])
    log.advance_reader(shard, "stream_scorer", offsets[1])  # a stalled twin never moves a reader back
    assert log.readers(shard) == {"stream_scorer": offsets[9]}
    log.trim(shard, offsets[7])
    assert log.oldest(shard) == offsets[7]
    assert log.depth(shard) == 3
    log.forget_reader(shard, "stream_scorer")
    log.trim(shard, offsets[9])
    assert log.oldest(shard) == offsets[9]
    assert log.end(shard) == offsets[9]


@pytest.mark.real_broker("deletion")
def test_a_reader_that_stands_at_the_beginning_holds_everything(log: Log) -> None:
    (shard,) = log.shards("transactions")
    offsets = log.append("transactions", entries(3))
    log.advance_reader(shard, "rebuild", 0)
    assert log.trim(shard, offsets[2]) == 0


@pytest.mark.real_broker("deletion")
def test_a_gap_after_the_start_is_refused_with_its_range(log: Log) -> None:
    (shard,) = log.shards("transactions")
    offsets = log.append("transactions", entries(10))
    log.trim(shard, offsets[6])
    named = (
        (to_id(offsets[2]), to_id(offsets[6])) if isinstance(log, RedisLog) else (offsets[2], offsets[6] - 2)
    )
    with pytest.raises(LostRange, match=".*".join(map(str, named))):
        log.read(shard, offsets[2], offsets[9], 100)
    with pytest.raises(LostRange, match="removed"):
        log.read(shard, 0, offsets[9], 100)
    assert len(log.read(shard, offsets[6], offsets[9], 100)) == 3


@pytest.mark.real_broker("deletion")
def test_a_reader_gets_every_entry_once_or_an_error(new_log: OpenLog) -> None:
    """Also an entry that was removed after it had been fetched: an error, or the entry, but never the one after it."""
    for seed in range(12):
        random = Random(seed)
        stream = random.choice(["transactions", "labels"])
        log = new_log()
        (shard,) = log.shards(stream)
        appended: list[int] = []
        seen: list[int] = []
        gone = 0
        for _ in range(random.randrange(25)):
            step, number = random.choice(["append", "trim", "read"]), random.randrange(1, 8)
            if step == "append":
                appended += log.append(stream, entries(number))
            elif step == "trim" and appended:
                upto = appended[min(5 * number, len(appended) - 1)]
                log.trim(shard, upto)
                gone = max(gone, upto)
            elif step == "read":
                after = seen[-1] if seen else 0
                lost = gone > after if after else gone > (appended[0] if appended else 0)
                try:
                    seen += log.read(shard, after, log.end(shard), number).offsets.tolist()
                except LostRange:
                    assert lost
                    break
                assert seen == appended[: len(seen)]
                assert not (lost and isinstance(log, RedisLog))


@pytest.mark.real_broker("positions of readers")
def test_events_are_counted_not_entries(log: Log) -> None:
    (shard,) = log.shards("transactions")
    assert log.tally(shard).appended == 0
    offsets = log.append("transactions", [*entries(3), block_entry(pl.DataFrame({"n": range(1000)}))])
    log.advance_reader(shard, "ingest", offsets[1], since=0, events=2)
    tally = log.tally(shard)
    assert tally.appended - tally.passed["ingest"] == tally.behind("ingest") == 1001
    log.advance_reader(shard, "ingest", offsets[2], since=offsets[1], events=1)
    assert log.tally(shard).behind("ingest") == 1000
    log.advance_reader(shard, "ingest", offsets[3], since=offsets[2], events=1000)
    assert log.tally(shard).behind("ingest") == 0
    later = log.append("transactions", [block_entry(pl.DataFrame({"n": range(7)})), *entries(2)])
    assert log.tally(shard).behind("ingest") == 9
    log.advance_reader(shard, "ingest", later[0], since=offsets[3], events=7)
    assert log.tally(shard).behind("ingest") == 2


@pytest.mark.real_broker("positions of readers")
def test_a_reader_that_registers_in_the_middle_is_counted_exactly(log: Log) -> None:
    (shard,) = log.shards("transactions")
    blocks = [block_entry(pl.DataFrame({"n": range(size)})) for size in (5, 50, 500)]
    offsets = log.append("transactions", [*entries(2), *blocks])
    log.advance_reader(shard, "ingest", offsets[-1])
    log.advance_reader(shard, "scorer", offsets[2])
    assert log.trim(shard, offsets[-1]) == 2
    tally = log.tally(shard)
    assert (tally.behind("ingest"), tally.behind("scorer")) == (0, 550)
    log.advance_reader(shard, "scorer", offsets[3], since=offsets[2], events=50)
    assert log.tally(shard).behind("scorer") == 500


@pytest.mark.real_broker("positions of readers")
def test_two_readings_of_one_range_count_once(log: Log) -> None:
    (shard,) = log.shards("transactions")
    offsets = log.append("transactions", entries(10))
    log.advance_reader(shard, "ingest", offsets[3], since=0, events=4)
    log.advance_reader(shard, "ingest", offsets[3], since=0, events=4)
    log.advance_reader(shard, "ingest", offsets[5], since=0, events=6)
    assert log.tally(shard).behind("ingest") == 4


@pytest.mark.real_broker("positions of readers")
def test_a_log_without_counters_counts_each_entry_once(log: Log) -> None:
    (shard,) = log.shards("transactions")
    blocks = [block_entry(pl.DataFrame({"n": range(size)})) for size in (5, 50, 500)]
    offsets = log.append("transactions", [*entries(600), *blocks])
    log.advance_reader(shard, "ingest", offsets[400])
    counted = TallyByReading()
    assert counted.tally(log, shard).behind("ingest") == 199 + 555
    log.advance_reader(shard, "ingest", offsets[601])
    log.trim(shard, offsets[601])
    assert counted.tally(log, shard).behind("ingest") == 500
    log.append("transactions", entries(1))
    assert counted.tally(log, shard).behind("ingest") == 501
    last = log.append("transactions", entries(5))
    log.advance_reader(shard, "ingest", last[2])
    log.trim(shard, last[2])
    assert counted.tally(log, shard).behind("ingest") == 2
