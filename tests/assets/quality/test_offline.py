"""Pages can be read without a network: nothing in them asks for anything from anywhere, and every link leads to a file."""

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

import pytest

from fraud_assets.quality import write_index
from fraud_assets.quality.page import document
from fraud_core.contracts import load_contracts
from fraud_core.settings import PACKAGED_CONTRACTS
from tests.assets.quality.edits import edits
from tests.assets.quality.test_agreement import judged_again

_ADDRESSES: Final = {
    "href",
    "src",
    "srcset",
    "action",
    "data",
    "poster",
    "background",
    "xlink:href",
    "formaction",
}
_OF_THE_BROWSER: Final = re.compile(
    r"(.*\.)?gvt1\.com|((accounts|www|clients\d*|update|mtalk|android\.clients)\.google(apis)?\.com|[a-z]+-pa\.googleapis\.com)(:\d+)?"
)
"""Hosts that Chromium itself looks for, whatever it shows; none serves scripts, styles or fonts to pages."""
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Addresses(HTMLParser):
    """Collects whatever a browser would ask for."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.scripts = 0
        self.style = ""
        self._in_style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for name, value in attrs if name in _ADDRESSES and value]
        self.style += " ".join(value for name, value in attrs if name == "style" and value)
        self.scripts += tag in {"script", "iframe", "object", "embed"} or any(
            name.startswith("on") for name, _ in attrs
        )
        self._in_style = tag == "style"

    def handle_endtag(self, tag: str) -> None:
        self._in_style = False

    def handle_data(self, data: str) -> None:
        if self._in_style:
            self.style += data


def read(page: Path) -> Addresses:
    parser = Addresses()
    parser.feed(page.read_text(encoding="utf-8"))
    return parser


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of reports on everything that can be wrong, with its index."""
    folder = tmp_path_factory.mktemp("reports")
    for stream in ("labels", "decisions"):
        contract = load_contracts(PACKAGED_CONTRACTS).for_stream(stream)
        judged_again(contract, [[], *([each] for each in edits(contract)[::3])], folder / stream / "now")
    write_index(folder)
    return folder


def test_a_page_asks_for_nothing_and_its_links_lead_to_files(reports: Path) -> None:
    pages = sorted(reports.rglob("*.html"))
    assert len(pages) == 3
    for page in pages:
        found = read(page)
        assert found.scripts == 0
        assert not re.search(r"url\(|@import|expression\(", found.style)
        for address in found.found:
            parts = urlsplit(address)
            assert parts.scheme in {"", "data"}, address
            assert not parts.netloc, address
            if not parts.scheme:
                assert (page.parent / unquote(parts.path)).is_file(), address


def test_the_parser_would_see_what_it_looks_for(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text(
        document("T", '<img src="//cdn.example/x.png"><script></script><i style="background:url(x)">', "")
    )
    found = read(page)
    assert "//cdn.example/x.png" in found.found
    assert found.scripts == 1
    assert "url(" in found.style


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_a_browser_shows_the_pages_with_the_network_blocked_and_asks_for_nothing(
    reports: Path, tmp_path: Path
) -> None:
    for page, words in (
        (reports / "index.html", "keeps its contract"),
        (reports / "labels" / "now" / "index.html", "Every promise"),
    ):
        log = tmp_path / "net.json"
        shown = subprocess.run(
            [
                str(CHROMIUM), "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}",
                "--host-resolver-rules=MAP * ~NOTFOUND", "--disable-background-networking", "--disable-component-update",
                "--no-first-run", f"--log-net-log={log}", "--dump-dom", page.as_uri(),
            ],
            capture_output=True, text=True, timeout=120, check=True,
        ).stdout  # fmt: skip
        assert words in shown
        asked = re.findall(r'"url":"https?://([^/"]+)', log.read_text(encoding="utf-8"))
        assert {host for host in asked if not _OF_THE_BROWSER.fullmatch(host)} == set()
