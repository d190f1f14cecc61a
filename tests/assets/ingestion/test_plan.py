"""The plan is a pure function of what the tables have committed and where the log ends."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud_assets.ingestion.plan import Plan, next_plan
from fraud_core.errors import LakeError, LostRange

ORDER = ("quarantine_transactions", "transactions", "ledger")
LONG_ORDER = ("quarantine_decisions", "transactions", "decisions", "ledger")


def committed(*versions: int, order: tuple[str, ...] = ORDER) -> dict[str, int]:
    return dict(zip(order, versions, strict=True))


def test_an_empty_log_gives_no_plan() -> None:
    assert next_plan(committed(0, 0, 0), ORDER, 0) is None


def test_new_entries_are_judged_from_the_committed_end() -> None:
    assert next_plan(committed(7, 7, 7), ORDER, 12) == Plan(7, 12, ORDER, judged=False)


def test_a_range_that_quarantine_judged_is_finished_first_and_exactly() -> None:
    assert next_plan(committed(9, 7, 7), ORDER, 12) == Plan(7, 9, ORDER[1:], judged=True)
    assert next_plan(committed(9, 9, 7), ORDER, 12) == Plan(7, 9, ("ledger",), judged=True)


def test_each_main_table_of_a_stream_is_looked_at_on_its_own() -> None:
    versions = committed(9, 9, 7, 7, order=LONG_ORDER)
    assert next_plan(versions, LONG_ORDER, 12) == Plan(7, 9, ("decisions", "ledger"), judged=True)


@pytest.mark.parametrize("versions", [(7, 9, 7), (7, 7, 9), (9, 8, 7), (9, 7, 8), (8, 8, 9)])
def test_versions_that_contradict_the_order_of_commits_stop_everything(versions: tuple[int, ...]) -> None:
    with pytest.raises(LakeError, match="restore"):
        next_plan(committed(*versions), ORDER, 12)


def test_a_log_that_ends_before_what_was_committed_is_a_loss() -> None:
    with pytest.raises(LostRange, match="ends at 5"):
        next_plan(committed(7, 7, 7), ORDER, 5)


@given(steps=st.lists(st.tuples(st.integers(0, 50), st.integers(0, len(LONG_ORDER))), max_size=40))
def test_however_often_commits_stop_every_offset_reaches_every_table_once(
    steps: list[tuple[int, int]],
) -> None:
    """Runs that die after any number of commits, over a log that grows: the ranges of each table join."""
    tables: dict[str, list[int]] = {name: [0] for name in LONG_ORDER}
    log_end = 0
    for grown, commits in [*steps, (0, 9), (1, 9)]:
        log_end += grown
        plan = next_plan({name: ends[-1] for name, ends in tables.items()}, LONG_ORDER, log_end)
        for name in plan.pending[:commits] if plan else ():
            assert tables[name][-1] == plan.start
            tables[name].append(plan.end)
    assert {tuple(ends) for ends in tables.values()} == {tuple(tables["ledger"])}
    assert tables["ledger"][-1] == log_end
