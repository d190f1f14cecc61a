"""The folder that the local Dagster keeps its state in, generated from the settings: dagster.yaml and workspace.yaml.

Both are rewritten at every start; Dagster's own storage beside them is kept.
"""

from pathlib import Path

import yaml

from fraud_core.settings import Settings

WORKSPACE_FILE = "workspace.yaml"
LOCATION_NAME = "spearhead"
DEFINITIONS_MODULE = "fraud_assets.definitions"
MAX_CONCURRENT_RUNS = 3  # beside the ingest runs, which never end for long
RETAIN_TICKS_DAYS = 7


def dagster_home(settings: Settings) -> Path:
    """The folder, which is to be DAGSTER_HOME."""
    return settings.home_path / "dagster"


def write_dagster_home(settings: Settings) -> None:
    """Write the two files."""
    home = dagster_home(settings)
    home.mkdir(parents=True, exist_ok=True)
    (home / "dagster.yaml").write_text(
        yaml.safe_dump(_instance(home, settings), sort_keys=False), encoding="utf-8"
    )
    (home / WORKSPACE_FILE).write_text(
        yaml.safe_dump(_workspace(settings), sort_keys=False), encoding="utf-8"
    )


def _instance(home: Path, settings: Settings) -> dict[str, object]:
    purge = {
        "purge_after_days": {
            "skipped": 1,
            "success": RETAIN_TICKS_DAYS,
            "failure": RETAIN_TICKS_DAYS,
            "started": 1,
        }
    }
    return {
        "storage": {"sqlite": {"base_dir": str(home / "storage")}},
        "local_artifact_storage": {
            "module": "dagster._core.storage.root",
            "class": "LocalArtifactStorage",
            "config": {"base_dir": str(home / "artifacts")},
        },
        "compute_logs": {
            "module": "dagster._core.storage.local_compute_log_manager",
            "class": "LocalComputeLogManager",
            "config": {"base_dir": str(home / "compute_logs")},
        },
        "run_coordinator": {
            "module": "dagster._core.run_coordinator",
            "class": "QueuedRunCoordinator",
            # The default of 5 s would be most of a short run's wait.
            "config": {"dequeue_interval_seconds": 1},
        },
        # A pool admits one run at a time unless its limit is raised in the UI: one writer per table.
        "concurrency": {
            "runs": {"max_concurrent_runs": MAX_CONCURRENT_RUNS + settings.ingest_groups},
            "pools": {"granularity": "op", "default_limit": 1},
        },
        # Notices a run whose process was killed, so that its sensor may start the next.
        "run_monitoring": {"enabled": True, "poll_interval_seconds": 10, "start_timeout_seconds": 120},
        "retention": {"schedule": purge, "sensor": purge},
        "telemetry": {"enabled": False},
        "nux": {"enabled": False},
    }


def _workspace(settings: Settings) -> dict[str, object]:
    return {
        "load_from": [
            {
                "grpc_server": {
                    "host": settings.host,
                    "port": settings.dagster_code_port,
                    "location_name": LOCATION_NAME,
                }
            }
        ]
    }
