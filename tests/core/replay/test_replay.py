"""A replayed file is on the log as it happened: every row once, in order, labels when they were reported."""

import json
import os
import signal
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

from fraud_core.cli import app
from fraud_core.contracts import Contract, Contracts, judge, load_contracts, parse_block
from fraud_core.errors import DataFileError
from fraud_core.log import Log, open_log
from fraud_core.log.manifest import Manifest
from fraud_core.log.redis_streams import RedisLog
from fraud_core.replay import Pace, Replay, load_mapping, open_source
from fraud_core.replay.source import Source
from fraud_core.settings import Settings

HANDBOOK = Path(__file__).parents[3] / "examples" / "handbook"
START = datetime(2018, 4, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def contracts() -> Contracts:
    return load_contracts(HANDBOOK)


def payments(count: int = 5_000) -> pl.DataFrame:
    """Rows as the handbook has them: one every four minutes, the same time now and then, each 50th a fraud."""
    return pl.DataFrame(
        {
            "transaction_id": range(count),
            "tx_datetime": [START + timedelta(minutes=4 * (row // 2 * 2)) for row in range(count)],
            "customer_id": [row % 97 for row in range(count)],
            "terminal_id": [row % 31 for row in range(count)],
            "amount": [round(0.01 * (row * 37 % 30_000) + 1.005, 2) for row in range(count)],
            "is_fraud": [int(row % 50 == 7) for row in range(count)],
        }
    )


def write(frame: pl.DataFrame, path: Path) -> Path:
    if path.suffix == ".parquet":
        frame.write_parquet(path, row_group_size=1_000)
    elif path.suffix == ".csv":
        frame.write_csv(path, datetime_format="%Y-%m-%d %H:%M:%S")
    else:
        texts = frame.with_columns(pl.col("tx_datetime").dt.strftime("%Y-%m-%dT%H:%M:%SZ"))
        texts.write_ndjson(path)
    return path


def replay(
    settings: Settings, contracts: Contracts, path: Path, pace: Pace | None = None, **options: object
) -> Replay:
    log = open_log(settings)
    frame = open_source(path)
    mapping = load_mapping(contracts, list(frame.collect_schema()))
    job = Replay(log, contracts, mapping, pace=pace or Pace(), **options)  # type: ignore[arg-type]  # given by name
    job.run(Source(frame, contracts, mapping))
    log.close()
    return job


def on_the_log(settings: Settings, contract: Contract, stream: str) -> pl.DataFrame:
    log: Log = open_log(settings)
    parts = []
    for shard in log.shards(stream):
        for payload in log.read(shard, 0, log.end(shard), 100_000).payloads:
            parsed = parse_block(contract, payload)
            assert parsed.virtual_ms is not None
            assert judge(contract, parsed.frame, parsed.virtual_ms, parsed.found).counts == {}
            parts.append(parsed.frame.with_columns(parsed.virtual_ms.alias("known_ms")))
    log.close()
    return pl.concat(parts)


@pytest.mark.parametrize("ending", [".parquet", ".csv", ".ndjson"])
@pytest.mark.parametrize("shuffled", [False, True])
def test_every_row_is_on_the_log_once_in_order_of_time(
    settings: Settings, contracts: Contracts, tmp_path: Path, ending: str, shuffled: bool
) -> None:
    frame = payments()
    given = frame.sample(fraction=1.0, shuffle=True, seed=1) if shuffled else frame
    replay(settings, contracts, write(given, tmp_path / f"payments{ending}"))
    rows = on_the_log(settings, contracts.transactions, "transactions")
    assert rows["event_ts"].is_sorted()
    assert (rows["known_ms"] == rows["event_ts"].dt.epoch("ms")).all()
    back = rows.sort(pl.col("transaction_id").cast(pl.Int64))
    assert back["transaction_id"].to_list() == [str(row) for row in frame["transaction_id"]]
    assert back["customer_id"].to_list() == [str(row) for row in frame["customer_id"]]
    assert back["amount_minor"].to_list() == (frame["amount"] * 100).round(0).cast(pl.Int64).to_list()
    assert back["event_ts"].to_list() == frame["tx_datetime"].to_list()


def test_each_fraud_has_a_label_at_the_time_of_its_report(
    settings: Settings, contracts: Contracts, tmp_path: Path
) -> None:
    job = replay(settings, contracts, write(payments(), tmp_path / "payments.parquet"))
    labels = on_the_log(settings, contracts.labels, "labels")
    frauds = payments().filter(pl.col("is_fraud") == 1)
    assert sorted(labels["transaction_id"]) == sorted(str(row) for row in frauds["transaction_id"])
    assert labels["is_fraud"].all()
    assert (labels["reported_at"] - labels["event_ts"] == timedelta(days=7)).all()
    assert (labels["known_ms"] == labels["reported_at"].dt.epoch("ms")).all()
    assert labels["known_ms"].is_sorted()
    assert job.manifest.streams["labels"].events == frauds.height


def test_a_second_replay_sends_the_same_bytes(
    settings: Settings, contracts: Contracts, tmp_path: Path
) -> None:
    path = write(payments(), tmp_path / "payments.parquet")
    first, second = replay(settings, contracts, path), replay(settings, contracts, path)
    assert first.manifest == second.manifest
    rows = on_the_log(settings, contracts.transactions, "transactions")
    assert rows.height == 10_000
    assert rows.unique().height == 5_000


class Clock:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("pace", "seconds"), [(Pace(rate=1_000), 5.0), (Pace(speedup=86_400), 4 * 4_998 / 60 / 24), (Pace(), 0.0)]
)
def test_a_replay_keeps_its_pace(
    settings: Settings, contracts: Contracts, tmp_path: Path, pace: Pace, seconds: float
) -> None:
    clock = Clock()
    path = write(payments(), tmp_path / "payments.parquet")
    job = replay(settings, contracts, path, pace, sleep=clock.sleep, clock=clock)
    assert job.counts.transactions == 5_000
    assert clock.now - 100.0 == pytest.approx(seconds, abs=0.21)


def test_all_events_of_an_entity_lie_in_one_shard(
    settings: Settings, contracts: Contracts, tmp_path: Path
) -> None:
    settings = settings.model_copy(update={"shards": 3})
    replay(settings, contracts, write(payments(), tmp_path / "payments.parquet"))
    log = open_log(settings)
    shards_of: dict[str, set[int]] = {}
    for shard in log.shards("transactions"):
        for payload in log.read(shard, 0, log.end(shard), 100_000).payloads:
            for customer in parse_block(contracts.transactions, payload).frame["customer_id"].unique():
                shards_of.setdefault(customer, set()).add(shard.number)
    log.close()
    assert len(shards_of) == 97
    assert {len(shards) for shards in shards_of.values()} == {1}
    assert len(set.union(*shards_of.values())) == 3


def _empty(path: Path) -> None:
    path.write_text("")


def _only_a_header(path: Path) -> None:
    path.write_text("transaction_id,tx_datetime,customer_id,terminal_id,amount\n")


def _bad_time(path: Path) -> None:
    write(payments(40), path)
    lines = path.read_text().splitlines()
    lines[17] = lines[17].replace("2018-04-01", "2018-13-01")
    path.write_text("\n".join(lines) + "\n")


def _bad_amount(path: Path) -> None:
    write(payments(40), path)
    lines = path.read_text().splitlines()
    lines[23] = lines[23].rsplit(",", 2)[0] + ",plenty,0"
    path.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize(
    ("spoil", "name", "message"),
    [
        (_empty, "a.csv", "is empty"),
        (_only_a_header, "a.csv", "holds no rows"),
        (_bad_time, "a.csv", r"Row 17: the column 'tx_datetime'.*a time.*2018-13-01"),
        (_bad_amount, "a.csv", r"Row 23: the column 'amount'.*a whole number.*'plenty'"),
        (lambda path: path.write_bytes(b"PAR1 not at all"), "a.parquet", "cannot be read as parquet"),
        (lambda path: path.write_text("{}"), "a.xlsx", "expected to be a .parquet, .csv"),
        (lambda path: None, "a.csv", "does not exist"),
    ],
)
def test_a_bad_file_is_explained(
    settings: Settings,
    contracts: Contracts,
    tmp_path: Path,
    *,
    spoil: Callable[[Path], object],
    name: str,
    message: str,
) -> None:
    spoil(tmp_path / name)
    with pytest.raises(DataFileError, match=message):
        replay(settings, contracts, tmp_path / name)


def test_the_command_reports_what_it_sent(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPEARHEAD_REDIS_URL", settings.redis_url)
    monkeypatch.setenv("SPEARHEAD_HOME", str(tmp_path / "home"))
    path = write(payments(), tmp_path / "payments.parquet")
    result = CliRunner().invoke(app, ["replay", str(path), "--contracts", str(HANDBOOK), "--json"])
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout.strip().splitlines()[-1])
    assert (summary["rows"], summary["transactions"], summary["labels"]) == (5_000, 5_000, 100)
    assert Manifest.load(Path(summary["manifest"])).streams["transactions"].events == 5_000


def test_a_signal_ends_a_replay_after_what_is_in_hand_and_the_next_one_goes_through(
    settings: Settings, contracts: Contracts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPEARHEAD_REDIS_URL", settings.redis_url)
    monkeypatch.setenv("SPEARHEAD_HOME", str(tmp_path / "home"))
    path = write(payments(), tmp_path / "payments.parquet")
    append = RedisLog.append

    def interrupted(self: RedisLog, *arguments: Any, **options: Any) -> list[int]:
        offsets = append(self, *arguments, **options)
        os.kill(os.getpid(), signal.SIGTERM)
        return offsets

    command = ["replay", str(path), "--contracts", str(HANDBOOK), "--json"]
    with monkeypatch.context() as patch:
        patch.setattr(RedisLog, "append", interrupted)
        # Some days pass before the second part is due: the signal ends the waiting, too.
        result = CliRunner().invoke(app, [*command, "--rate", "0.0001"])
    assert result.exit_code == 130, result.output
    summary = json.loads(result.stdout.strip().splitlines()[-1])
    assert not summary["complete"]
    sent = Manifest.load(Path(summary["manifest"])).streams["transactions"].events
    assert (
        sent == summary["transactions"] == on_the_log(settings, contracts.transactions, "transactions").height
    )
    assert 0 < sent < 5_000
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout.strip().splitlines()[-1])["complete"]


def test_the_command_explains_a_bad_file(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPEARHEAD_REDIS_URL", settings.redis_url)
    result = CliRunner().invoke(app, ["replay", str(tmp_path / "none.csv"), "--contracts", str(HANDBOOK)])
    assert result.exit_code == 1
    assert "does not exist" in result.output


@pytest.mark.parametrize(
    "pace", [Pace(), Pace(rate=1e6), Pace(speedup=1e9)], ids=["fastest", "rate", "speedup"]
)
@pytest.mark.parametrize("ending", [".parquet", ".csv", ".ndjson"])
def test_an_event_without_a_time_is_sent_for_ingestion_to_refuse_and_its_row_is_named(
    settings: Settings, contracts: Contracts, tmp_path: Path, ending: str, pace: Pace
) -> None:
    timeless = [0, 7, 39]  # 7 is a fraud
    frame = payments(40).with_row_index("row")
    time = pl.when(~pl.col("row").is_in(timeless)).then(pl.col("tx_datetime"))
    path = write(frame.with_columns(time.alias("tx_datetime")).drop("row"), tmp_path / f"payments{ending}")
    log = open_log(settings)
    source_frame = open_source(path)
    mapping = load_mapping(contracts, list(source_frame.collect_schema()))
    source = Source(source_frame, contracts, mapping)
    job = Replay(log, contracts, mapping, pace=pace)
    job.run(source)
    assert source.timeless == [row + 1 for row in timeless]
    assert (job.counts.transactions, job.counts.labels) == (40, 1)
    refused = []
    for shard in log.shards("transactions"):
        for payload in log.read(shard, 0, log.end(shard), 100_000).payloads:
            parsed = parse_block(contracts.transactions, payload)
            assert parsed.virtual_ms is not None
            assert parsed.virtual_ms.is_sorted()
            verdict = judge(contracts.transactions, parsed.frame, parsed.virtual_ms, parsed.found)
            assert set(verdict.counts) <= {"event_ts.required"}
            refused += parsed.frame.filter(pl.col("event_ts").is_null())["transaction_id"].to_list()
    log.close()
    assert sorted(map(int, refused)) == timeless


def test_a_file_without_any_time_is_sent_too(
    settings: Settings, contracts: Contracts, tmp_path: Path
) -> None:
    frame = payments(3).with_columns(pl.lit(None, pl.String).alias("tx_datetime"))
    frame.write_csv(tmp_path / "a.csv")
    assert replay(settings, contracts, tmp_path / "a.csv").counts.transactions == 3


def test_the_command_refuses_a_manifest_it_cannot_write_before_it_sends(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPEARHEAD_REDIS_URL", settings.redis_url)
    path = write(payments(10), tmp_path / "payments.csv")
    arguments = ["replay", str(path), "--contracts", str(HANDBOOK), "--manifest", str(path / "below.json")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1
    assert "cannot be written" in result.output
    log = open_log(settings)
    assert [log.end(shard) for shard in log.shards("transactions")] == [0]
    log.close()
