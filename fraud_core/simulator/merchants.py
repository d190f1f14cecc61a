"""Merchants: what they sell, where, when they are open, and how popular they are.

Merchants are ordered by kind (shop, online, cash machine) and city, so that "some shop of this city, by popularity"
is one search in cumulated popularity.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fraud_core.simulator.draws import Weighted
from fraud_core.simulator.geography import Cities

SHOP, ONLINE, CASH = 0, 1, 2
FEWEST: Final = 150
"""Every city needs a shop and a cash machine."""

CASH_MCC: Final = "6011"
# code, typical euros, spread (of the logarithm), opens, closes, weight among shops, weight online
CATEGORIES: Final = (
    ("5411", 28, 0.75, 7, 22, 24, 3),  # groceries
    ("5812", 32, 0.60, 11, 24, 13, 0),  # restaurants
    ("5814", 9, 0.50, 7, 24, 10, 3),  # fast food
    ("5541", 48, 0.45, 0, 24, 7, 0),  # fuel
    ("5912", 17, 0.70, 8, 20, 6, 3),  # pharmacies
    ("5311", 55, 0.80, 9, 21, 5, 6),  # department stores
    ("5651", 52, 0.75, 9, 21, 8, 12),  # clothing
    ("5732", 140, 0.95, 9, 21, 4, 9),  # electronics
    ("4111", 5, 0.80, 0, 24, 8, 2),  # local transport
    ("5942", 18, 0.60, 9, 20, 3, 6),  # books
    ("7011", 130, 0.70, 0, 24, 3, 5),  # hotels
    ("4511", 190, 0.75, 0, 24, 0, 4),  # airlines
    ("5816", 4, 0.90, 0, 24, 0, 12),  # digital games
    ("5815", 7, 0.70, 0, 24, 0, 10),  # digital media
    ("5968", 11, 0.40, 0, 24, 0, 7),  # subscriptions
    ("5999", 36, 1.00, 9, 20, 6, 10),  # other retail
    ("5944", 150, 0.95, 10, 19, 2, 2),  # jewellery
    ("7995", 25, 1.00, 0, 24, 1, 3),  # betting
    ("4829", 110, 0.85, 9, 19, 1, 3),  # money transfer
    (CASH_MCC, 80, 0.60, 0, 24, 0, 0),  # cash
)
MCC: Final = tuple(item[0] for item in CATEGORIES)
LOG_EUROS: Final = np.log(np.array([item[1] for item in CATEGORIES], dtype=np.float64))
SPREAD: Final = np.array([item[2] for item in CATEGORIES])
_OPENS: Final = np.array([item[3] for item in CATEGORIES], dtype=np.int8)
_CLOSES: Final = np.array([item[4] for item in CATEGORIES], dtype=np.int8)
_AS_SHOP: Final = np.array([item[5] for item in CATEGORIES], dtype=np.float64)
_AS_ONLINE: Final = np.array([item[6] for item in CATEGORIES], dtype=np.float64)

DIGITAL: Final = tuple(MCC.index(code) for code in ("5816", "5815", "5968"))
RESALE: Final = tuple(MCC.index(code) for code in ("5732", "5944", "5311", "5999", "5651", "4829"))
"""What a thief buys: goods that are easily sold on, and transfers."""


@dataclass(frozen=True)
class Merchants:
    """One item per merchant, ordered by kind and city."""

    kind: NDArray[np.int8]
    city: NDArray[np.int16]
    category: NDArray[np.int8]
    latitude: NDArray[np.float64]
    longitude: NDArray[np.float64]
    opens: NDArray[np.int8]
    closes: NDArray[np.int8]
    popularity: NDArray[np.float64]
    soft: NDArray[np.bool_]
    """Lax or colluding merchants that thieves come back to."""
    _cumulated: NDArray[np.float64]
    _first: NDArray[np.int64]
    """First merchant of each (kind, city), and one item more at the end."""

    def __len__(self) -> int:
        return len(self.kind)

    def in_city(self, rng: np.random.Generator, kind: int, city: NDArray[np.int16]) -> NDArray[np.int32]:
        """A shop or cash machine of each city, by popularity."""
        cities = (len(self._first) - 1) // 3
        group = kind * cities + city.astype(np.int64)
        low = self._cumulated[self._first[group]]
        high = self._cumulated[self._first[group + 1]]
        point = low + (high - low) * rng.random(len(city))
        found = np.searchsorted(self._cumulated, point, side="right") - 1
        return np.clip(found, self._first[group], self._first[group + 1] - 1).astype(np.int32)

    @cached_property
    def online(self) -> "Popular":
        """The online merchants."""
        return self.popular(self.kind == ONLINE)

    def popular(self, chosen: NDArray[np.bool_]) -> "Popular":
        """The chosen ones of all merchants, to be drawn by popularity."""
        return Popular(np.flatnonzero(chosen).astype(np.int32), Weighted(self.popularity[chosen]))

    def is_open(self, merchant: NDArray[np.int32], local_hour: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether each merchant is open at this local hour."""
        open_now: NDArray[np.bool_] = (self.opens[merchant] <= local_hour) & (
            local_hour < self.closes[merchant]
        )
        return open_now


@dataclass(frozen=True)
class Popular:
    """Some merchants, drawn by popularity."""

    merchants: NDArray[np.int32]
    _weights: Weighted

    def draw(self, rng: np.random.Generator, size: int) -> NDArray[np.int32]:
        """`size` of them."""
        return self.merchants[self._weights.draw(rng, size)]


def build_merchants(rng: np.random.Generator, count: int, places: Cities) -> Merchants:
    """`count` merchants, at least FEWEST: about 5 % cash machines, a third online, the rest shops."""
    cash = max(len(places), count // 20)
    online = (count - cash) // 3
    shops = count - cash - online
    kind = np.repeat(np.array([SHOP, ONLINE, CASH], dtype=np.int8), [shops, online, cash])
    # One shop and one cash machine in every city; the others where people are, online ones anywhere.
    shares = 0.8 * places.residents + 0.2 * places.visitors
    everywhere = np.arange(len(places))
    city = np.concatenate([
        everywhere, rng.choice(len(places), shops - len(places), p=shares),
        rng.choice(len(places), online, p=shares),
        everywhere, rng.choice(len(places), cash - len(places), p=shares),
    ]).astype(np.int16)  # fmt: skip
    order = np.lexsort((city, kind))
    kind, city = kind[order], city[order]
    category = np.empty(count, dtype=np.int8)
    category[kind == SHOP] = rng.choice(len(MCC), shops, p=_AS_SHOP / _AS_SHOP.sum())
    category[kind == ONLINE] = rng.choice(len(MCC), online, p=_AS_ONLINE / _AS_ONLINE.sum())
    category[kind == CASH] = MCC.index(CASH_MCC)
    # Every category that a scenario looks for exists online.
    ensured = np.array(sorted({*DIGITAL, *RESALE}), dtype=np.int8)
    category[np.flatnonzero(kind == ONLINE)[: len(ensured)]] = ensured
    opens, closes = _OPENS[category], _CLOSES[category]
    always = (kind == ONLINE) | (rng.random(count) < 0.04)
    popularity = rng.lognormal(0.0, 1.0, count)
    popularity[kind == ONLINE] *= rng.pareto(2.5, online) + 0.5
    soft = (kind == ONLINE) & np.isin(category, [*RESALE, *DIGITAL]) & (rng.random(count) < 0.16)
    soft |= (kind == SHOP) & np.isin(category, RESALE) & (rng.random(count) < 0.06)
    soft[np.flatnonzero(kind == ONLINE)[: len(ensured)]] = True
    groups = kind.astype(np.int64) * len(places) + city
    return Merchants(
        kind=kind,
        city=city,
        category=category,
        latitude=np.round(places.latitude[city] + rng.normal(0, 0.05, count), 4),
        longitude=np.round(places.longitude[city] + rng.normal(0, 0.07, count), 4),
        opens=np.where(always, 0, opens).astype(np.int8),
        closes=np.where(always, 24, closes).astype(np.int8),
        popularity=popularity,
        soft=soft,
        _cumulated=np.concatenate([[0.0], np.cumsum(popularity)]),
        _first=np.searchsorted(groups, np.arange(3 * len(places) + 1)),
    )
