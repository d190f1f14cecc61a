"""Following the aliases when what they name is bad."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from fraud_core.release import Bundle, PathAliasStore, challenge, promote
from fraud_core.settings import Settings
from fraud_serving.models import live
from fraud_serving.runtime import Runtime
from tests.serving.samples import event, make_bundle
from tests.serving.scoring.test_scorer import score

pytestmark = pytest.mark.valkey


def release(settings: Settings, bundle: Bundle) -> None:
    store, actor = PathAliasStore(settings.bundles_path), {"actor": "test", "reason": "test"}
    challenge(store, settings.bundles_path, bundle.version, **actor)
    promote(store, settings.bundles_path, bundle.version, **actor)


def tamper(bundle: Bundle) -> bytes:
    path = bundle.path / "model.onnx"
    sound = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(sound[:-1] + b"x")
    return sound


async def mended(runtime: Runtime, bundle: Bundle) -> None:
    """Until Triton serves a version again; on a busy machine a proof may take too long the first time."""
    assert runtime.remote is not None
    deadline = time.monotonic() + 60
    while runtime.remote.health(bundle.version) is not None:
        assert time.monotonic() < deadline
        await runtime.remote.mend()


def test_a_bad_champion_at_the_start_leaves_the_previous_model_to_answer_until_it_is_mended(
    serving: Settings, with_runtime: Any
) -> None:
    first = PathAliasStore(serving.bundles_path).read().champion
    second = make_bundle(serving.bundles_path, seed=2)
    release(serving, second)
    sound = tamper(second)

    async def body(runtime: Runtime) -> None:
        [outcome] = await score(runtime, event())
        answer = json.loads(outcome.content)
        assert (answer["route"], answer["model_version"], answer["degraded"]) == ("previous", first, True)
        assert answer["fallback_reason"] == "no_model"
        assert runtime.readiness().ready
        assert second.version in runtime.readiness().missing["model"]

        (second.path / "model.onnx").write_bytes(sound)
        runtime.models._retry_at = 0.0
        await runtime.models.refresh()
        [outcome] = await score(runtime, event())
        answer = json.loads(outcome.content)
        assert (answer["route"], answer["model_version"]) == ("champion", second.version)
        assert runtime.readiness().missing == {}

    with_runtime(serving, body)


def test_a_bundle_that_cannot_be_loaded_is_not_tried_again_at_every_look(
    serving: Settings, with_runtime: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []
    load = live.load_bundle
    monkeypatch.setattr(live, "load_bundle", lambda path: (tried.append(path.name), load(path))[1])

    async def body(runtime: Runtime) -> None:
        second = make_bundle(serving.bundles_path, seed=2)
        release(serving, second)
        tamper(second)
        for _ in range(4):
            await runtime.models.refresh()
        assert tried.count(second.version) == 1
        runtime.models._retry_at = 0.0
        await runtime.models.refresh()
        assert tried.count(second.version) == 2
        [outcome] = await score(runtime, event())
        assert json.loads(outcome.content)["route"] == "champion"

    with_runtime(serving, body)


def test_a_champion_whose_loading_ended_in_a_way_that_nobody_thought_of_is_tried_again(
    serving: Settings, with_runtime: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def body(runtime: Runtime) -> None:
        second = make_bundle(serving.bundles_path, seed=2)
        release(serving, second)
        with monkeypatch.context() as patch:

            def stale(path: Path) -> Bundle:
                raise OSError("Stale file handle")

            patch.setattr(live, "load_bundle", stale)
            with pytest.raises(OSError, match="Stale"):
                await runtime.models.refresh()
        await runtime.models.refresh()
        assert runtime.models.current.champion is not None
        assert runtime.models.current.champion.version == second.version

    with_runtime(serving, body)


@pytest.mark.triton
@pytest.mark.usefixtures("triton")
def test_a_champion_that_cannot_be_put_into_tritons_repository_scores_in_process_until_it_can(
    triton_settings: Settings, with_runtime: Any
) -> None:
    second = make_bundle(triton_settings.bundles_path, seed=2)

    async def body(runtime: Runtime) -> None:
        in_the_way = triton_settings.triton_repository_path / second.version
        in_the_way.write_text("as a full disk or a folder of another user would be")
        release(triton_settings, second)
        await runtime.models.refresh()
        [outcome] = await score(runtime, event())
        answer = json.loads(outcome.content)
        assert (answer["model_version"], answer["route"], answer["backend"]) == (
            second.version, "champion", "onnxruntime",
        )  # fmt: skip
        assert runtime.remote is not None
        await runtime.remote.mend()  # and again in vain

        in_the_way.unlink()
        await mended(runtime, second)
        [outcome] = await score(runtime, event())
        answer = json.loads(outcome.content)
        assert (answer["backend"], answer["fallback_reason"]) == ("triton", None)

    with_runtime(triton_settings, body)


@pytest.mark.triton
@pytest.mark.usefixtures("triton")
def test_a_version_that_triton_cannot_be_given_again_keeps_no_other_out_of_it(
    triton_settings: Settings, with_runtime: Any
) -> None:
    second = make_bundle(triton_settings.bundles_path, seed=2)

    async def body(runtime: Runtime) -> None:
        first = runtime.models.current.champion
        assert first is not None
        assert runtime.remote is not None
        release(triton_settings, second)
        await runtime.models.refresh()
        for version in (first.version, second.version):  # as a restart of Triton leaves it
            await runtime.remote._client.unload_model(version)
        runtime.remote._ready.clear()
        while not runtime.remote._breaker.is_open:
            runtime.remote._breaker.failed()
        tamper(first.bundle)
        await mended(runtime, second)
        [outcome] = await score(runtime, event())
        answer = json.loads(outcome.content)
        assert (answer["backend"], answer["fallback_reason"]) == ("triton", None)
        assert runtime.remote.health(first.version) == "triton_not_loaded"

    with_runtime(triton_settings, body)
