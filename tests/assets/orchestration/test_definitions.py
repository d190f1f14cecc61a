"""The graph as Dagster loads it: complete, valid, and as committed."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]


def test_the_graph_can_be_loaded(graph: dg.Definitions) -> None:
    dg.Definitions.validate_loadable(graph)


@pytest.mark.parametrize(
    "command",
    [
        ("dagster", "definitions", "validate", "-w", "dagster_workspace.yaml"),
        ("dagster_dg_cli.cli", "check", "defs"),
    ],
    ids=["dagster definitions validate", "dg check defs"],
)
def test_dagsters_own_commands_accept_the_graph(command: tuple[str, ...], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_asset_says_what_it_is_and_who_answers_for_it(graph: dg.Definitions) -> None:
    specs = list(graph.resolve_all_asset_specs())
    assert specs
    for spec in specs:
        name = spec.key.to_user_string()
        assert spec.description, name
        assert spec.description.startswith("One "), f"{name} must state its grain"
        assert spec.owners, name
        assert spec.kinds, name
        assert spec.code_version, name
        assert spec.group_name not in (None, "default"), name
        assert graph.resolve_asset_graph().get(spec.key).freshness_policy is not None, name


def test_every_job_schedule_sensor_and_check_says_what_it_does(graph: dg.Definitions) -> None:
    repository = graph.get_repository_def()
    jobs = [job for job in repository.get_all_jobs() if not job.name.startswith("__")]
    for each in (*jobs, *repository.schedule_defs, *repository.sensor_defs):
        assert each.description, each.name
    for key in graph.resolve_asset_graph().asset_check_keys:
        assert graph.resolve_asset_graph().get(key).description, key


def test_every_schedule_and_sensor_runs_without_being_switched_on(graph: dg.Definitions) -> None:
    repository = graph.get_repository_def()
    for schedule in repository.schedule_defs:
        assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING, schedule.name
    for sensor in repository.sensor_defs:
        assert sensor.default_status is dg.DefaultSensorStatus.RUNNING, sensor.name


@pytest.mark.snapshot
def test_the_graph_is_as_committed(
    graph: dg.Definitions, matches_snapshot: Callable[[str, str], None]
) -> None:
    resolved, repository = graph.resolve_asset_graph(), graph.get_repository_def()
    assets = {}
    for spec in graph.resolve_all_asset_specs():
        node = resolved.get(spec.key)
        assets[spec.key.to_user_string()] = {
            "group": node.group_name,
            "kinds": sorted(node.kinds),
            "deps": sorted(key.to_user_string() for key in node.parent_keys),
            "partitions": repr(node.partitions_def) if node.partitions_def else None,
            "checks": sorted(key.name for key in node.check_keys),
            "freshness": _shown(node.freshness_policy),
        }
    jobs = {
        job.name: {
            "steps": sorted(node.name for node in job.nodes),
            "assets": sorted(key.to_user_string() for key in job.asset_layer.selected_asset_keys),
            "checks": sorted(
                f"{key.asset_key.to_user_string()}:{key.name}"
                for key in job.asset_layer.asset_graph.asset_check_keys
            ),
        }
        for job in repository.get_all_jobs()
        if not job.name.startswith("__")
    }
    shown = {
        "assets": assets,
        "jobs": jobs,
        "schedules": {each.name: [each.cron_schedule, each.job_name] for each in repository.schedule_defs},
        "sensors": {
            each.name: [each.minimum_interval_seconds, each.job_name] for each in repository.sensor_defs
        },
    }
    matches_snapshot("asset_graph.yaml", yaml.safe_dump(shown, sort_keys=True, width=110))


def _shown(policy: object) -> str:
    warn, fail = (getattr(policy, name, None) for name in ("warn_window", "fail_window"))
    return " ".join(
        f"{name} {window.to_timedelta()}" for name, window in (("warn", warn), ("fail", fail)) if window
    )
