"""The number of shards is fixed when a stream is created: a setting that says otherwise has no effect, and is told so."""

from collections.abc import Iterable

from fraud_core.errors import LogError
from fraud_core.log.open import open_log
from fraud_core.log.protocol import Log
from fraud_core.platform.checks import Check
from fraud_core.settings import Settings

STREAMS = ("transactions", "labels", "decisions")


def shards_note(settings: Settings, log: Log, streams: Iterable[str] = STREAMS) -> str | None:
    """What is in force and what to do, where SPEARHEAD_SHARDS was set to a number that streams do not have; else None."""
    if "shards" not in settings.model_fields_set:
        return None
    counts = {stream: len(log.existing_shards(stream)) for stream in streams}
    others = {stream: count for stream, count in counts.items() if count not in (0, settings.shards)}
    if not others:
        return None
    held = ", ".join(f"{stream} has {count}" for stream, count in others.items())
    return (
        f"SPEARHEAD_SHARDS={settings.shards} has no effect: {held}, fixed when the stream was created, and goes on so. To divide it "
        "anew, stop its producers, ingest to the end (`spearhead verify`: nothing pending), go on under a new SPEARHEAD_NAMESPACE "
        "beside the same lake, and run `spearhead state rebuild`. Otherwise correct the setting."
    )


def check_shards(settings: Settings) -> Iterable[Check]:
    """The streams have as many shards as the settings ask for."""
    if "shards" not in settings.model_fields_set:
        return
    try:
        log = open_log(settings)
    except LogError:
        return  # what is wrong is said by the check of Redis
    try:
        note = shards_note(settings, log)
    finally:
        log.close()
    yield Check(
        "shards", note is None, note or f"{settings.shards} per stream", "See what it says.", required=False
    )
