"""The supervisor: order, readiness, restarts, and above all that nothing survives it."""

import io
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from rich.console import Console

from fraud_core.cli.discovery import offered_commands
from fraud_core.errors import PlatformError, PortInUse
from fraud_core.free_ports import free_ports
from fraud_core.platform.ending_runs import EndRuns
from fraud_core.platform.process import sweep
from fraud_core.platform.service import Farewell, Port, Service
from fraud_core.platform.services import local_services
from fraud_core.platform.session import Progress, running_platform
from fraud_core.platform.signals import StopRequested, stop_on_signals
from fraud_core.platform.state import read_state
from fraud_core.platform.supervisor import Supervisor
from fraud_core.settings import load_settings

MakeService = Callable[..., Service]
pytestmark = [pytest.mark.platform, pytest.mark.early]


def eventually(condition: Callable[[], bool], within_s: float = 60.0) -> bool:
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=30) as answer:
        return answer.read().decode()


def state_of(home: Path, name: str) -> str | None:
    state = read_state(home)
    return next((each.state for each in state.services if each.name == name), None) if state else None


def test_a_service_starts_only_when_those_it_depends_on_are_ready(
    home: Path, http_service: MakeService
) -> None:
    events: list[tuple[str, str]] = []
    services = [http_service("log"), http_service("reports"), http_service("serving", "log")]
    with Supervisor(
        home, "127.0.0.1", services, lambda name, state: events.append((name, state))
    ) as supervisor:
        supervisor.start()
        assert events.index(("log", "ready")) < events.index(("serving", "starting"))
        assert {each.state for each in read_state(home).services} == {"ready"}
    assert read_state(home) is None


def test_a_dependency_must_be_declared_before(home: Path, http_service: MakeService) -> None:
    with pytest.raises(PlatformError, match="serving depends on log"):
        Supervisor(home, "127.0.0.1", [http_service("serving", "log"), http_service("log")])


def test_leaving_stops_every_process_also_one_that_left_its_group(
    home: Path, http_service: MakeService
) -> None:
    service = http_service("serving")
    with Supervisor(home, "127.0.0.1", [service]) as supervisor:
        supervisor.start()
        child = int(get(f"{service.address}/child"))
        server = read_state(home).services[0].pid
        assert alive(child)
    assert not alive(child)
    assert not alive(server)


def test_a_service_is_told_before_it_is_ended_while_those_it_depends_on_still_run(
    home: Path, http_service: MakeService
) -> None:
    answered: list[str] = []
    log, scorer = http_service("log"), http_service("scorer", "log")
    told = replace(
        scorer, farewell=lambda _hurried: answered.extend(get(each.address) for each in (log, scorer))
    )
    with Supervisor(home, "127.0.0.1", [log, told]) as supervisor:
        supervisor.start()
        assert not answered
    assert len(answered) == 2


def test_services_that_do_not_depend_on_each_other_are_ended_at_the_same_time(
    home: Path, http_service: MakeService
) -> None:
    """Each waits in its farewell for the other's: one after the other, neither would see the other begin."""
    begun, met = [threading.Event(), threading.Event()], list[bool]()

    def meet(mine: int) -> Farewell:
        def farewell(_hurried: Callable[[], bool]) -> None:
            begun[mine].set()
            met.append(begun[1 - mine].wait(30))

        return farewell

    log, *rest = (http_service("log"), http_service("scorer", "log"), http_service("dagster", "log"))
    services = [log, *(replace(each, farewell=meet(place)) for place, each in enumerate(rest))]
    ended: list[str] = []

    def report(name: str, state: str) -> None:
        if state == "stopped":
            ended.append(name)

    with Supervisor(home, "127.0.0.1", services, report) as supervisor:
        supervisor.start()
    assert met == [True, True]
    assert set(ended[:2]) == {"scorer", "dagster"}
    assert ended[2:] == ["log"]


def test_what_goes_wrong_with_ending_one_service_leaves_nothing_running(
    home: Path, http_service: MakeService
) -> None:
    def fails(_hurried: Callable[[], bool]) -> None:
        raise OSError("the network is gone")

    log = http_service("log")
    supervisor = Supervisor(home, "127.0.0.1", [log, replace(http_service("scorer", "log"), farewell=fails)])
    with pytest.raises(OSError, match="the network is gone"), supervisor:
        supervisor.start()
        servers = [each.pid for each in read_state(home).services]
    assert not any(alive(pid) for pid in servers)
    assert read_state(home) is None


def test_a_signal_while_everything_is_stopped_hurries_it_and_interrupts_nothing(
    home: Path, http_service: MakeService
) -> None:
    hurried: list[bool] = []

    def interrupted(asked: Callable[[], bool]) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        hurried.append(eventually(asked))

    log = http_service("log")
    supervisor = Supervisor(
        home, "127.0.0.1", [log, replace(http_service("scorer", "log"), farewell=interrupted)]
    )
    with stop_on_signals(supervisor.hurry, supervisor.stopping), supervisor:
        supervisor.start()
        servers = [each.pid for each in read_state(home).services]
    assert hurried == [True]
    assert not any(alive(pid) for pid in servers)
    assert read_state(home) is None


def test_whoever_stops_the_platform_is_told_how_to_hurry(home: Path) -> None:
    settings = load_settings(_env_file=None, home=home, backend="onnxruntime")
    every = frozenset(service.name for service in local_services(settings, offered_commands()))
    said = io.StringIO()
    with pytest.raises(StopRequested), running_platform(settings, Progress(Console(file=said)), every):
        signal.raise_signal(signal.SIGINT)
    assert "Ctrl-C again waits for none" in said.getvalue()


def test_a_dagster_that_is_gone_does_not_hold_up_the_stop() -> None:
    EndRuns(f"http://127.0.0.1:{free_ports(1)[0]}")(lambda: False)


def test_an_exception_inside_stops_everything_as_well(home: Path, http_service: MakeService) -> None:
    service = http_service("serving")
    with pytest.raises(KeyboardInterrupt), Supervisor(home, "127.0.0.1", [service]) as supervisor:
        supervisor.start()
        server = read_state(home).services[0].pid
        raise KeyboardInterrupt
    assert not alive(server)


def test_a_service_that_ends_is_started_again(home: Path, http_service: MakeService) -> None:
    service = http_service("serving")
    with Supervisor(home, "127.0.0.1", [service]) as supervisor:
        supervisor.start()
        first = read_state(home).services[0].pid
        with pytest.raises(OSError, match=r"closed|reset"):
            get(f"{service.address}/crash")
        assert eventually(
            lambda: state_of(home, "serving") == "ready" and read_state(home).services[0].restarts == 1
        )
        assert read_state(home).services[0].pid != first
        get(service.address)


def test_a_service_that_cannot_start_is_named_with_the_end_of_its_log(home: Path) -> None:
    broken = Service(
        "broken", (sys.executable, "-c", "raise SystemExit('no configuration')"), ready=lambda: False
    )
    with pytest.raises(PlatformError, match=r"(?s)broken ended with exit code 1 .*no configuration"):
        with Supervisor(home, "127.0.0.1", [broken]) as supervisor:
            supervisor.start()


def test_a_service_that_is_never_ready_is_given_up(home: Path) -> None:
    idle = Service(
        "idle",
        (sys.executable, "-c", "import time; time.sleep(600)"),
        ready=lambda: False,
        start_timeout_s=0.5,
    )
    with pytest.raises(PlatformError, match=r"idle was expected to be ready within 0 s|within 1 s"):
        with Supervisor(home, "127.0.0.1", [idle]) as supervisor:
            supervisor.start()


def test_a_taken_port_is_named_with_its_holder_and_its_setting(home: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        service = Service("serving", ("true",), ports=(Port(port, "SPEARHEAD_SERVING_PORT"),))
        with pytest.raises(PortInUse) as error, Supervisor(home, "127.0.0.1", [service]):
            pass
    for word in (str(port), f"pid {os.getpid()}", "SPEARHEAD_SERVING_PORT", "serving"):
        assert word in str(error.value)


def test_one_home_has_one_platform(home: Path, http_service: MakeService) -> None:
    with Supervisor(home, "127.0.0.1", [http_service("serving")]) as supervisor:
        supervisor.start()
        with pytest.raises(PlatformError, match="already runs"), Supervisor(home, "127.0.0.1", []):
            pass
        assert state_of(home, "serving") == "ready"


@pytest.fixture
def platform_process(home: Path) -> tuple[subprocess.Popen[bytes], int]:
    """A platform in a process of its own, and the port of its only service."""
    [port] = free_ports(1)
    script = Path(__file__).with_name("small_platform.py")
    return subprocess.Popen([sys.executable, str(script), str(home), str(port)]), port


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_no_signal_leaves_a_process_behind(
    home: Path, platform_process: tuple[subprocess.Popen[bytes], int], number: signal.Signals
) -> None:
    process, port = platform_process
    try:
        assert eventually(lambda: state_of(home, "serving") == "ready")
        child = int(get(f"http://127.0.0.1:{port}/child"))
        server = read_state(home).services[0].pid
    finally:
        process.send_signal(number)
    assert process.wait(60) == (-9 if number == signal.SIGKILL else 7)
    assert eventually(lambda: not alive(server) and not alive(child))
    with Supervisor(home, "127.0.0.1", []):  # the home is free again
        pass


def test_a_signal_during_the_start_cleans_up_as_well(
    home: Path, platform_process: tuple[subprocess.Popen[bytes], int]
) -> None:
    process, _ = platform_process
    assert eventually(lambda: read_state(home) is not None)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 7
    assert read_state(home) is None


def test_a_process_that_ends_while_it_is_swept_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    found = psutil.Process(ended.pid)
    ended.wait()
    monkeypatch.setattr("fraud_core.platform.process.marked", lambda _token: [found])
    assert sweep("any", grace_s=0.0) == 1
