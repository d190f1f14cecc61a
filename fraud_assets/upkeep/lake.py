"""One pass over the lake: what is too old leaves, then every table is compacted, vacuumed and its log cut."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from deltalake.exceptions import CommitFailedError, DeltaError

from fraud_assets.features import FEATURES
from fraud_assets.features.snapshots import KEPT_FOR, SNAPSHOT_PARTS, SNAPSHOTS
from fraud_assets.ingestion.retired import join_old_ranges, retire_old_days
from fraud_assets.lake import DECISIONS, LEDGER, STREAMS, Lake, quarantine_of
from fraud_assets.lake.files import table_names
from fraud_assets.lake.schemas import TRANSACTIONS
from fraud_assets.lake.upkeep import TableUpkeep, keep_up
from fraud_assets.quality.results import DATA_QUALITY, record_results
from fraud_assets.upkeep.training_sets import TRAINING_SETS, remove_unused
from fraud_core.contracts import Contracts, load_contracts
from fraud_core.errors import LakeError, SettingsError
from fraud_core.features import load_features
from fraud_core.settings import Settings

_LOG = logging.getLogger(__name__)


@dataclass
class LakeUpkeep:
    """What a pass did, table by table."""

    tables: list[TableUpkeep] = field(default_factory=list)
    retired: dict[str, int] = field(default_factory=dict)
    """Rows that retention removed, by table; tables without any are absent."""
    ledger_rows: tuple[int, int] | None = None
    """Rows of the ledger before and after old ones were joined."""
    training_sets_removed: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """Tables that could not be kept up, and why; the others were."""


def keep_lake(
    settings: Settings,
    lake: Lake,
    tables: Sequence[str] | None = None,
    *,
    dry_run: bool = False,
    report: Callable[[TableUpkeep], None] = lambda _: None,
) -> LakeUpkeep:
    """Keep up the named tables, or all. `dry_run` removes and writes nothing. Raises LakeError for a name that is no table."""
    names = table_names(lake)
    unknown = sorted(set(tables or ()) - set(names))
    if unknown:
        raise LakeError(
            f"There is no table {', '.join(unknown)} in {lake.uri}; it holds {', '.join(names) or 'none yet'}."
        )
    chosen = list(tables) if tables else names
    result = LakeUpkeep()
    if not dry_run:
        _retain(settings, lake, chosen, result)
    for name in chosen:
        if name in result.training_sets_removed:
            continue
        with _noted(result):
            done = keep_up(lake, name, vacuum_after_h=settings.vacuum_after_h, dry_run=dry_run)
            result.tables.append(done)
            report(done)
    return result


@contextmanager
def _noted(result: LakeUpkeep) -> Iterator[None]:
    try:
        yield
    except LakeError as error:
        _LOG.error("%s", error)
        result.problems.append(str(error))


def _retain(settings: Settings, lake: Lake, names: Sequence[str], result: LakeUpkeep) -> None:
    """What one table refuses is its problem, and the others' retention goes on."""
    contracts = load_contracts(settings.contracts)
    derived = (
        LEDGER in names or DATA_QUALITY in names or any(quarantine_of(each) in names for each in STREAMS)
    )
    if derived:
        before = len(result.problems)
        with _noted(result):
            record_results(lake)  # they are derived from what is about to go
        if len(result.problems) > before:
            return
    _retire(settings, lake, names, contracts, result)
    if settings.retain_transactions_days and FEATURES in names:
        _remove(lake, FEATURES, "event_date", settings.retain_transactions_days, result)
    for name in (SNAPSHOTS, SNAPSHOT_PARTS):
        if name in names:
            _remove(lake, name, "written_at", KEPT_FOR.days, result)
    if settings.retain_quality_days and DATA_QUALITY in names:
        _remove(lake, DATA_QUALITY, "judged_at", settings.retain_quality_days, result)
    if settings.retain_ledger_days and LEDGER in names:
        with _noted(result):
            result.ledger_rows = join_old_ranges(lake, settings.retain_ledger_days)
    if settings.retain_training_sets_days and any(name.startswith(f"{TRAINING_SETS}/") for name in names):
        keep_for = timedelta(days=settings.retain_training_sets_days)
        with _noted(result):
            result.training_sets_removed = [
                name for name in remove_unused(lake, settings.bundles_path, keep_for) if name in names
            ]


def _retire(
    settings: Settings, lake: Lake, names: Sequence[str], contracts: Contracts, result: LakeUpkeep
) -> None:
    """Remove the old days of what the proof of ingestion counts, table by table."""
    days = {
        TRANSACTIONS: _checked_days(settings, contracts),
        DECISIONS: settings.retain_decisions_days,
    }
    for name, keep in days.items():
        if keep and name in names:
            event_id = contracts.for_stream(name).event_id
            with _noted(result):
                gone = retire_old_days(lake, name, day="event_date", event_id=event_id, keep_days=keep)
                result.retired |= {name: gone} if gone else {}
    for name in map(quarantine_of, STREAMS):
        if settings.retain_quarantine_days and name in names:
            with _noted(result):
                gone = retire_old_days(
                    lake,
                    name,
                    day="quarantine_date",
                    event_id="event_id",
                    keep_days=settings.retain_quarantine_days,
                    aged_by="judged_at",
                )
                result.retired |= {name: gone} if gone else {}


def _checked_days(settings: Settings, contracts: Contracts) -> int:
    """Days to keep transactions for, which must be as long as features look back."""
    days = settings.retain_transactions_days
    if days:
        features = load_features(contracts.features_path, contracts)
        needed = features.horizon.days + 1
        if days < needed:
            raise SettingsError(
                f"SPEARHEAD_RETAIN_TRANSACTIONS_DAYS was expected to be at least {needed}, as far as the features look back, "
                f"or 0 for ever; it is {days}. Nothing was removed."
            )
    return days


def _remove(lake: Lake, name: str, column: str, days: int, result: LakeUpkeep) -> None:
    """Remove rows that nothing counts: they can be derived again, or are a mere history."""
    cutoff = datetime.now(UTC) - timedelta(days=days)
    value = cutoff.date().isoformat() if column == "event_date" else cutoff.isoformat()
    try:
        gone = int(lake.table(name).delete(f"{column} < '{value}'")["num_deleted_rows"])
    except CommitFailedError:
        return  # somebody writes there right now; the next pass does it
    except (LakeError, DeltaError, OSError) as error:
        problem = (
            f"The rows of {name} with {column} before {value} could not be removed: {error}. They are as they were; check the "
            "health of the lake and run it again."
        )
        _LOG.error("%s", problem)
        result.problems.append(problem)
        return
    result.retired |= {name: gone} if gone else {}
