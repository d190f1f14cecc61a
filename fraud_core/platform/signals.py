"""Ctrl-C, TERM and a closed terminal: the first ends the work in hand, the next ones end the waiting for it."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


class StopRequested(BaseException):  # like KeyboardInterrupt: no `except Exception` may swallow it
    """Somebody wants the platform to stop."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


@contextmanager
def stop_on_signals(
    hurry: Callable[[], None], stopping: Callable[[], bool] = lambda: False
) -> Iterator[None]:
    """Within, the first signal raises StopRequested in the main thread; each later one calls `hurry` instead.

    So does the first one where `stopping` says that everything is being stopped already, which it must not interrupt.
    """
    requested = False

    def handle(number: int, _frame: FrameType | None) -> None:
        nonlocal requested
        if requested or stopping():
            hurry()
            return
        requested = True
        raise StopRequested(number)

    handled = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, handle) for number in handled}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
