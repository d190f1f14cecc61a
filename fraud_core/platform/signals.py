"""Ctrl-C, TERM and a closed terminal: the first ends the work in hand, the next ones end the waiting for it.

`stop_on_signals` interrupts whatever is going on, for what waits and starts things; `asked_to_stop` lets a piece of work be
finished, for what must not break off between doing a thing and noting that it is done.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

_ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


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
    Under nohup a closed terminal stays ignored.
    """
    requested = False

    def handle(number: int, _frame: FrameType | None) -> None:
        nonlocal requested
        if requested or stopping():
            hurry()
            return
        requested = True
        raise StopRequested(number)

    handled = [
        number
        for number in _ENDING
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN
    ]
    before = {number: signal.signal(number, handle) for number in handled}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def asked_to_stop() -> Iterator[Callable[[], bool]]:
    """Within, the first signal is remembered, for which the yielded function is asked; a second one acts as before.

    Signals that the process ignores (under nohup, in the background of a script) stay ignored.
    """
    if threading.current_thread() is not threading.main_thread():  # only the main thread may handle signals
        yield lambda: False
        return
    asked = False
    before = {
        number: handler
        for number in _ENDING
        if (handler := signal.getsignal(number)) not in (signal.SIG_IGN, None)
    }

    def remember(_number: int, _frame: FrameType | None) -> None:
        nonlocal asked
        asked = True
        restore()

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    for number in before:
        signal.signal(number, remember)
    try:
        yield lambda: asked
    finally:
        restore()
