"""Listens like any server; `/crash` ends it, `/child` starts a process that leaves the session, as BentoML's workers do."""

import os
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b""
        if self.path == "/crash":
            os._exit(3)
        if self.path == "/child":
            sleeper = [sys.executable, "-c", "import time; time.sleep(600)"]
            body = str(subprocess.Popen(sleeper, start_new_session=True).pid).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
