"""Ending a run when its process is asked to end: after the work in hand, as a success.

Stopping the platform, deleting a run's pod and *Terminate* in the UI all end in SIGTERM or SIGINT, which Dagster turns into
an exception in the middle of whatever is going on. That is safe, since a run may die anywhere, but it marks the run as failed.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def asked_to_stop() -> Iterator[Callable[[], bool]]:
    """Within, the first signal is remembered, for which the yielded function is asked; a second one acts as before."""
    if threading.current_thread() is not threading.main_thread():  # only the main thread may handle signals
        yield lambda: False
        return
    stop = threading.Event()
    before = {number: signal.getsignal(number) for number in _SIGNALS}

    def remember(_number: int, _frame: FrameType | None) -> None:
        stop.set()
        restore()

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    for number in _SIGNALS:
        signal.signal(number, remember)
    try:
        yield stop.is_set
    finally:
        restore()
