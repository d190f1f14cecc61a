"""The report as one self-contained page: no script, nothing loaded from anywhere, readable without a network."""

from collections.abc import Iterable, Mapping
from html import escape
from typing import TYPE_CHECKING

from fraud_assets.quality.bars import bars

if TYPE_CHECKING:
    from fraud_assets.quality.report import PromiseResult, Report

_STYLE = """
:root{--ink:#1b2430;--quiet:#667085;--line:#e6e9ee;--paper:#f6f7f9;--card:#fff;--ok:#0b7a53;--okbg:#e4f5ed;
--bad:#b42318;--badbg:#fdecea;--bar:#d64533;--calm:#8fb4d9;--link:#1d5fbf}
*{box-sizing:border-box}body{margin:0;background:var(--paper);color:var(--ink);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
main{max-width:1120px;margin:0 auto;padding:36px 24px 64px}main.wide{max-width:1320px}h1{font-size:26px;margin:0 0 4px;letter-spacing:-.01em}
h2{font-size:17px;margin:36px 0 10px}h3{font-size:13px;margin:0;color:var(--quiet);font-weight:600}
p{margin:0 0 10px}.lead{color:var(--quiet);margin-bottom:22px}a{color:var(--link);text-decoration:none}a:hover{text-decoration:underline}
.card{background:var(--card);border:1px solid var(--line);border-radius:10px;overflow-x:auto}.pad{padding:16px 18px}
.facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:12px}
.fact{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:14px 16px}
.fact b{display:block;font-size:24px;font-weight:650;letter-spacing:-.02em;font-variant-numeric:tabular-nums}
.fact span{color:var(--quiet);font-size:13px}
table{border-collapse:collapse;width:100%;font-size:14px}th,td{padding:8px 14px;text-align:left;vertical-align:top;
border-bottom:1px solid var(--line)}tr:last-child td{border-bottom:0}th{font-size:12px;color:var(--quiet);font-weight:600;
background:#fbfcfd;white-space:nowrap}.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
code{font:12.5px/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}td code{white-space:nowrap}
.quiet{color:var(--quiet)}.ok,.bad,.none{border-radius:99px;padding:1px 9px;font-size:12px;font-weight:600;white-space:nowrap}
.ok{color:var(--ok);background:var(--okbg)}.bad{color:var(--bad);background:var(--badbg)}.none{color:var(--quiet);background:#eef0f3}
.words{overflow-wrap:anywhere}.eg code{white-space:normal;overflow-wrap:anywhere;background:#f3f5f8;border-radius:4px;padding:1px 5px;
margin:0 4px 3px 0;display:inline-block}.meter{height:6px;border-radius:3px;background:#eef0f3;min-width:90px;margin-top:8px}
.meter i{display:block;height:6px;border-radius:3px;background:var(--bar)}tr.broken td{background:#fffaf9}.group td{background:#fbfcfd;
color:var(--quiet);font-size:12px;font-weight:600;padding:6px 14px}.empty{color:var(--quiet);padding:18px}svg{display:block;width:100%}
svg text{font-size:11px;fill:var(--quiet)}footer{margin-top:40px;color:var(--quiet);font-size:13px}
.key{font-size:13px;font-weight:400;color:var(--quiet)}.key i{display:inline-block;width:10px;height:10px;border-radius:2px;margin:0 5px 0 14px}
"""


def document(title: str, body: str, lead: str, *, wide: bool = False) -> str:
    """A whole page around `body`; `lead` is HTML."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f'<link rel="icon" href="data:,"><title>{escape(title)}</title><style>{_STYLE}</style></head><body><main{" class=wide" if wide else ""}>'
        f'<h1>{escape(title)}</h1><p class="lead">{lead}</p>{body}</main></body></html>\n'
    )


def number(value: float) -> str:
    """A count with thousands set apart."""
    return f"{value:,.0f}".replace(",", "\u202f")


def percent(share: float) -> str:
    """A share with as many digits as it needs to be seen."""
    if share == 0:
        return "0 %"
    return f"{share:.2%}".replace("%", " %") if share >= 0.0001 else "< 0.01 %"


def render(report: "Report") -> str:
    """The page of one report."""
    contract = report.contract
    lead = (
        f"Contract <b>{escape(contract.name)}</b> {escape(contract.version)} · {escape(contract.owner or 'no owner')}"
        f" · {_period(report)} · {escape(contract.grain or contract.description)}"
    )
    body = "".join(
        (
            _facts(report),
            _verdict(report),
            _course(report),
            _reasons(report),
            _promises(report),
            _foot(report),
        )
    )
    return document(report.title, body, lead)


def _period(report: "Report") -> str:
    if not report.sample.height:
        return "no admitted rows"
    times = report.sample[report.contract.event_time].dt.strftime("%Y-%m-%d %H:%M")
    return f"event time {times.min()!s} to {times.max()!s} UTC"


def _facts(report: "Report") -> str:
    judged = report.admitted + report.refused.count
    facts = [
        ("arrived", number(judged + report.duplicates)),
        ("admitted", number(report.admitted)),
        ("refused", number(report.refused.count)),
        ("of those judged were refused", percent(report.refused.count / judged if judged else 0.0)),
        ("exact duplicates kept out", number(report.duplicates)),
    ]
    return '<div class="facts">' + "".join(
        f'<div class="fact"><b>{value}</b><span>{words}</span></div>' for words, value in facts
    ) + "</div>"  # fmt: skip


def _verdict(report: "Report") -> str:
    judged = [each for each in report.promises if each.expectations_agree is not None]
    if not report.admitted and not report.refused.count:
        badge, words = '<span class="none">nothing was judged</span>', "No batch came within that time."
    elif report.success:
        badge = '<span class="ok">table keeps its contract</span>'
        words = f"Great Expectations judged {number(report.sample.height)} rows of the table against {len(judged)} promises and found none broken."
    else:
        broken = [each.code for each in judged if each.expectations_found or not each.expectations_agree]
        badge = '<span class="bad">look here</span>'
        words = (
            "Great Expectations and the gate differ on: "
            + ", ".join(f"<code>{escape(code)}</code>" for code in broken)
            + "."
        )
    if report.refused.typed.height:
        words += f" It was also given the {number(report.refused.typed.height)} refused rows whose values could be read."
    if report.sample.height < report.admitted:
        words += f" The table's rows were sampled evenly ({number(report.sample.height)} of {number(report.admitted)})."
    return f'<p style="margin-top:18px">{badge}&ensp;{words}</p>'


def _course(report: "Report") -> str:
    """Arrivals over time, refused ones in red; left out where arrival was not recorded."""
    if "known_at" not in report.sample.columns or report.refused.known_at is None:
        return ""
    scale = report.admitted / max(report.sample.height, 1)
    drawn = bars(report.sample["known_at"], report.refused.known_at, scale)
    if not drawn:
        return ""
    key = '<span class="key"><i style="background:var(--calm)"></i>admitted<i style="background:var(--bar)"></i>refused</span>'
    return f'<h2>Arrivals {key}</h2><div class="card pad">{drawn}</div>'


def _reasons(report: "Report") -> str:
    refused = report.refused
    if not refused.count:
        return (
            '<h2>Why rows were refused</h2><div class="card"><p class="empty">Nothing was refused.</p></div>'
        )
    most = max(refused.counts.values(), default=1)
    by_code = {each.code: each for each in report.promises}
    rows = "".join(
        _reason(by_code.get(code), code, count, refused.count, most)
        for code, count in _ranked(refused.counts)
    )
    return (
        '<h2>Why rows were refused</h2><div class="card"><table><thead><tr><th>Reason</th><th>What was promised</th>'
        '<th class="n">Rows</th><th class="n">Of refused</th><th></th><th>Examples, masked</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
        '<p class="quiet" style="margin-top:8px">A row can have several reasons.'
        + (
            f" The bytes of {number(refused.unreadable)} rows are sealed or were not kept."
            if refused.unreadable
            else ""
        )
        + f" {_commands(report.contract.name, _ranked(refused.counts)[0][0] if refused.counts else '')}</p>"
    )


def _commands(stream: str, code: str) -> str:
    """What to do about it, on the command line."""
    which = escape(f"--stream {stream}" + (f" --reason {code}" if code else ""))
    return (
        f"Look at them with <code>spearhead quarantine list {which}</code>, bring them back with "
        f"<code>spearhead quarantine replay {which} --map FILE --dry-run</code>, or set them aside with <code>discard</code>."
    )


def _ranked(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _reason(promise: "PromiseResult | None", code: str, count: int, refused: int, most: int) -> str:
    words = escape(promise.words) if promise is not None else "no longer part of the contract"
    examples = promise.examples if promise is not None else ()
    return (
        f'<tr><td><code>{escape(code)}</code></td><td class="words">{words}</td><td class="n">{number(count)}</td>'
        f'<td class="n">{percent(count / refused)}</td>'
        f'<td><div class="meter"><i style="width:{max(2, round(100 * count / most))}%"></i></div></td>'
        f'<td class="eg">{_examples(examples)}</td></tr>'
    )


def _examples(examples: Iterable[str]) -> str:
    return (
        "".join(f"<code>{escape(each) or '(empty)'}</code>" for each in examples)
        or '<span class="quiet">none kept</span>'
    )


def _promises(report: "Report") -> str:
    rows: list[str] = []
    group = None
    for each in report.promises:
        name = each.code.rpartition(".")[0]
        if name != group:
            group = name
            rows.append(f'<tr class="group"><td colspan="6">{escape(_heading(report, name))}</td></tr>')
        rows.append(_promise(each))
    return (
        '<h2>Every promise</h2><div class="card"><table><thead><tr><th>Promise</th><th>In words</th>'
        '<th class="n">Evaluated</th><th class="n">Violations</th><th class="n">Share</th><th>Great Expectations</th></tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _heading(report: "Report", name: str) -> str:
    field = report.contract.by_name.get(name)
    if field is not None:
        kind = " · ".join(
            filter(None, (field.type, f"personal data: {field.pii}" if field.pii != "none" else ""))
        )
        return f"{name} — {kind}"
    return "the event as a whole" if name == "row" else "across fields"


def _promise(each: "PromiseResult") -> str:
    if each.expectations_agree is None:
        second = '<span class="none">judged on the bytes</span>'
    elif each.expectations_agree and not each.expectations_found:
        second = '<span class="ok">agrees</span>'
    else:
        second = f'<span class="bad">{number(each.expectations_found)} in the table</span>'
    return (
        f"<tr{' class=broken' if each.violations else ''}><td><code>{escape(each.code)}</code></td>"
        f'<td class="words">{escape(each.words)}</td><td class="n">{number(each.evaluated)}</td>'
        f'<td class="n">{number(each.violations)}</td><td class="n">{percent(each.share)}</td><td>{second}</td></tr>'
    )


def _foot(report: "Report") -> str:
    promised = "".join(
        f"<tr><td>{escape(sla.name)}</td><td class=n>{escape(str(sla.value))} {escape(sla.unit or '')}</td>"
        f'<td class="words">{escape(sla.description)}</td></tr>'
        for sla in report.contract.slas
    )
    table = ""
    if promised:
        table = f'<h2>Promised service</h2><div class="card"><table><tbody>{promised}</tbody></table></div>'
    made = f"{report.made_at:%Y-%m-%d %H:%M:%S}"
    return f"{table}<footer>Made {made} UTC. Personal values are masked; the page loads nothing from the network.</footer>"
