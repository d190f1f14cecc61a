"""What the doctor and `spearhead status` ask about the log's readers."""

import time
from collections.abc import Iterable

from fraud_core.backlog.measure import Gauge, by_reader
from fraud_core.errors import LogError, SettingsError
from fraud_core.log import open_log
from fraud_core.platform.checks import Check
from fraud_core.platform.state import read_state
from fraud_core.settings import Settings

_LOOK_AGAIN_S = 5.0


def alarms(settings: Settings) -> list[str]:
    """What is wrong with readers; waits some seconds only where one may be standing still. Empty without a log."""
    try:
        log = open_log(settings)
    except (LogError, SettingsError):  # its port is still to be chosen
        return []
    try:
        gauge = Gauge(log, settings)
        rows = gauge.look()
        if any(row.oldest_age_s > settings.reader_stalled_s for row in rows):
            time.sleep(_LOOK_AGAIN_S)
            rows = gauge.look()
    except LogError:
        return []
    finally:
        log.close()
    found = [row.alarm for row in rows if row.alarm]
    return found + [
        f"{reader.reader} is {reader.events} events behind, which is {reader.level}: see `spearhead backlog`. "
        "If it does not get shorter, give it more cores or more runs (SPEARHEAD_INGEST_GROUPS)."
        for reader in by_reader(rows, settings)
        if reader.level != "ok" and not reader.alarms
    ]


def check_backlog(settings: Settings) -> Iterable[Check]:
    """No reader of the log stands still, and none is far behind."""
    found = alarms(settings)
    state = read_state(settings.home_path)
    # Without the platform nobody reads; then it is no fault, but worth knowing.
    runs = bool(settings.redis_url) or (state is not None and state.running)
    yield Check(
        "readers of the log", not found, "; ".join(found) or "none is stalled or far behind", required=runs
    )
