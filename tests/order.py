"""In which order the files of tests are run, and by which of several processes."""

from collections import Counter
from collections.abc import Iterable

import pytest
from xdist.scheduler import LoadFileScheduling


class KafkaTogether(LoadFileScheduling):
    """A file at a time to a process; the files on Kafka all to one, for its broker takes ten seconds of CPU to start."""

    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        return "kafka" if "kafka" in file or file.endswith("/test_log_suite.py") else file


def in_order(items: Iterable[pytest.Item]) -> list[pytest.Item]:
    """Files of the mark `early` first: begun late they would keep one process busy alone. Then those with many tests.

    Files of the mark `longest` last: where time is short, those are left over and not many others.
    """
    items = list(items)
    last = {item.path for item in items if item.get_closest_marker("longest")}
    early = {item.path for item in items if item.get_closest_marker("early")}
    ordinary = Counter(item.path for item in items if not item.get_closest_marker("slow"))
    return sorted(items, key=lambda item: (item.path in last, item.path not in early, -ordinary[item.path]))
