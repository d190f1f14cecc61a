"""What only Kafka can get wrong, on a real broker: transactions, retention, topics made again, restarts, times, sizes."""

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from typer.testing import CliRunner

from fraud_core.cli import app
from fraud_core.errors import LogError, LogUnavailable, LostRange, SettingsError
from fraud_core.log import UNKNOWN, Entry, Log, Shard, json_entry, open_log
from fraud_core.log.kafka import KafkaLog
from fraud_core.log.kafka_broker import KafkaBroker
from fraud_core.log.kafka_checks import check_kafka
from fraud_core.log.kafka_connection import connect
from fraud_core.settings import Settings, load_settings
from tests import kafka

pytestmark = pytest.mark.kafka
STREAM = "transactions"


@pytest.fixture
def log(kafka_settings: Settings) -> Iterator[Log]:
    opened = open_log(kafka_settings)
    yield opened
    opened.close()


def entries(count: int, start: int = 0) -> list[Entry]:
    return [json_entry(b'{"n":%d}' % number) for number in range(start, start + count)]


def topic(settings: Settings) -> str:
    return f"{settings.namespace}.{STREAM}"


def everything(log: Log, shard: Shard, after: int = 0, limit: int = 1000) -> tuple[list[bytes], int]:
    """All payloads after an offset, and where reading ended."""
    payloads: list[bytes] = []
    end = log.end(shard)
    while after < end:
        read = log.read(shard, after, end, limit)
        assert read.end > after
        payloads += read.payloads
        after = read.end
    return payloads, after


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.05)


@pytest.fixture
def transactional(kafka_settings: Settings) -> Producer:
    """A producer of somebody else, who uses transactions."""
    producer = Producer(
        {
            "bootstrap.servers": kafka_settings.kafka_servers,
            "transactional.id": kafka_settings.namespace,
            "log_level": 2,
        }
    )
    producer.init_transactions()
    return producer


def send(producer: Producer, settings: Settings, *payloads: bytes) -> None:
    for payload in payloads:
        producer.produce(topic(settings), payload, partition=0)
    producer.flush()


@pytest.mark.parametrize("limit", [1, 3, 1000])
def test_what_an_aborted_transaction_left_is_passed_over_and_stalls_nobody(
    kafka_settings: Settings, log: Log, transactional: Producer, limit: int
) -> None:
    (shard,) = log.shards(STREAM)
    log.append(STREAM, entries(2))
    for number in range(3):
        transactional.begin_transaction()
        send(transactional, kafka_settings, b"kept-%d" % number)
        transactional.commit_transaction()
        transactional.begin_transaction()
        send(transactional, kafka_settings, b"aborted", b"aborted")
        transactional.abort_transaction()
    until(lambda: log.end(shard) == 2 + 3 * 5, "the last marker")
    assert everything(log, shard, limit=limit) == (
        [b'{"n":0}', b'{"n":1}', b"kept-0", b"kept-1", b"kept-2"],
        17,
    )
    gap = log.read(shard, 14, 17, 10)  # nothing but the aborted ones and markers
    assert (len(gap), gap.end) == (0, 17)
    [last] = log.append(STREAM, entries(1, 9))
    read = log.read(shard, 14, last, limit)
    assert read.payloads == [b'{"n":9}']
    assert read.end == last


def test_what_is_not_committed_is_not_there_yet(
    kafka_settings: Settings, log: Log, transactional: Producer
) -> None:
    (shard,) = log.shards(STREAM)
    log.append(STREAM, entries(1))
    transactional.begin_transaction()
    send(transactional, kafka_settings, b"open")
    log.append(STREAM, entries(1, 1))  # waits behind the open transaction, or order would be lost
    assert log.end(shard) == 1
    assert everything(log, shard)[0] == [b'{"n":0}']
    transactional.commit_transaction()
    until(lambda: log.end(shard) == 4, "the commit")
    assert everything(log, shard, after=1) == ([b"open", b'{"n":1}'], 4)


def test_a_range_that_ends_within_a_gap_ends_there_though_more_follows(
    kafka_settings: Settings, log: Log, transactional: Producer
) -> None:
    (shard,) = log.shards(STREAM)
    log.append(STREAM, entries(1))
    transactional.begin_transaction()
    send(transactional, kafka_settings, b"aborted", b"aborted")
    transactional.abort_transaction()
    until(lambda: log.end(shard) == 4, "the marker, which the broker writes after it has answered")
    offsets = log.append(STREAM, entries(3, 1))
    assert offsets == [5, 6, 7]
    read = log.read(shard, 0, 3, 10)
    assert (read.payloads, read.end) == ([b'{"n":0}'], 3)
    read = log.read(shard, 3, 6, 10)
    assert (read.offsets.tolist(), read.end) == ([5, 6], 6)
    assert log.read(shard, 6, 7, 10).offsets.tolist() == [7]


def test_retention_that_overtook_the_reader_is_told_with_the_range(
    kafka_session: KafkaBroker, tmp_path: Path
) -> None:
    settings = kafka.kafka_settings(
        kafka_session.servers, tmp_path, topic_settings={"segment.bytes": "1048576", "retention.bytes": "1"}
    )
    log = open_log(settings)
    (shard,) = log.shards(STREAM)
    payload = os.urandom(200_000)
    log.append(STREAM, entries(3))
    assert len(log.read(shard, 0, 2, 10)) == 2
    log.append(STREAM, [Entry("json", payload) for _ in range(40)])
    held = f"{topic(settings)}-0/*.log"
    until(
        lambda: log.depth(shard) <= 6 and len(list(kafka_session.folder.rglob(held))) == 1,
        "retention to leave only the last segment, which may hold a single entry",
    )
    reader = open_log(settings)
    oldest, end = reader.oldest(shard), reader.end(shard)
    with pytest.raises(
        LostRange, match=rf"begins at {oldest - 1}: Kafka's offsets 2 to {oldest - 2} were removed"
    ):
        reader.read(shard, 2, end, 10)
    with pytest.raises(LostRange, match="retention"):
        reader.read(shard, 0, end, 10)
    assert len(reader.read(shard, oldest, end, 10)) == end - oldest
    log.close()
    reader.close()


def test_a_topic_made_again_is_another_life(kafka_settings: Settings, log: Log) -> None:
    (before,) = log.shards(STREAM)
    log.append(STREAM, entries(5))
    log.advance_reader(before, "ingest", 4)
    assert len(log.read(before, 0, 3, 10)) == 3
    admin = AdminClient({"bootstrap.servers": kafka_settings.kafka_servers})
    admin.delete_topics([topic(kafka_settings)])[topic(kafka_settings)].result()
    until(lambda: topic(kafka_settings) not in admin.list_topics(timeout=60).topics, "the topic to go")
    kafka.make_topics(kafka_settings)
    anew = open_log(kafka_settings)
    (after,) = anew.shards(STREAM)
    assert after.incarnation != before.incarnation
    assert Shard.of(after.app_id) == after
    assert anew.readers(after) == {}  # what a reader had finished of the former life counts for nothing
    assert anew.append(STREAM, entries(9, 100)) == list(range(1, 10))
    with pytest.raises(LostRange, match="created again"):
        log.read(before, 3, 9, 10)
    with pytest.raises(LostRange, match="created again"):
        anew.read(before, 3, 9, 10)
    assert len(anew.read(after, 3, 9, 10)) == 6
    anew.close()


@pytest.mark.slow
def test_a_broker_that_was_killed_loses_nothing_that_was_confirmed(
    kafka_session: KafkaBroker, kafka_settings: Settings, log: Log
) -> None:
    (shard,) = log.shards(STREAM)
    offsets = log.append(STREAM, entries(50))
    assert len(log.read(shard, 0, offsets[9], 100)) == 10
    impatient(log, 5.0)
    kafka_session.kill()
    try:
        until(lambda: not answers(log, shard), "the loss to be noticed")
        with pytest.raises(LogUnavailable, match="may be sent again"):
            log.append(STREAM, entries(1))
        with pytest.raises(LogUnavailable, match="expected to answer"):
            open_log(kafka_settings)
    finally:
        kafka_session.start_again()
    patient = impatient(log, 30.0)
    until(lambda: answers(patient, shard), "the broker to answer again")
    assert patient.end(shard) >= offsets[49]
    assert patient.read(shard, offsets[9], offsets[49], 100).offsets.tolist() == offsets[10:]
    assert patient.append(STREAM, entries(1))[0] > offsets[49]


def answers(log: Log, shard: Shard) -> bool:
    try:
        log.end(shard)
    except LogUnavailable:
        return False
    return True


def impatient(log: Log, timeout_s: float) -> Log:
    log._connection.timeout_s = timeout_s  # type: ignore[attr-defined]
    return log


def test_a_topic_whose_times_are_the_producers_is_refused_with_the_command_that_mends_it(
    kafka_session: KafkaBroker, tmp_path: Path
) -> None:
    settings = kafka.kafka_settings(
        kafka_session.servers, tmp_path, topic_settings={"message.timestamp.type": "CreateTime"}
    )
    with pytest.raises(
        LogError, match=r"kafka-configs\.sh .*--add-config message.timestamp.type=LogAppendTime"
    ):
        open_log(settings)


def test_an_entry_from_before_the_topic_was_set_right_stops_the_reader(
    kafka_session: KafkaBroker, tmp_path: Path
) -> None:
    settings = kafka.kafka_settings(
        kafka_session.servers, tmp_path, topic_settings={"message.timestamp.type": "CreateTime"}
    )
    producer = Producer({"bootstrap.servers": settings.kafka_servers})
    send(producer, settings, b"{}")
    kafka.alter_topics(settings, {"message.timestamp.type": "LogAppendTime"})
    log = open_log(settings)
    (shard,) = log.shards(STREAM)
    with pytest.raises(LogError, match="its producer's time"):
        log.read(shard, 0, 1, 10)
    log.close()


def test_any_producers_plain_message_is_one_event_and_headers_of_others_are_no_matter(
    kafka_settings: Settings, log: Log
) -> None:
    producer = Producer({"bootstrap.servers": kafka_settings.kafka_servers})
    name = topic(kafka_settings)
    producer.produce(
        name, b"{}", partition=0, headers={"traceparent": b"00-1-2-01", "spearhead-virtual-ms": b"17"}
    )
    producer.produce(name, None, key=b"a tombstone", partition=0)
    producer.flush()
    (shard,) = log.shards(STREAM)
    read = log.read(shard, 0, 2, 10)
    assert read.payloads == [b"{}", b""]
    assert read.virtual_ms.tolist() == [17, -1]
    producer.produce(name, b"{}", partition=0, headers={"spearhead-framing": b"j9"})
    producer.flush()
    unknown = log.read(shard, 2, 3, 10)
    assert unknown.kinds == [UNKNOWN]
    assert b'"j9"' in unknown.payloads[0]


def test_whoever_gives_up_waiting_for_an_append_stops_no_other(log: KafkaLog) -> None:
    first = log.append(STREAM, entries(1))[0]
    asyncio.run(given_up(log))
    assert log.append_soon(STREAM, entries(1)).result(timeout=60) == [first + 2]


def test_a_producer_that_can_do_no_more_is_let_go_when_all_it_was_given_is_answered(log: KafkaLog) -> None:
    first = log.append(STREAM, entries(1))[0]
    waiting = log.append_soon(STREAM, entries(50))
    broken = log._open_appender()
    broken.broken = True  # as a fatal error leaves it
    assert log.append(STREAM, entries(1))[0] > first
    assert len(waiting.result(timeout=60)) == 50
    until(lambda: not broken._listener.is_alive(), "the end of the thread that hears its confirmations")


async def given_up(log: KafkaLog) -> None:
    """Append, and be cancelled before the broker has confirmed it."""
    asyncio.wrap_future(log.append_soon(STREAM, entries(1))).cancel()
    await asyncio.sleep(0)  # a cancelled future tells its origin in the loop's next round


def test_an_entry_that_is_too_large_says_what_to_raise(kafka_settings: Settings, log: Log) -> None:
    with pytest.raises(LogError, match=r"2,000,000 bytes.*SPEARHEAD_KAFKA_MAX_MESSAGE_BYTES"):
        log.append(STREAM, [json_entry(b"x" * 2_000_000)])
    wide = open_log(kafka_settings.changed(kafka_max_message_bytes=5_000_000))
    with pytest.raises(LogError, match=r"max\.message\.bytes"):
        wide.append(STREAM, [json_entry(os.urandom(2_000_000))])
    wide.close()
    (shard,) = log.shards(STREAM)
    log.append(STREAM, entries(1))
    assert everything(log, shard)[0] == [b'{"n":0}']


def test_a_missing_topic_is_named_with_the_command_that_makes_it(kafka_settings: Settings, log: Log) -> None:
    with pytest.raises(LogError, match=r"kafka-topics\.sh .*--create --topic .*\.nothing "):
        log.shards("nothing")


@pytest.mark.slow
def test_a_log_by_tls_and_sasl_is_the_same_log(
    kafka_session: KafkaBroker, kafka_settings: Settings, log: Log
) -> None:
    offsets = log.append(STREAM, entries(3))
    settings = kafka.secured(kafka_session, kafka_settings)
    until(lambda: opens(settings), "the user to be known")
    secure = open_log(settings)
    (shard,) = secure.shards(STREAM)
    assert secure.read(shard, 0, offsets[2], 10).offsets.tolist() == offsets
    assert secure.append(STREAM, entries(1)) == [4]
    secure.close()
    for wrong in (settings.changed(kafka_password=kafka.PASSWORD[1:]), settings.changed(kafka_ca="")):
        with pytest.raises(LogUnavailable, match="SPEARHEAD_KAFKA_") as caught:
            open_log(wrong)
        assert kafka.PASSWORD[1:] not in str(caught.value)


def opens(settings: Settings) -> bool:
    try:
        open_log(settings).close()
    except LogUnavailable:
        return False
    return True


def test_topics_made_by_command_pass_every_check(
    kafka_session: KafkaBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load_settings(
        _env_file=None,
        home=tmp_path,
        log="kafka",
        kafka_servers=kafka_session.servers,
        namespace=f"c{os.getpid()}",
    )
    (missing,) = check_kafka(settings)
    assert not missing.ok
    assert "spearhead log create" in missing.found
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)
    for said in ("created: ", "All topics were there already."):
        result = CliRunner().invoke(app, ["log", "create", "--partitions", "2", "--replication", "1"])
        assert result.exit_code == 0, result.output
        assert result.output.startswith(said)
    log = open_log(settings)
    assert len(log.shards("decisions")) == 2
    log.close()
    checks = list(check_kafka(settings))
    assert len(checks) == 1 + 3 * 4
    assert {check.name.split()[-1] for check in checks if not check.ok} == {"replicas"}  # there is one broker
    kafka.alter_topics(settings, {"cleanup.policy": "compact", "message.timestamp.type": "CreateTime"})
    wrong = {check.name.split()[-1] for check in check_kafka(settings) if not check.ok}
    assert wrong == {"replicas", "policy", "times"}


def test_positions_are_offsets_of_consumer_groups_that_any_lag_tool_shows(
    kafka_settings: Settings, log: Log
) -> None:
    (shard,) = log.shards(STREAM)
    log.append(STREAM, entries(5))
    log.advance_reader(shard, "ingest", 3)
    admin = AdminClient({"bootstrap.servers": kafka_settings.kafka_servers})
    from confluent_kafka import ConsumerGroupTopicPartitions

    group = f"{kafka_settings.namespace}.ingest"
    answer = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)])[group].result()
    assert [(each.topic, each.partition, each.offset) for each in answer.topic_partitions] == [
        (topic(kafka_settings), 0, 3)
    ]
    twin = open_log(kafka_settings)
    twin.advance_reader(shard, "ingest", 2)
    assert twin.readers(shard) == {"ingest": 3}
    twin.close()


def test_nothing_is_deleted_unless_the_settings_say_so(kafka_settings: Settings, log: Log) -> None:
    (shard,) = log.shards(STREAM)
    offsets = log.append(STREAM, entries(5))
    careful = open_log(kafka_settings.changed(kafka_trim=False))
    careful.advance_reader(shard, "ingest", offsets[4])
    assert careful.trim(shard, offsets[4]) == 0
    assert careful.depth(shard) == 5
    careful.close()


def test_an_unreachable_broker_is_named() -> None:
    settings = load_settings(_env_file=None, log="kafka", kafka_servers="127.0.0.1:1")
    with pytest.raises(LogUnavailable, match=r"127\.0\.0\.1:1.*SPEARHEAD_KAFKA_SERVERS"):
        open_log(settings)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({}, "SPEARHEAD_KAFKA_SERVERS"),
        ({"kafka_servers": "b:9092", "kafka_security_protocol": "SASL_SSL"}, "SPEARHEAD_KAFKA_USERNAME"),
        ({"kafka_servers": "b:9092", "kafka_username": "u", "kafka_password": "p"}, "SASL_SSL"),
        (
            {"kafka_servers": "b:9092", "kafka_security_protocol": "SSL", "kafka_ca": "/no/such.pem"},
            "SPEARHEAD_KAFKA_CA",
        ),
    ],
)
def test_settings_that_contradict_each_other_are_refused(values: dict[str, str], named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        connect(load_settings(_env_file=None, log="kafka", **values))


def test_a_file_under_the_users_own_folder_is_given_to_the_client_in_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "ca.pem").touch()
    values = {"kafka_servers": "b:9092", "kafka_security_protocol": "SSL", "kafka_ca": "~/ca.pem"}
    found = connect(load_settings(_env_file=None, log="kafka", **values))
    assert found.options["ssl.ca.location"] == str(tmp_path / "ca.pem")


def test_java_clients_and_we_put_a_key_into_the_same_partition(
    kafka_session: KafkaBroker, tmp_path: Path
) -> None:
    """Murmur2 of the key, positive, modulo the partitions: checked against values that Java's client gives."""
    settings = kafka.kafka_settings(kafka_session.servers, tmp_path, partitions=12)
    log = open_log(settings)
    keys = ["21", "foobar", "a-little-bit-long-string", "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8"]
    murmur2 = [-973932308, -790332482, -985981536, -58897971]  # of Kafka's own UtilsTest
    log.append(STREAM, [json_entry(key.encode()) for key in keys], keys)
    for shard in log.shards(STREAM):
        for payload in everything(log, shard)[0]:
            number = murmur2[keys.index(payload.decode())]
            assert (number & 0x7FFFFFFF) % 12 == shard.number
    log.close()
