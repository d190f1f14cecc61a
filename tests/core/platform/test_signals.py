"""Asking a process to stop: what it has in hand is finished, what it was told to ignore stays ignored."""

import os
import signal
import time
from collections.abc import Callable

import pytest

from fraud_core.platform.signals import StopRequested, asked_to_stop, stop_on_signals


def sent(number: int, arrived: Callable[[], bool]) -> None:
    """Send this process a signal, and wait until the main thread has handled it."""
    os.kill(os.getpid(), number)
    deadline = time.monotonic() + 60
    while not arrived():
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_is_remembered_and_the_second_acts_as_before(number: int) -> None:
    class SecondOne(Exception):
        pass

    def before(*_: object) -> None:
        raise SecondOne

    outside = signal.signal(number, before)
    try:
        with asked_to_stop() as stop:
            assert not stop()
            sent(number, stop)
            with pytest.raises(SecondOne):
                sent(number, lambda: False)
        assert signal.getsignal(number) is before
    finally:
        signal.signal(number, outside)


def test_what_the_process_ignores_stays_ignored() -> None:
    outside = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with asked_to_stop() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            assert not stop()
        with stop_on_signals(lambda: None):
            os.kill(os.getpid(), signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            with pytest.raises(StopRequested):
                sent(signal.SIGTERM, lambda: False)
    finally:
        signal.signal(signal.SIGHUP, outside)
