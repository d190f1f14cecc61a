"""Refused events come back once, repaired or after a contract fix, through the log and its gate."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any, Self

import polars as pl
import pytest
import redis
from cryptography.fernet import Fernet

from fraud_assets.ingestion import run_ingest, verify
from fraud_assets.lake import Lake, compact
from fraud_assets.quarantine import AUDIT, Audit, Selection, discard, find, replay, replaying, state_counts
from fraud_assets.quarantine.audit import APPENDED, DISCARDED, IDENTITY, INTENDED, Act, _records
from fraud_assets.quarantine.replaying import REPLAY_FAILPOINTS
from fraud_core.errors import CommitRefused, SettingsError
from fraud_core.log import Log, Manifest, Origin, framing, json_entry
from fraud_core.log.framing import encode_block
from fraud_core.settings import PACKAGED_CONTRACTS, Settings
from tests.assets.quarantine.conftest import Command, MakeEvent, Refuse, Steps, admitted, ids

pytestmark = pytest.mark.valkey
LARGE = {"amount_minor": 15_000_000_000, "amount_base_minor": 15_000_000_000}
UK_TO_GB = "steps:\n  - replace: {field: country, from: UK, to: GB}\n"
EVERYTHING = Selection(("transactions",))
REPLAY = """
import sys
from pathlib import Path
from fraud_assets.lake import open_lake
from fraud_assets.quarantine import Selection, load_mapping, replay
from fraud_core.contracts import load_contracts
from fraud_core.settings import load_settings

settings = load_settings()
mapping = load_mapping(Path(sys.argv[1]), load_contracts(settings.contracts).transactions)
replay(settings, open_lake(settings), Selection(("transactions",)), "ann", mapping=mapping)
"""


def larger_amounts(tmp_path: Path) -> Path:
    """The packaged contracts, but amounts up to twice as large keep it."""
    folder = tmp_path / "contracts"
    shutil.copytree(PACKAGED_CONTRACTS, folder)
    path = folder / "transactions.odcs.yaml"
    text = path.read_text()
    assert "maximum: 10000000000," in text
    path.write_text(
        text.replace("maximum: 10000000000,", "maximum: 20000000000,").replace(
            "version: 1.0.0", "version: 1.1.0"
        )
    )
    return folder


def test_a_mapping_repairs_what_would_pass_and_leaves_the_rest_open(
    settings: Settings, lake: Lake, refuse: Refuse, event: MakeEvent, steps: Steps, tmp_path: Path,
) -> None:  # fmt: skip
    euros = {"amount_minor": None, "amount_base_minor": None, "currency": "EUR"}
    bad = [
        event(1, **euros, amt=12.34, base=12.34, country="UK", debug=True),
        event(2, **euros, amt="7.05", base="7.05"),
        event(3, **euros, amt="many", base=1),
        event(4, country="??"),
        b'{"transaction_id": "tx-',
    ]
    origins = refuse(bad)
    mapping = steps(
        """
steps:
  - rename: {field: amt, to: amount_minor}
  - rename: {field: base, to: amount_base_minor}
  - convert: {field: amount_minor, factor: 100}
  - convert: {field: amount_base_minor, factor: 100}
  - replace: {field: country, from: UK, to: GB}
  - drop: {field: debug}
"""
    )
    # tx-4 has both amounts already and no amt: its amounts are multiplied too, and its country stays wrong.
    tried = replay(settings, lake, EVERYTHING, "ann", mapping=mapping, dry_run=True)
    assert (tried.selected, tried.passing, tried.appended, tried.left_open) == (5, 2, 0, 3)
    assert tried.refused == {"mapping: amount_minor is no number": 1, "country.enum": 1, "row.unparseable": 1}
    assert not lake.exists(AUDIT)
    done = replay(settings, lake, EVERYTHING, "ann", "wrong unit", mapping)
    assert (done.appended, done.left_open) == (2, 3)
    again = replay(settings, lake, EVERYTHING, "ann", "wrong unit", mapping)
    assert (again.selected, again.appended) == (3, 0)
    before = datetime.now(UTC) - timedelta(minutes=1)
    run_ingest(settings, ["transactions"])
    rows = admitted(lake)
    assert rows["amount_minor"].to_list() == [1234, 705]
    assert rows["country"][0] == "GB"
    assert rows["_replay_of"].to_list() == origins[:2]
    assert rows["known_at"].min() > before  # type: ignore[operator]
    assert find(lake, EVERYTHING)["id"].to_list() == origins[2:]
    counts = state_counts(lake, "transactions")
    assert (counts.open, counts.replayed, counts.discarded) == (3, 2, 0)
    manifest = Manifest()
    manifest.add("transactions", [f"tx-{number:08d}" for number in (1, 2, 3, 4)], unreadable=1)
    manifest.save(tmp_path / "manifest.json")
    proof = verify(settings, tmp_path / "manifest.json")
    assert (proof.ok, proof.events, proof.valid, proof.quarantined, proof.replayed) == (True, 7, 2, 5, 2)
    acts = Audit(lake).rows()
    assert acts["outcome"].to_list() == ["intended"] * 2 + ["appended"] * 2
    assert acts["mapping_hash"].unique().to_list() == [mapping.hash]
    assert acts["new_offset"].to_list() == [None, None, *rows["_offset"].to_list()]
    assert (acts["actor"][0], acts["because"][0]) == ("ann", "wrong unit")


def test_after_a_contract_fix_events_come_back_as_they_came(
    settings: Settings, lake: Lake, refuse: Refuse, event: MakeEvent, tmp_path: Path
) -> None:
    [origin] = refuse([event(1, **LARGE)])
    fixed = settings.changed(contracts=larger_amounts(tmp_path))
    assert replay(settings, lake, EVERYTHING, "ann").appended == 0
    assert replay(fixed, lake, EVERYTHING, "ann").appended == 1
    run_ingest(fixed, ["transactions"])
    assert admitted(lake).select("amount_minor", "_replay_of").rows() == [(15_000_000_000, origin)]


def test_an_event_of_history_keeps_its_time_and_any_other_is_known_from_its_return(
    settings: Settings,
    lake: Lake,
    refuse: Refuse,
    event: MakeEvent,
    steps: Steps,
) -> None:
    then = datetime.now(UTC) - timedelta(days=30)
    virtual_ms = int(then.timestamp() * 1000)
    refuse(
        [event(1, country="UK", event_ts=f"{then - timedelta(seconds=9):%Y-%m-%dT%H:%M:%S.000Z}")], virtual_ms
    )
    refuse([event(2, country="UK")])
    began_ms = int(time.time() * 1000)
    mapping = steps(UK_TO_GB)
    done = replay(settings, lake, EVERYTHING, "ann", mapping=mapping)
    assert (done.appended, done.kept_time) == (2, 1)
    run_ingest(settings, ["transactions"])
    known = dict(admitted(lake).select("transaction_id", "known_at").rows())
    assert known["tx-00000001"].timestamp() * 1000 == virtual_ms
    assert known["tx-00000002"].timestamp() * 1000 >= began_ms


def test_what_was_sent_again_meanwhile_does_not_come_back_too(
    settings: Settings, lake: Lake, log: Log, refuse: Refuse, event: MakeEvent,
    steps: Steps,
) -> None:  # fmt: skip
    refuse([event(1, country="UK"), event(2, country="UK")])
    log.append("transactions", [json_entry(event(1, country="GB")), json_entry(event(2, country="FR"))])
    run_ingest(settings, ["transactions"])
    mapping = steps(UK_TO_GB)
    done = replay(settings, lake, EVERYTHING, "ann", mapping=mapping)
    assert (done.appended, dict(done.refused)) == (
        0,
        {"in_the_table": 1, "transaction_id.duplicate_other_body": 1},
    )


def test_what_another_replay_brought_back_meanwhile_is_not_called_the_producers_doing(
    settings: Settings, lake: Lake, refuse: Refuse, event: MakeEvent, steps: Steps, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    refuse([event(1, country="UK")])
    arrived, raced = replaying._Replay._arrived, list[bool]()

    def overtaken(work: Any, stream: str, rows: pl.DataFrame) -> pl.DataFrame:
        before = arrived(work, stream, rows)
        if not raced:
            raced.append(True)
            assert replay(settings, lake, EVERYTHING, "bob", mapping=steps(UK_TO_GB)).appended == 1
            run_ingest(settings)
        return before

    monkeypatch.setattr(replaying._Replay, "_arrived", overtaken)
    result = replay(settings, lake, EVERYTHING, "ann", mapping=steps(UK_TO_GB))
    assert (result.selected, result.appended, result.refused) == (0, 0, {})
    assert find(lake, Selection(("transactions",), state="replayed")).height == 1


def test_an_event_that_is_refused_again_is_worked_on_as_the_same_event(
    settings: Settings, lake: Lake, log: Log, refuse: Refuse, event: MakeEvent,
    steps: Steps, tmp_path: Path,
) -> None:  # fmt: skip
    """The gate had another contract than the operator: the copy is in quarantine now, and stands for the event."""
    [origin] = refuse([event(1, **LARGE)])
    lenient = settings.changed(contracts=larger_amounts(tmp_path))
    replay(lenient, lake, EVERYTHING, "ann")
    run_ingest(settings, ["transactions"])
    [open_row] = find(lake, EVERYTHING).iter_rows(named=True)
    assert (open_row["root"], open_row["id"] != origin) == (origin, True)
    mapping = steps(
        """
steps:
  - set: {field: amount_minor, value: 5000}
  - set: {field: amount_base_minor, value: 5000}
"""
    )
    assert replay(settings, lake, EVERYTHING, "ann", mapping=mapping).appended == 1
    run_ingest(settings, ["transactions"])
    assert admitted(lake)["_replay_of"].to_list() == [origin]
    assert not find(lake, EVERYTHING).height
    assert verify(settings).ok


@pytest.mark.parametrize(
    ("failpoints", "ingested_between"),
    [
        (("after_append",), False),
        (("after_append",), True),
        pytest.param(REPLAY_FAILPOINTS * 5, False, marks=[pytest.mark.slow, pytest.mark.timeout(1200)]),
        pytest.param(REPLAY_FAILPOINTS * 5, True, marks=[pytest.mark.slow, pytest.mark.timeout(1200)]),
    ],
)
def test_a_replay_killed_at_any_step_brings_each_event_back_once(
    settings: Settings, lake: Lake, refuse: Refuse, event: MakeEvent, tmp_path: Path, steps: Steps,
    failpoints: tuple[str, ...], *, ingested_between: bool,
) -> None:  # fmt: skip
    mapping, origins, manifest = steps(UK_TO_GB), [], Manifest()
    for at, failpoint in enumerate(failpoints):
        bad = [event(3 * at + number, country="UK") for number in range(3)]
        manifest.add("transactions", [json.loads(payload)["transaction_id"] for payload in bad])
        origins += refuse(bad)
        environment = {**os.environ, **settings.environment(), "SPEARHEAD_FAILPOINT": failpoint}
        process = [sys.executable, "-c", REPLAY, str(tmp_path / "repair.yaml")]
        killed = subprocess.run(process, env=environment, check=False, capture_output=True)
        assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
        if ingested_between:
            run_ingest(settings, ["transactions"])
    replay(settings, lake, EVERYTHING, "ann", mapping=mapping)
    assert not find(lake, EVERYTHING).height
    run_ingest(settings, ["transactions"])
    assert sorted(admitted(lake)["_replay_of"]) == sorted(origins)
    manifest.save(tmp_path / "manifest.json")
    proof = verify(settings, tmp_path / "manifest.json")
    assert (proof.ok, proof.valid) == (True, len(origins)), proof.problems
    if failpoints == (
        "after_append",
    ):  # appended a second time and kept out; or found in the table and noted
        assert proof.duplicates == (0 if ingested_between else 3)


def test_two_people_do_not_act_on_one_state_of_affairs(
    lake: Lake, refuse: Refuse, event: MakeEvent, settings: Settings
) -> None:
    refuse([event(1, country="??")])
    slow = Audit(lake)
    rows = find(lake, EVERYTHING, slow)
    assert discard(lake, EVERYTHING, "ann", "test traffic") == 1
    with pytest.raises(CommitRefused):
        slow.intend(Act.by("bob", "replay"), INTENDED, rows.select(*IDENTITY, replay_of="root"))
    assert discard(lake, EVERYTHING, "bob", "me too") == 0
    assert Audit(lake).rows()["actor"].to_list() == ["ann"]


def test_acts_stand_in_the_order_in_which_they_were_written_whatever_the_clocks_said(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = pl.DataFrame(
        [("transactions", 0, "life", 1, 0, "root")], schema=[*IDENTITY, "replay_of"], orient="row"
    )
    audit, minutes = Audit(lake), iter(range(50, 0, -10))

    class Backwards(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return cls(2026, 1, 1, 0, next(minutes), tzinfo=tz)

    def state() -> list[str]:
        return audit.states()["state"].to_list()

    monkeypatch.setattr("fraud_assets.quarantine.audit.datetime", Backwards)
    audit.intend(Act.by("ann", "replay"), INTENDED, row)
    assert state() == ["open"]
    audit.conclude(Act.by("ann", "replay"), APPENDED, row)
    assert state() == ["replayed"]
    compact(lake, AUDIT)
    assert state() == ["replayed"]
    assert audit.rows()["outcome"].to_list() == [INTENDED, APPENDED]


def test_an_audit_that_was_begun_before_acts_were_counted_goes_on(lake: Lake) -> None:
    row = pl.DataFrame(
        [("transactions", 0, "life", 1, 0, "root")], schema=[*IDENTITY, "replay_of"], orient="row"
    )
    act = _records(Act.by("ann", "discard", "test"), DISCARDED, row, 1).drop("number")
    lake.append(lake.create(AUDIT, act.schema), act, {AUDIT: 1})
    audit = Audit(lake)
    assert audit.states()["state"].to_list() == ["discarded"]
    audit.intend(Act.by("ann", "replay"), INTENDED, row)
    assert audit.states()["state"].to_list() == ["open"]
    assert audit.rows()["number"].to_list() == [None, 2]


def test_what_was_discarded_stays_and_comes_back_only_when_asked_for(
    settings: Settings, lake: Lake, refuse: Refuse, event: MakeEvent,
    steps: Steps,
) -> None:  # fmt: skip
    refuse([event(1, country="UK")])
    discard(lake, EVERYTHING, "ann", "test traffic")
    mapping = steps(UK_TO_GB)
    assert replay(settings, lake, EVERYTHING, "bob", mapping=mapping).selected == 0
    assert len(ids(lake)) == 1
    chosen = Selection(("transactions",), state="discarded")
    assert replay(settings, lake, chosen, "bob", mapping=mapping).appended == 1
    assert state_counts(lake, "transactions").replayed == 1


def test_sealed_events_need_their_key(
    settings: Settings,
    lake: Lake,
    log: Log,
    event: MakeEvent,
    steps: Steps,
) -> None:
    sealed = settings.changed(quarantine_key=Fernet.generate_key().decode())
    log.append("transactions", [json_entry(event(1, country="UK"))])
    run_ingest(sealed, ["transactions"])
    mapping = steps(UK_TO_GB)
    assert dict(replay(settings, lake, EVERYTHING, "ann", mapping=mapping).refused) == {"sealed": 1}
    assert replay(sealed, lake, EVERYTHING, "ann", mapping=mapping).appended == 1


def test_events_go_back_to_the_shard_of_their_first_copy(
    settings: Settings, event: MakeEvent, tmp_path: Path
) -> None:
    from fraud_assets.lake import open_lake
    from fraud_core.log import open_log

    own = settings.changed(shards=3)
    log, lake = open_log(own), open_lake(own)
    for number in range(3):
        log.append("transactions", [json_entry(event(number, **LARGE))], shard=number)
    run_ingest(own, ["transactions"])
    fixed = own.changed(contracts=larger_amounts(tmp_path))
    done = replay(fixed, lake, EVERYTHING, "ann")
    assert len(done.ends) == 3
    run_ingest(fixed, ["transactions"])
    rows = admitted(lake)
    assert rows.height == 3
    assert [Origin.parse(text).shard for text in rows["_replay_of"]] == rows["_shard"].to_list()
    log.close()


def test_an_act_without_a_name_is_refused(settings: Settings, lake: Lake) -> None:
    with pytest.raises(SettingsError, match="--actor"):
        replay(settings, lake, EVERYTHING, " ")


def test_nothing_is_brought_back_or_set_aside_by_accident(command: Command, lake: Lake) -> None:
    for words in (("replay", "--actor", "ann"), ("discard", "--actor", "ann", "--because", "x")):
        result = command(*words)
        assert result.exit_code != 0
        assert "--all" in str(result.exception)


def test_an_entry_of_an_unknown_framing_comes_back_once_its_framing_is_known(
    settings: Settings,
    lake: Lake,
    log: Log,
    event: MakeEvent,
    valkey_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Written by a newer producer; its block stays open, for one row cannot stand for many events."""
    log.shards("transactions")
    with redis.Redis.from_url(valkey_url) as client:
        key = f"{settings.namespace}:log:{{transactions.0}}"
        client.xadd(key, {"j2": event(1), "v": str(int(time.time() * 1000) - 60_000)})
        client.xadd(key, {"a2": encode_block(pl.DataFrame({"n": [1, 2]})), "n": "2"})
    assert run_ingest(settings).violations == 2
    still = replay(settings, lake, EVERYTHING, "ann")
    assert (still.appended, still.refused) == (0, {"row.unknown_framing": 2})

    monkeypatch.setattr(framing, "_KIND_OF", {**framing._KIND_OF, b"j2": "json", b"a2": "block"})
    done = replay(settings, lake, EVERYTHING, "ann")
    assert (done.appended, done.kept_time, done.left_open) == (1, 1, 1)
    assert done.refused == {"block": 1}
    run_ingest(settings)
    assert admitted(lake)["transaction_id"].to_list() == ["tx-00000001"]
    assert replay(settings, lake, EVERYTHING, "ann").appended == 0
    assert verify(settings).ok
