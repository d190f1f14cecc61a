"""A proxy before an S3 server that shows what a real store cannot be made to show: errors, silence, answers that get lost.

A process of its own, because delta-rs may hold the interpreter's lock while it waits. `python faulty_store.py TARGET_PORT` prints its
port; rules are posted to /faults, and GET /faults tells how often each has struck. A rule strikes requests of its method whose path
has its `part`, `times` times:

    status   the store answers with this error and does nothing
    lost     the store does it, the answer gets lost
    reset    the connection ends before the store has seen the request
    hang     no answer for longer than anybody waits, and nothing is done
    strip    the store never sees If-None-Match
"""

import http.client
import json
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

HANG_S = 20


class Proxy(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    target = 0
    rules: ClassVar[list[dict[str, Any]]] = []
    lock = threading.Lock()

    def _any(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if self.path == "/faults":
            self._control(body)
            return
        fault = self._fault()
        if fault == "reset":
            self._hang_up()
        elif fault == "hang":
            time.sleep(HANG_S)
            self._hang_up()
        elif fault.isdigit():
            self._answer(int(fault), [], b"<Error><Code>Fault</Code><Message>on purpose</Message></Error>")
        else:
            status, headers, content = self._forward(body, strip=fault == "strip")
            if fault == "lost":
                self._hang_up()
            else:
                self._answer(status, headers, content)

    def __getattr__(self, name: str) -> Any:
        """do_GET, do_PUT, …: every method alike."""
        if name.startswith("do_"):
            return self._any
        raise AttributeError(name)

    def _control(self, body: bytes) -> None:
        with self.lock:
            if self.command == "POST":
                type(self).rules = [{**rule, "struck": 0} for rule in json.loads(body)]
            self._answer(200, [], json.dumps([rule["struck"] for rule in self.rules]).encode())

    def _fault(self) -> str:
        with self.lock:
            for rule in self.rules:
                if (
                    rule["method"] == self.command
                    and rule["part"] in self.path
                    and rule["struck"] < rule["times"]
                ):
                    rule["struck"] += 1
                    return str(rule["what"])
        return ""

    def _forward(self, body: bytes, *, strip: bool) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.target, timeout=60)
        dropped = {"connection", "if-none-match"} if strip else {"connection"}
        headers = {name: value for name, value in self.headers.items() if name.lower() not in dropped}
        connection.request(self.command, self.path, body, headers)
        answer = connection.getresponse()
        content = answer.read()
        kept = [
            (name, value)
            for name, value in answer.getheaders()
            if name.lower() not in {"connection", "transfer-encoding"}
        ]
        connection.close()
        return answer.status, kept, content

    def _answer(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() != "content-length" or self.command == "HEAD":
                self.send_header(name, value)
        if self.command != "HEAD" and status != 204:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _hang_up(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *_: object) -> None:
        return


class FaultyStore:
    """The address of a proxy, and what it shall do."""

    def __init__(self, port: int) -> None:
        self.endpoint = f"http://127.0.0.1:{port}"

    def strike(self, *rules: tuple[str, str, str, int]) -> None:
        """Rules of (what, method, part of the path, times); those before are forgotten."""
        names = ("what", "method", "part", "times")
        body = json.dumps([dict(zip(names, rule, strict=True)) for rule in rules]).encode()
        request = urllib.request.Request(f"{self.endpoint}/faults", body, method="POST")
        urllib.request.urlopen(request, timeout=10).close()

    @property
    def struck(self) -> list[int]:
        """How often each rule has struck."""
        with urllib.request.urlopen(f"{self.endpoint}/faults", timeout=10) as answer:
            counts: list[int] = json.loads(answer.read())
        return counts


@contextmanager
def faulty_store(target: str) -> Iterator[FaultyStore]:
    """A proxy before the store at the address `target`."""
    command = [sys.executable, str(Path(__file__)), target.rsplit(":", 1)[1]]
    # Clients that waited long enough hang up, and the server says so at length.
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        assert process.stdout is not None
        yield FaultyStore(int(process.stdout.readline()))
    finally:
        process.kill()
        process.communicate()


if __name__ == "__main__":
    Proxy.target = int(sys.argv[1])
    server = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    server.daemon_threads = True
    print(server.server_port, flush=True)
    server.serve_forever()
