"""What every ingest process of the nursery needs and may inherit: imported once, before the first of them is forked.

Never polars, delta-rs or obstore: they start threads when they are imported, and a fork copies the locks of threads but not
the threads. `THREADS` is what this process had after the imports; anything but 1 is refused by the nursery.
"""

import os
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # its workers would be threads, and come with numpy

import cryptography.fernet
import jsonschema.validators
import numba
import psutil
import pydantic_settings
import redis.asyncio
import yaml

import fraud_core.cli
import fraud_core.settings

INHERITED = (
    cryptography.fernet,
    jsonschema.validators,
    psutil,
    pydantic_settings,
    redis.asyncio,
    yaml,
    fraud_core.cli,
    fraud_core.settings,
)

# The compiler sets itself up at the first call of any compiled function: a CPU second that no child has to pay again.
numba.njit(lambda number: number + 1)(1)

_TASKS = Path("/proc/self/task")
THREADS = sum(1 for _ in _TASKS.iterdir()) if _TASKS.is_dir() else 1
