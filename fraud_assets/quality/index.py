"""The list of all reports under a folder, the newest first: the page that the reports address opens."""

import json
from html import escape
from pathlib import Path
from typing import Any

from fraud_assets.quality.page import document, number

_MOST = 500
"""Reports listed."""


def write_index(folder: Path) -> Path:
    """Write `folder`/index.html from the report.json files below it, and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    found: list[tuple[dict[str, Any], str]] = []
    for path in folder.rglob("report.json"):
        try:
            summary = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue  # a report that is being written; the next index has it
        found.append((summary, path.parent.relative_to(folder).as_posix()))
    found.sort(key=lambda each: each[0]["made_at"], reverse=True)
    lead = "The reports of this platform, the newest first. Times are UTC."
    page = document("Data quality", _body(found), lead, wide=True)
    path = folder / "index.html"
    path.write_text(page, encoding="utf-8")
    return path


def _body(found: list[tuple[dict[str, Any], str]]) -> str:
    if not found:
        return '<p class="empty">No report yet. One is made per table and hour with violations, daily, and on request.</p>'
    rows = "".join(_row(summary, place) for summary, place in found[:_MOST])
    older = len(found) - _MOST
    rest = (
        f'<p class="quiet">{number(older)} older reports are in the folders beside this page.</p>'
        if older > 0
        else ""
    )
    return (
        '<div class="card"><table><thead><tr><th>Table</th><th>Judged</th><th>Verdict</th><th class="n">Admitted</th>'
        '<th class="n">Refused</th><th class="n">Duplicates</th><th>Most frequent reason</th>'
        f'<th class="n">Made</th></tr></thead><tbody>{rows}</tbody></table></div>{rest}'
    )


def _row(summary: dict[str, Any], place: str) -> str:
    counts = summary["counts"]
    first = max(counts, key=counts.__getitem__) if counts else ""
    if not summary["success"]:
        state = '<span class="bad">look here</span>'
    elif summary["admitted"] or summary["refused"]:
        state = '<span class="ok">keeps its contract</span>'
    else:
        state = '<span class="none">nothing was judged</span>'
    link = escape(f"{place}/index.html")
    return (
        f'<tr><td style="white-space:nowrap"><a href="{link}"><b>{escape(summary.get("table", summary["contract"]))}</b></a>'
        f'&ensp;<span class="quiet">{escape(summary["version"])}</span></td>'
        f'<td style="white-space:nowrap"><a href="{link}">{escape(summary.get("period", summary["title"]))}</a></td><td>{state}</td>'
        f'<td class="n">{number(summary["admitted"])}</td><td class="n">{number(summary["refused"])}</td>'
        f'<td class="n">{number(summary["duplicates"])}</td><td>{f"<code>{escape(first)}</code>" if first else ""}</td>'
        f'<td class="quiet n">{escape(summary["made_at"].replace("T", " ")[:16])}</td></tr>'
    )
