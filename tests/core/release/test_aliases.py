"""Aliases: one truth, changed by compare-and-set, with an audit that misses nothing."""

import errno
import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import pytest

from fraud_core.errors import AliasConflict, BundleError
from fraud_core.release import (
    Aliases,
    Bundle,
    Change,
    PathAliasStore,
    bootstrap,
    challenge,
    promote,
    read_aliases,
    rollback,
    withdraw,
)

Write = Callable[..., Bundle]
BY = {"actor": "ada", "reason": "because"}


@pytest.fixture
def store(tmp_path: Path) -> PathAliasStore:
    return PathAliasStore(tmp_path / "bundles")


def next_aliases(now: Aliases, actor: str = "ada") -> Aliases:
    number = now.generation + 1
    change = Change(
        generation=number,
        kind="challenge",
        version=f"v{number}",
        actor=actor,
        reason="r",
        at=datetime.now(UTC),
    )
    return now.model_copy(update={"generation": number, "challenger": f"v{number}", "change": change})


def test_before_the_first_release_nothing_is_live(tmp_path: Path) -> None:
    assert read_aliases(tmp_path / "nowhere") == Aliases()


def test_a_model_goes_from_bootstrap_to_champion_and_back(
    store: PathAliasStore, release_bundle: Write
) -> None:
    first, second = release_bundle(b"1").version, release_bundle(b"2").version
    bundles = store.folder
    assert bootstrap(store, bundles, first, **BY).champion == first
    assert challenge(store, bundles, second, **BY).challenger == second
    live = promote(store, bundles, second, **BY)
    assert (live.champion, live.challenger, live.previous) == (second, None, first)
    assert live.in_use == {first, second}
    live = rollback(store, bundles, **BY)
    assert (live.champion, live.challenger, live.previous, live.generation) == (first, None, None, 4)
    assert store.read() == live
    audit = store.audit()
    assert [entry.kind for entry in audit] == ["bootstrap", "challenge", "promote", "rollback"]
    assert [entry.generation for entry in audit] == [1, 2, 3, 4]
    assert audit[2].replaced == first
    assert len(store.audit_file.read_text().splitlines()) == 4


def test_changes_out_of_turn_are_refused(store: PathAliasStore, release_bundle: Write) -> None:
    first, second = release_bundle(b"1").version, release_bundle(b"2").version
    bundles = store.folder
    for change in (
        lambda: challenge(store, bundles, first, **BY),
        lambda: promote(store, bundles, first, **BY),
        lambda: rollback(store, bundles, **BY),
        lambda: withdraw(store, **BY),
    ):
        with pytest.raises(AliasConflict):
            change()
    bootstrap(store, bundles, first, **BY)
    for change in (
        lambda: bootstrap(store, bundles, second, **BY),
        lambda: challenge(store, bundles, first, **BY),
        lambda: promote(store, bundles, second, **BY),
        lambda: challenge(store, bundles, second, actor=" ", reason="because"),
    ):
        with pytest.raises(AliasConflict):
            change()
    assert store.read().generation == 1
    challenge(store, bundles, second, **BY)
    assert withdraw(store, **BY).challenger is None


def test_a_second_bootstrap_says_how_a_model_becomes_live(
    store: PathAliasStore, release_bundle: Write
) -> None:
    first, second, third = (release_bundle(content).version for content in (b"1", b"2", b"3"))
    bundles = store.folder
    bootstrap(store, bundles, first, **BY)
    challenge(store, bundles, second, **BY)
    for version, answer in (
        (first, f"{first} is live already"),
        (second, f"spearhead release promote {second}"),
        (third, "The gate makes a candidate the challenger"),
    ):
        with pytest.raises(AliasConflict, match=answer):
            bootstrap(store, bundles, version, **BY)
    assert (store.read().champion, store.read().challenger) == (first, second)


def test_a_damaged_or_absent_bundle_gets_no_alias(store: PathAliasStore, release_bundle: Write) -> None:
    bundle = release_bundle()
    (bundle.path / "model.onnx").chmod(0o644)
    (bundle.path / "model.onnx").write_bytes(b"other")
    for version in (bundle.version, "m-20260901T120000Z-00000000", "../elsewhere"):
        with pytest.raises(BundleError):
            bootstrap(store, store.folder, version, **BY)
    assert store.read() == Aliases()


def test_of_two_changes_of_one_generation_the_second_is_refused(store: PathAliasStore) -> None:
    now = store.read()
    store.compare_and_set(now.generation, next_aliases(now))
    with pytest.raises(AliasConflict, match=r"generation 0 was expected, 1 was found \(challenge by ada\)"):
        store.compare_and_set(now.generation, next_aliases(now))
    with pytest.raises(AliasConflict, match="must name generation 2"):
        store.compare_and_set(1, next_aliases(now))


def climb(folder: Path, actor: str, steps: int) -> int:
    """Add `steps` generations, reading again after each conflict; returns the conflicts."""
    store, conflicts = PathAliasStore(folder, lock_timeout_s=60), 0
    for _ in range(steps):
        while True:
            now = store.read()
            try:
                store.compare_and_set(now.generation, next_aliases(now, actor))
                break
            except AliasConflict:
                conflicts += 1
    return conflicts


def test_racing_processes_and_threads_lose_no_change(tmp_path: Path) -> None:
    # Spawned: forking after polars or numba started threads deadlocks.
    with multiprocessing.get_context("spawn").Pool(2) as processes, ThreadPoolExecutor(3) as threads:
        others = processes.starmap_async(climb, [(tmp_path, f"process {n}", 15) for n in range(2)])
        for climbing in [threads.submit(climb, tmp_path, f"thread {n}", 15) for n in range(3)]:
            climbing.result()
        others.get()
    store = PathAliasStore(tmp_path)
    assert store.read().generation == 75
    assert [entry.generation for entry in store.audit()] == list(range(1, 76))
    assert len(store.audit_file.read_text().splitlines()) == 75


def test_an_audit_line_that_a_dead_writer_owed_or_tore_is_completed(store: PathAliasStore) -> None:
    first = store.compare_and_set(0, next_aliases(store.read()))
    second = store.compare_and_set(1, next_aliases(first))
    lines = store.audit_file.read_bytes().splitlines(keepends=True)
    store.audit_file.write_bytes(lines[0] + lines[1][:20])
    assert [entry.generation for entry in store.audit()] == [1, 2]
    store.compare_and_set(2, next_aliases(second))
    assert [entry.generation for entry in store.audit()] == [1, 2, 3]


@pytest.mark.parametrize(
    ("failing", "words"),
    [(1, "as they were"), (2, "the change is in force, but may not outlive"), (3, None)],
    ids=["the file", "its folder", "the audit"],
)
def test_a_disk_that_fails_within_a_change_is_told_as_what_came_of_it(
    store: PathAliasStore, monkeypatch: pytest.MonkeyPatch, failing: int, words: str | None
) -> None:
    synced, real = count(1), os.fsync

    def fsync(handle: int) -> None:
        if next(synced) == failing:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    change = next_aliases(Aliases())
    if words is None:  # it was made, and the aliases themselves tell of it
        assert store.compare_and_set(0, change) == change
    else:
        with pytest.raises(BundleError, match=words):
            store.compare_and_set(0, change)
    assert store.read().generation == (0 if failing == 1 else 1)
    assert [each.generation for each in store.audit()] == ([] if failing == 1 else [1])
    store.compare_and_set(store.read().generation, next_aliases(store.read()))
    recorded = store.audit_file.read_text().splitlines()
    assert len(recorded) == store.read().generation


def test_a_lock_that_is_held_ends_in_a_message(store: PathAliasStore) -> None:
    waiting = PathAliasStore(store.folder, lock_timeout_s=0.05)
    store.folder.mkdir(parents=True)
    import fcntl

    with (store.folder / "aliases.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(AliasConflict, match=r"holds .*aliases\.lock"):
            waiting.compare_and_set(0, next_aliases(Aliases()))


@pytest.mark.parametrize("content", ["", "{", '{"generation": -1}', '{"champion": "x", "surprise": 1}'])
def test_a_broken_aliases_file_is_never_taken_for_an_empty_one(store: PathAliasStore, content: str) -> None:
    store.folder.mkdir(parents=True)
    store.file.write_text(content)
    with pytest.raises(BundleError, match=r"aliases\.json should hold the aliases"):
        store.read()
