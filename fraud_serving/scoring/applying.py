"""Applying payments to the online state so that what became of each update is known, even where the first answer was lost."""

from collections.abc import Sequence
from typing import Any

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from fraud_core.errors import StateError
from fraud_core.features import Applied, AsyncOnlineState
from fraud_serving.scoring.unavailable import STATE_UNAVAILABLE, StoreUnavailable
from fraud_serving.scoring.watch import StateWatch


async def apply_each(
    state: AsyncOnlineState, watch: StateWatch, events: Sequence[tuple[dict[str, Any], str]]
) -> list[Applied | StateError]:
    """Apply events; asked a second time for those whose first answer was lost, for the update may have been made.

    An entity whose first update this is had no state, and what is evicted has none: that is looked into before it is believed.
    Raises StateError where none could be applied, RedisError.
    """
    try:
        applied = await state.apply_each(events)
    except StateError as error:
        if not _answer_lost(error):
            raise
        applied = await state.apply_each(events)
    else:  # of a cluster, one server of several may be out of reach
        again = [place for place, found in enumerate(applied) if _answer_lost(found)]
        if again:
            second = await state.apply_each([events[place] for place in again])
            for place, found in zip(again, second, strict=True):
                applied[place] = found
    if any(isinstance(found, Applied) and 1 in found.seqs.values() for found in applied):
        await watch.demand_unevicted()
    return applied


def refused_alone(found: Sequence[Applied | StateError]) -> list[Applied | StoreUnavailable]:
    """The answers of a batch, with an event's error as what is said of it. Raises the error when no event has an answer."""
    errors = [each for each in found if isinstance(each, StateError)]
    if errors and len(errors) == len(found):
        raise errors[0]
    return [
        StoreUnavailable(STATE_UNAVAILABLE, str(each)) if isinstance(each, StateError) else each
        for each in found
    ]


def _answer_lost(found: Applied | StateError) -> bool:
    return isinstance(found, StateError) and isinstance(
        found.__cause__, (RedisConnectionError, RedisTimeoutError)
    )
