"""A platform of one small service, as a process that can be killed. Arguments: home, port."""

import sys
import time
from pathlib import Path

from fraud_core.platform.probe import HttpReady
from fraud_core.platform.service import Service
from fraud_core.platform.signals import StopRequested, stop_on_signals
from fraud_core.platform.supervisor import Supervisor

home, port = Path(sys.argv[1]), sys.argv[2]
server = Service(
    "serving",
    (sys.executable, str(Path(__file__).with_name("small_server.py")), port),
    ready=HttpReady(f"http://127.0.0.1:{port}/"),
)
supervisor = Supervisor(home, "127.0.0.1", [server])
try:
    with stop_on_signals(supervisor.hurry), supervisor:
        supervisor.start()
        while True:
            time.sleep(1)
except StopRequested:
    sys.exit(7)
