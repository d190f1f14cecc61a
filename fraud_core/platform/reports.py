"""Serves the folder of data-quality reports: static files, one loopback address, nothing that can be changed.

Usage: python -m fraud_core.platform.reports FOLDER HOST PORT
"""

import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

EMPTY_INDEX = """<!doctype html><meta charset="utf-8"><title>Data-quality reports</title>
<body style="font: 16px/1.5 system-ui, sans-serif; max-width: 42em; margin: 4em auto; padding: 0 1em">
<h1>Data-quality reports</h1><p>There is no report yet. The first appears when a data-quality asset has been materialized.</p>
"""


class ReportHandler(SimpleHTTPRequestHandler):
    """Files with their content types, never from a cache: reports are rewritten under the same names."""

    server_version = "spearhead-reports"
    extensions_map = {  # noqa: RUF012  (the base class's own attribute)
        **SimpleHTTPRequestHandler.extensions_map,
        ".html": "text/html; charset=utf-8",
        ".json": "application/json; charset=utf-8",
        ".md": "text/markdown; charset=utf-8",
        ".svg": "image/svg+xml",
        ".woff2": "font/woff2",
    }

    def end_headers(self) -> None:
        self.send_header("Cache-Control", "no-cache")
        self.send_header("X-Content-Type-Options", "nosniff")
        super().end_headers()

    def do_GET(self) -> None:
        if self.path in ("/", "/index.html") and not (Path(self.directory) / "index.html").exists():
            body = EMPTY_INDEX.encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            return
        super().do_GET()


def main() -> None:
    """Serve until the process is ended."""
    folder, host, port = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    folder.mkdir(parents=True, exist_ok=True)
    with ThreadingHTTPServer((host, port), partial(ReportHandler, directory=str(folder))) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
