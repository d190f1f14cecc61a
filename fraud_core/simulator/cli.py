"""`spearhead produce`: a past, a present, or both, of a synthetic world on the log."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from fraud_core.errors import SettingsError
from fraud_core.log import Log, open_log
from fraud_core.platform.signals import asked_to_stop
from fraud_core.settings import Settings, load_settings
from fraud_core.simulator.contract import require_simulated_contract
from fraud_core.simulator.ground_truth import GroundTruth
from fraud_core.simulator.history import History
from fraud_core.simulator.live import Live
from fraud_core.simulator.outputs import require_writable
from fraud_core.simulator.producer import Producer
from fraud_core.simulator.rhythm import DAY_MS
from fraud_core.simulator.spans import parse_instant_ms, parse_span_ms
from fraud_core.simulator.world import SCENARIOS, World, WorldSpec

_TICK_S = 0.1
_DEFAULT_RHYTHM = WorldSpec().events_per_day / WorldSpec().accounts


def produce(
    *,
    history: Annotated[
        str, typer.Option(help="Length of the past to write, such as 90d; it ends at --until.")
    ] = "",
    rate: Annotated[
        float, typer.Option(help="Events a second to go on with, live, after the past.", min=0)
    ] = 0.0,
    until: Annotated[str, typer.Option(help="End of the past (ISO 8601, UTC). Default: now.")] = "",
    duration: Annotated[
        str, typer.Option("--for", help="How long to stay live, such as 5m. Default: until Ctrl-C.")
    ] = "",
    count: Annotated[int, typer.Option(help="Stop after this many live events (0: no limit).", min=0)] = 0,
    seed: Annotated[int, typer.Option(help="The same seed and sizes give the same world, byte by byte.")] = 7,
    accounts: Annotated[int, typer.Option(help="Account holders.")] = 5_000,
    merchants: Annotated[int, typer.Option(help="Merchants.")] = 1_000,
    events: Annotated[
        int, typer.Option(help="Events of the past, about. Default: 0.61 a day and account.", min=0)
    ] = 0,
    fraud: Annotated[float, typer.Option(help="Share of fraudulent payments.")] = 0.006,
    scenario: Annotated[
        list[str] | None,
        typer.Option(help=f"Only this kind of fraud; may be repeated: {', '.join(SCENARIOS)}."),
    ] = None,
    faults: Annotated[
        float,
        typer.Option(help="Faulty events (malformed, violating, repeated) to add, as a share, such as 0.01."),
    ] = 0.0,
    label_delay: Annotated[
        str,
        typer.Option(
            help="Typical delay of the labels of live events, such as 60s. Default: days, as in life."
        ),
    ] = "",
    entries: Annotated[
        str,
        typer.Option(
            help="block or json: how events are sent. Default: the past as blocks, live events as json."
        ),
    ] = "",
    block_events: Annotated[int, typer.Option(help="Events of one block.", min=1, max=100_000)] = 2_000,
    manifest: Annotated[
        Path | None,
        typer.Option(help="Where the manifest for `spearhead verify` goes. Default: <home>/manifests."),
    ] = None,
    ground_truth: Annotated[
        Path | None,
        typer.Option(help="Write what is true of every fraud and faulty event to this parquet file."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON line.")] = False,
) -> None:
    """Put a synthetic world of card payments on the log: its past, its present, or both.

    The past arrives in virtual time: every event is known at the moment at which it would have come. Fraud hides among
    honest payments; its labels follow days later, or never. docs/simulator.md says how separable it is.
    """
    if not history and not rate:
        raise SettingsError(
            "Nothing to produce: --history 90d (a past), --rate 100 (live events) or both was expected."
        )
    if entries not in ("", "block", "json"):
        raise SettingsError(f"--entries was expected to be block or json; found {entries!r}.")
    settings = load_settings()
    until_ms = parse_instant_ms(until) if until else int(time.time() * 1000)
    if until_ms > time.time() * 1000:
        raise SettingsError(
            f"--until {until} lies in the future, where nothing has arrived yet. Choose an earlier time."
        )
    span_ms = parse_span_ms(history) if history else 0
    if history and not span_ms:
        raise SettingsError(f"--history was expected to be longer than nothing; found {history!r}.")
    live_s = parse_span_ms(duration) / 1000 if duration else float("inf")
    label_delay_ms = parse_span_ms(label_delay) if label_delay else None
    spec = WorldSpec(
        seed=seed,
        accounts=accounts,
        merchants=merchants,
        events_per_day=events / (span_ms / DAY_MS) if events and span_ms else _DEFAULT_RHYTHM * accounts,
        fraud_share=fraud,
        scenarios=tuple(dict.fromkeys(scenario)) if scenario else SCENARIOS,
    )
    require_simulated_contract(settings.contracts)
    world = World(spec)
    truth = GroundTruth()
    producers: list[Producer] = []
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    manifest = manifest or settings.home_path / "manifests" / f"produce-{stamp}.json"
    for output in filter(None, (manifest, ground_truth)):
        require_writable(output)
    started, past_s = time.perf_counter(), 0.0
    with _opened(settings) as log, asked_to_stop() as stop:
        try:
            if span_ms:
                past = Producer(log, form="json" if entries == "json" else "block", block_events=block_events)
                producers.append(past)
                begun = time.perf_counter()
                try:
                    write_history(past, History(world, until_ms - span_ms, until_ms, faults), truth, stop)
                finally:
                    past_s = time.perf_counter() - begun
            if rate and not stop():
                present = Producer(
                    log,
                    form="block" if entries == "block" else "json",
                    block_events=block_events,
                    virtual=False,
                )
                producers.append(present)
                start_ms = int(time.time() * 1000)
                live = Live(world, start_ms, faults=faults, label_delay_ms=label_delay_ms)
                go_live(
                    present, live, truth, start_ms=start_ms, rate=rate, live_s=live_s, most=count, stop=stop
                )
        finally:
            _save(producers, manifest, truth, ground_truth)
    _report(producers, manifest, time.perf_counter() - started, past_s, as_json)


def write_history(
    producer: Producer,
    history: History,
    truth: GroundTruth | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> None:
    """Put a history on the log until `stop` says so, with a bar that shows how far its time has come.

    A chunk is sent on a thread of its own while the next one is drawn; they go out in order, one at a time.
    """
    days = max(1, round((history.until_ms - history.start_ms) / DAY_MS))
    with _progress("past, days") as progress, ThreadPoolExecutor(1, thread_name_prefix="sender") as sender:
        task = progress.add_task("past, days", total=days)
        sending: Future[None] | None = None
        for chunk in history.chunks():
            if sending is not None:
                sending.result()
            if stop():
                return
            sending = sender.submit(producer.send, chunk)
            if truth is not None:
                truth.add(chunk)
            if chunk.transactions.height:
                reached = (int(chunk.transactions["_virtual_ms"][-1]) - history.start_ms) / DAY_MS
                progress.update(task, completed=min(days, round(reached)))
        if sending is not None:
            sending.result()
        progress.update(task, completed=days)


def go_live(
    producer: Producer,
    live: Live,
    truth: GroundTruth | None = None,
    *,
    start_ms: int,
    rate: float,
    live_s: float = float("inf"),
    most: int = 0,
    stop: Callable[[], bool] = lambda: False,
) -> None:
    """Send live events at `rate` a second for `live_s` seconds, until `most` were sent (0: no limit) or `stop` says so."""
    begun, last_ms, sent = time.monotonic(), start_ms, 0
    with _progress("live events") as progress:
        task = progress.add_task("live events", total=most or None)
        while time.monotonic() - begun < live_s and (not most or sent < most) and not stop():
            now_ms = max(int(time.time() * 1000), last_ms + 1)
            due = int((time.monotonic() - begun + _TICK_S) * rate) - sent
            due = min(due, most - sent) if most else due
            if due > 0:
                chunk = live.step(last_ms, now_ms, due)
                producer.send(chunk)
                if truth is not None:
                    truth.add(chunk)
                sent += chunk.transactions.height
                last_ms = now_ms
                progress.update(task, completed=sent)
            time.sleep(_TICK_S)


@contextmanager
def _opened(settings: Settings) -> Iterator[Log]:
    log = open_log(settings)
    try:
        yield log
    finally:
        log.close()


def _progress(what: str) -> Progress:
    columns = [TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()]
    return Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty())


def _save(producers: list[Producer], manifest: Path, truth: GroundTruth, ground_truth: Path | None) -> None:
    if not producers:
        return
    whole = producers[0].manifest
    for producer in producers[1:]:
        whole.merge(producer.manifest)
    whole.save(manifest)
    if ground_truth is not None:
        truth.save(ground_truth)


def _report(producers: list[Producer], manifest: Path, seconds: float, past_s: float, as_json: bool) -> None:
    # The rate of live events is the one that was asked for; how fast a past was written is worth saying.
    past_per_s = round(_events(producers[0]) / past_s) if past_s else None
    total: dict[str, int] = {}
    for producer in producers:
        for name, value in asdict(producer.sent).items():
            total[name] = total.get(name, 0) + value
    if as_json:
        summary = {**total, "seconds": round(seconds, 3), "past_events_per_s": past_per_s}
        typer.echo(json.dumps({**summary, "manifest": str(manifest)}))
        return
    typer.echo(
        f"Sent {total['transactions']:,} transactions ({total['frauds']:,} of them fraud), {total['faults']:,} faulty events "
        f"and {total['labels']:,} labels in {total['entries']:,} entries, {seconds:.1f} s"
        + (f" (the past at {past_per_s:,} events/s)" if past_per_s else "")
        + f".\nManifest: {manifest}"
    )


def _events(producer: Producer) -> int:
    return producer.sent.transactions + producer.sent.faults + producer.sent.labels
