"""What a rebuild set out to do and how far it came, kept in Redis beside the epoch: whoever takes over goes on from it.

Losing it costs a fresh start, never a wrong state: nothing reads an epoch before the flip.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from fraud_assets.online_state.labels import Ends
from fraud_core.log import Shard

_LIFE_S: Final = 86_400
"""A rebuild that nobody went on with for a day is begun anew."""


@dataclass(frozen=True)
class RebuildPlan:
    """One rebuild: which epoch, of which declaration, from what."""

    epoch: int
    replaces: int
    """The epoch that it takes the place of; 0 when there was none."""
    state_hash: str
    ends: Ends
    """What of the lake it folds first, former lives of the log included."""
    goes_on: Ends
    """Of these, where the present log goes on."""
    labelled: Ends
    """Labels that the lake held before it was read."""
    read_from: datetime
    parts: int
    """Into how many parts each entity kind is cut."""
    began_ms: int
    reason: str
    cut_by: str = ""
    """What tells which part an entity belongs to, see shelf.CUT_BY."""

    def to_json(self) -> str:
        """As text."""
        return json.dumps(
            self.__dict__
            | {name: _named(getattr(self, name)) for name in ("ends", "goes_on", "labelled")}
            | {"read_from": self.read_from.isoformat()}
        )

    @classmethod
    def from_json(cls, text: str | bytes) -> "RebuildPlan":
        """What `to_json` wrote."""
        found = json.loads(text)
        for name in ("ends", "goes_on", "labelled"):
            found[name] = {Shard.of(app_id): end for app_id, end in found[name].items()}
        found["read_from"] = datetime.fromisoformat(found["read_from"])
        return cls(**found)


def _named(ends: Ends) -> dict[str, int]:
    return {shard.app_id: end for shard, end in ends.items()}


class PlanStore:
    """The plan under way and its finished parts, in the slot of the epoch's key."""

    def __init__(self, client: Any, epoch_key: str) -> None:
        self._client = client
        self._plan, self._parts = f"{{{epoch_key}}}:rebuild", f"{{{epoch_key}}}:rebuild_parts"

    def begin(self, plan: RebuildPlan) -> None:
        """Put a new plan in the place of any other."""
        self._client.delete(self._parts)
        self._client.hset(self._plan, mapping={"plan": plan.to_json(), "phase": "fold", "at_ms": _now_ms()})
        self._client.expire(self._plan, _LIFE_S)

    def load(self) -> RebuildPlan | None:
        """The plan that was begun and not finished."""
        found = self._client.hget(self._plan, "plan")
        return RebuildPlan.from_json(found) if found else None

    def phase(self, name: str) -> None:
        """Say what is being done."""
        self._client.hset(self._plan, mapping={"phase": name, "at_ms": _now_ms()})

    def part_done(self, name: str) -> None:
        """Remember that a part is written."""
        self._client.sadd(self._parts, name)
        self._client.expire(self._parts, _LIFE_S)

    def done(self) -> set[str]:
        """Names of the parts that are written."""
        return {name.decode() for name in self._client.smembers(self._parts)}

    def look(self) -> Mapping[str, Any] | None:
        """For people: the plan under way, its phase and parts."""
        found = self._client.hgetall(self._plan)
        if b"plan" not in found:
            return None
        plan = RebuildPlan.from_json(found[b"plan"])
        return {
            "epoch": plan.epoch,
            "phase": found.get(b"phase", b"").decode(),
            "parts_done": int(self._client.scard(self._parts)),
            "parts": plan.parts,
            "began_ms": plan.began_ms,
            "last_sign_ms": int(found.get(b"at_ms", 0)),
            "reason": plan.reason,
        }

    def finish(self) -> None:
        """Nothing is left to do."""
        self._client.delete(self._plan, self._parts)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
