"""Between the supervisor and a service: asks the kernel to end the service when the supervisor dies, then becomes it.

Run as a file with a bare interpreter, so that it costs milliseconds; it imports nothing of the product.
Usage: launch.py SUPERVISOR_PID COMMAND [ARGUMENT …]
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Bind this process's life to its parent's, where the kernel can, and execute the command."""
    supervisor, command = int(sys.argv[1]), sys.argv[2:]
    # The supervisor may be started by a shell that ignores SIGINT (cmd &); a service must not inherit that.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != supervisor:  # it died before the kernel was asked
            sys.exit(1)
    try:
        os.execvp(command[0], command)  # noqa: S606  (the platform's own argv list)
    except OSError as error:
        sys.exit(f"Cannot start {command[0]}: {error.strerror}")


if __name__ == "__main__":
    main()
