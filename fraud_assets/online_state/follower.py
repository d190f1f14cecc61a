"""What reaches the log and the lake while a rebuild works: taken into its history, and the entities concerned written again."""

from typing import Final

import polars as pl

from fraud_assets.lake import Lake, read_labels, read_transactions
from fraud_assets.online_state.build import OnStep
from fraud_assets.online_state.history import LiveHistory
from fraud_assets.online_state.labels import Ends, held_ends
from fraud_assets.online_state.lease import Lease
from fraud_assets.online_state.plan import RebuildPlan
from fraud_assets.online_state.tail import Tail
from fraud_assets.online_state.writing import EpochWriter
from fraud_core.contracts import Contracts
from fraud_core.errors import StateError
from fraud_core.features import up_to

TAIL_ROWS: Final = 20_000
CAUGHT_UP_ROWS: Final = 500
"""A round of following the log that finds fewer new decisions than this is near enough to its end for the fence."""
ROUNDS: Final = 50


class Follower:
    """Follows the decisions of one rebuild."""

    def __init__(
        self, history: LiveHistory, writer: EpochWriter, tail: Tail, lease: Lease, on_step: OnStep
    ) -> None:
        self.history, self.tail = history, tail
        self._writer, self._lease, self._on_step = writer, lease, on_step
        self.followed = 0
        """Decisions that the lake did not hold yet."""

    def catch_up(self) -> None:
        """Fold the decisions that the log holds, until few are new. Raises StateError when they come too fast."""
        for turn in range(ROUNDS):
            found = self.drain()
            self._on_step("follow the log", turn + 1, ROUNDS)
            self._lease.check()
            if found is None or found < CAUGHT_UP_ROWS:
                return
        raise StateError(
            f"The rebuild was expected to catch up with the log within {ROUNDS} rounds and did not: decisions come faster than it "
            "folds them. The old state stands. Run it when there is less traffic, or without --rate."
        )

    def drain(self) -> int | None:
        """Fold what the log holds next; how many payments that were, None at its end."""
        rows = self.tail.read(TAIL_ROWS)
        if rows is None:
            return None
        self.followed += rows.height
        self._writer.write_touched(self.history.add(rows))
        return rows.height

    def take_labels(self, plan: RebuildPlan, lake: Lake, contracts: Contracts) -> Ends:
        """Labels that reached the lake since it was read; returns up to where all are known now."""
        labelled = held_ends(lake, "labels")
        if labelled != plan.labelled:
            event_id = contracts.transactions.event_id
            came = lake.scan("labels").filter(~up_to(plan.labelled))
            ids = came.select(pl.col(contracts.labels.event_id).alias(event_id)).unique()
            labels = read_labels(lake, contracts).join(ids, on=event_id, how="semi").collect()
            payments = read_transactions(lake, contracts.transactions).filter(up_to(plan.ends))
            concerned = payments.join(ids, on=event_id, how="semi").collect()
            self._writer.write_touched(self.history.add_labels(labels, concerned))
        return labelled
