"""`spearhead quarantine`: what an operator finds, sees and does."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from fraud_assets.ingestion import run_ingest
from fraud_assets.lake import Lake
from fraud_assets.quarantine import AUDIT, Audit
from fraud_core.errors import DataFileError, LogError, SettingsError
from fraud_core.log import Log, json_entry
from fraud_core.settings import Settings
from tests.assets.quarantine.conftest import Command, MakeEvent, Refuse, admitted, ids

pytestmark = pytest.mark.valkey
UK_TO_GB = "steps:\n  - replace: {field: country, from: UK, to: GB}\n"


def rows(command: Command, *words: object) -> list[dict[str, object]]:
    result = command("list", *words, "--json")
    assert result.exit_code == 0, result.exception
    found: list[dict[str, object]] = json.loads(result.stdout)["rows"]
    return found


def test_a_list_filters_counts_and_masks(
    command: Command,
    log: Log,
    settings: Settings,
    refuse: Refuse,
    event: MakeEvent,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert rows(command) == []
    origins = refuse([event(1, country="??"), event(2, country="!!", channel="fax"), b'{"card_id": "4111'])
    log.append("transactions", [json_entry(event(3)), json_entry(event(3))])
    log.append("labels", [json_entry(b"nothing")])
    run_ingest(settings)
    assert [row["id"] for row in rows(command, "--stream", "transactions")] == origins[::-1]
    assert len(rows(command)) == 4
    assert [row["id"] for row in rows(command, "--reason", "country.enum", "--limit", 1)] == [origins[1]]
    assert rows(command, "--shard", 1) == []
    today, yesterday = (f"{datetime.now(UTC) - timedelta(days=ago):%Y-%m-%d}" for ago in (0, 1))
    assert (
        len(rows(command, "--from", yesterday, "--to", today)) == 4
    )  # refused a moment ago: before midnight, perhaps
    assert rows(command, "--to", "2020-01-01") == []
    assert command("list", "--from", today, "--to", "2020-01-01").exit_code == 2, "no day lies between them"
    assert len(rows(command, "--limit", 10**20)) == 4
    [duplicate] = rows(command, "--kind", "duplicate")
    assert (duplicate["kind"], duplicate["reasons"]) == ("duplicate", [])
    counts = json.loads(command("list", "--by", "reason", "--json").stdout)
    assert counts == {
        "events": 4, "by": "reason", "counts": {"country.enum": 2, "row.unparseable": 2, "channel.enum": 1},
    }  # fmt: skip
    monkeypatch.setenv("COLUMNS", "80")
    text = command("list").stdout
    assert "country.enum" in text
    assert all(f"  {origin}\n" in text for origin in origins), "an id is there to be pasted"
    assert "4111" not in text
    assert "acc_" not in text
    assert command("list", "--by", "mood").exit_code == 2


def test_an_event_is_shown_with_reasons_in_words_and_what_was_done(
    command: Command, settings: Settings, refuse: Refuse, event: MakeEvent, tmp_path: Path
) -> None:
    [id_] = refuse([event(1, country="UK", account_id="acc_0000012345")])
    path = tmp_path / "repair.yaml"
    path.write_text(UK_TO_GB)
    tried = command("replay", id_, "--map", path, "--dry-run")
    assert "1 would pass" in tried.stdout
    assert '"country": "UK"' in tried.stdout
    assert '"country": "GB"' in tried.stdout
    assert "12345" not in tried.stdout.replace("•••2345", "")
    done = json.loads(
        command("replay", id_, "--map", path, "--actor", "ann", "--because", "old code", "--json").stdout
    )
    assert (done["appended"], done["left_open"]) == (1, 0)
    run_ingest(settings, ["transactions"])
    found = json.loads(command("show", id_, "--json").stdout)
    assert (found["state"], found["event"]["account_id"]) == ("replayed", "•••2345")
    assert found["reasons"] == [{"code": "country.enum", "words": found["reasons"][0]["words"]}]
    assert found["copies"][0]["outcome"] == "admitted to transactions"
    assert [act["outcome"] for act in found["history"]] == ["intended", "appended"]
    text = command("show", id_).stdout
    for word in ("country is one of", "ann: replay, appended (old code)", "admitted to transactions"):
        assert word in text


def test_personal_values_are_shown_to_a_named_person_and_that_is_kept(
    command: Command, lake: Lake, refuse: Refuse, event: MakeEvent
) -> None:
    [id_] = refuse([event(1, country="??", account_id="acc_0000012345")])
    assert isinstance(command("show", id_, "--unmask").exception, SettingsError)
    assert not lake.exists(AUDIT)
    shown = json.loads(
        command("show", id_, "--unmask", "--actor", "ann", "--because", "case 7", "--json").stdout
    )
    assert shown["event"]["account_id"] == "acc_0000012345"
    [act] = Audit(lake).rows().iter_rows(named=True)
    assert (act["actor"], act["action"], act["because"]) == ("ann", "unmask", "case 7")
    assert rows(command)[0]["state"] == "open"


def test_what_is_set_aside_leaves_the_list_and_stays_in_the_table(
    command: Command, lake: Lake, refuse: Refuse, event: MakeEvent
) -> None:
    [first, second] = refuse([event(1, country="??"), event(2, country="??")])
    assert isinstance(command("discard", first, "--actor", "ann").exception, SettingsError)
    done = command("discard", first, "--actor", "ann", "--because", "test traffic", "--json")
    assert json.loads(done.stdout) == {"discarded": 1}
    assert [row["id"] for row in rows(command)] == [second]
    assert [row["id"] for row in rows(command, "--state", "discarded")] == [first]
    assert len(rows(command, "--state", "all")) == 2
    assert ids(lake) == [first, second]
    assert "test traffic" in command("show", first).stdout
    assert json.loads(command("list", "--state", "all", "--by", "state", "--json").stdout)["counts"] == {
        "discarded": 1, "open": 1,
    }  # fmt: skip


def test_sealed_bytes_say_so_without_their_key(
    command: Command, settings: Settings, log: Log, event: MakeEvent, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = Fernet.generate_key().decode()
    log.append("transactions", [json_entry(event(1, country="??"))])
    run_ingest(settings.changed(quarantine_key=key), ["transactions"])
    [row] = rows(command)
    assert "SPEARHEAD_QUARANTINE_KEY" in str(row["event"])
    monkeypatch.setenv("SPEARHEAD_QUARANTINE_KEY", key)
    [row] = rows(command)
    assert isinstance(row["event"], dict)


@pytest.mark.parametrize(
    "arguments",
    [
        ("list", "--json"),
        ("list", "--by", "reason", "--json"),
        ("replay", "--all", "--dry-run", "--json"),
        ("discard", "--all", "--actor", "ann", "--because", "x", "--json"),
    ],
)
def test_a_lake_that_does_not_exist_is_named_beside_the_zeros(
    settings: Settings, command: Command, arguments: tuple[str, ...]
) -> None:
    done = command(*arguments)
    assert done.exit_code == 0
    assert 0 in json.loads(done.stdout).values()
    assert settings.lake_uri in done.stderr
    assert "nothing was ingested there yet" in done.stderr


def test_a_wrong_id_is_refused_with_what_an_id_looks_like(
    command: Command, refuse: Refuse, event: MakeEvent
) -> None:
    [id_] = refuse([event(1, country="??")])
    assert isinstance(command("show", "transactions/5").exception, LogError)
    missing = id_.rsplit("/", 1)[0] + "/7"
    assert isinstance(command("show", missing).exception, DataFileError)
    assert isinstance(command("replay", missing, "--actor", "ann").exception, DataFileError)


def test_a_replay_may_wait_for_the_verdict(
    command: Command, settings: Settings, lake: Lake, refuse: Refuse, event: MakeEvent, tmp_path: Path
) -> None:
    refuse([event(1, country="UK")])
    path = tmp_path / "repair.yaml"
    path.write_text(UK_TO_GB)
    words = ("replay", "--stream", "transactions", "--map", path, "--actor", "ann", "--json")
    assert json.loads(command(*words, "--wait", 0.1).stdout)["judged"] is False
    run_ingest(settings, ["transactions"])
    assert admitted(lake).height == 1
