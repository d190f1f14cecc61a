"""The simulated world: a pure function of its specification, in which every day has random numbers of its own.

The invariant: what happens on a day depends on the specification and that day alone, so that histories of the same
world agree event by event wherever they overlap, whenever and by however many processes they are produced.
"""

import hashlib
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fraud_core.errors import SettingsError
from fraud_core.simulator.accounts import Accounts, build_accounts
from fraud_core.simulator.geography import Cities, cities
from fraud_core.simulator.merchants import FEWEST, Merchants, build_merchants

SCENARIOS: Final = (
    "card_testing",
    "account_takeover",
    "compromised_merchant",
    "atm_cashout",
    "friendly_fraud",
    "lost_card",
)
BORN_DAY: Final = 19_000
"""Day (since 1970-01-01) before which the cards of the world were issued."""


@dataclass(frozen=True)
class WorldSpec:
    """What a world is made of. Two equal specifications give the same world."""

    seed: int = 7
    accounts: int = 5_000
    merchants: int = 1_000
    events_per_day: float = 3_050.0
    fraud_share: float = 0.006
    scenarios: tuple[str, ...] = field(default=SCENARIOS)

    def __post_init__(self) -> None:
        for name, least in (("accounts", 50), ("merchants", FEWEST), ("seed", 0), ("events_per_day", 1)):
            if getattr(self, name) < least:
                raise SettingsError(
                    f"The simulated world needs {name} ≥ {least}; found {getattr(self, name)}. Choose a larger number."
                )
        if not 0 <= self.fraud_share <= 0.2:
            raise SettingsError(f"fraud_share was expected between 0 and 0.2; found {self.fraud_share}.")
        unknown = [name for name in self.scenarios if name not in SCENARIOS]
        if unknown:
            raise SettingsError(
                f"Unknown fraud scenario {', '.join(unknown)}. There are: {', '.join(SCENARIOS)} (--scenario NAME)."
            )

    @cached_property
    def mark(self) -> str:
        """A short mark of this specification, part of every id, so that two worlds never share one."""
        digest = hashlib.blake2b(repr(sorted(asdict(self).items())).encode(), digest_size=4).digest()
        return f"{self.seed:x}{int.from_bytes(digest[:3], 'big'):06x}"


class World:
    """Accounts and merchants of a specification, and the source of all its randomness."""

    def __init__(self, spec: WorldSpec) -> None:
        self.spec = spec
        rng = self.rng(0, "people and places")
        self.cities: Cities = cities()
        self.merchants: Merchants = build_merchants(rng, spec.merchants, self.cities)
        self.accounts: Accounts = build_accounts(rng, spec.accounts, self.cities, self.merchants, BORN_DAY)

    def rng(self, number: int, purpose: str) -> np.random.Generator:
        """The random numbers of one purpose on one day (or in one slot of days)."""
        word = int.from_bytes(hashlib.blake2b(purpose.encode(), digest_size=8).digest(), "big")
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence([self.spec.seed, word, number])))

    def code(self, kind: int, *parts: NDArray[np.int64]) -> NDArray[np.uint64]:
        """A 63-bit code of these numbers that shows nothing of them (a device, an address); splitmix64."""
        if not len(parts[0]):
            return np.empty(0, dtype=np.uint64)
        state = np.full(len(parts[0]), self.spec.seed * 0x1F123BB5 + kind, dtype=np.uint64)
        for part in parts:
            state = state + part.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
            state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            state = state ^ (state >> np.uint64(31))
        return state >> np.uint64(1)
