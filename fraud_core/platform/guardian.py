"""The last resort: outlives a supervisor that was killed, and ends what it left behind.

Its standard input is a pipe that only the supervisor holds. A byte on it says that everything was stopped properly; its
end without one says that the supervisor is gone.
Usage: python -m fraud_core.platform.guardian TOKEN
"""

import signal
import subprocess
import sys

from fraud_core.platform.process import sweep

DONE = b"."


def start(token: str) -> subprocess.Popen[bytes]:
    """Start the guardian of this process; write DONE to its standard input when there is nothing left to guard."""
    return subprocess.Popen(
        [sys.executable, "-m", "fraud_core.platform.guardian", token],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def dismiss(guardian: subprocess.Popen[bytes]) -> None:
    """Tell the guardian that everything was stopped, and wait for its end."""
    assert guardian.stdin is not None
    try:
        guardian.stdin.write(DONE)
        guardian.stdin.close()
    except BrokenPipeError:
        pass  # it was killed; there is nothing left for it to do
    guardian.wait()


def main() -> None:
    """Wait for the supervisor's word or end."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    if sys.stdin.buffer.read(1) != DONE:
        sweep(sys.argv[1])


if __name__ == "__main__":
    main()
