"""The ingest run of Dagster, in a process of its own: `python -m fraud_assets.benchmarks.ingest_run LOOP`.

The same job as the sensor starts, with its own Dagster home; what it costs is looked at from outside.
"""

import sys

from fraud_assets.definitions import definitions
from fraud_assets.orchestration.ingestion.assets import ingest
from fraud_assets.orchestration.ingestion.sensors import ingest_job
from fraud_assets.runs.in_process import dagster_instance
from fraud_core.settings import load_settings


def main(drive: str) -> int:
    """Run the job once; exit code 1 when it failed."""
    job = definitions().resolve_job_def(ingest_job.name)
    with dagster_instance(load_settings()) as instance:
        result = job.execute_in_process(
            run_config={
                "ops": {ingest.op.name: {"config": {"drive": drive}}},
                "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
            },
            instance=instance,
            raise_on_error=False,
        )
    for event in () if result.success else result.get_step_failure_events():
        print(event.step_failure_data.error, file=sys.stderr)
    return 0 if result.success else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
