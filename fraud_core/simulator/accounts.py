"""Account holders: where they live, how often and how much they spend, when, where, with which cards and devices."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fraud_core.simulator import rhythm
from fraud_core.simulator.geography import Cities
from fraud_core.simulator.merchants import SHOP, Merchants

LOCAL_FAVOURITES: Final = 8
ONLINE_FAVOURITES: Final = 6
MOST_CARDS: Final = 3


@dataclass(frozen=True)
class Accounts:
    """One item (or row) per account."""

    city: NDArray[np.int16]
    latitude: NDArray[np.float64]
    longitude: NDArray[np.float64]
    activity: NDArray[np.float64]
    """Relative number of payments; 1 on average."""
    rhythm: NDArray[np.int8]
    spending: NDArray[np.float64]
    """Shift of the logarithm of amounts."""
    online_share: NDArray[np.float64]
    cash_share: NDArray[np.float64]
    wallet: NDArray[np.bool_]
    """Pays with the phone at the till."""
    traveller: NDArray[np.float64]
    """Chance of a trip in 30 days."""
    disputes: NDArray[np.bool_]
    """Denies payments of their own now and then: friendly fraud."""
    cards: NDArray[np.int8]
    card_issued: NDArray[np.int32]
    """Per account and card: days since 1970-01-01."""
    local_favourites: NDArray[np.int32]
    online_favourites: NDArray[np.int32]
    desktop: NDArray[np.bool_]
    tablet: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.city)


def build_accounts(
    rng: np.random.Generator, count: int, places: Cities, merchants: Merchants, born_day: int
) -> Accounts:
    """`count` accounts whose cards were issued in the five years before `born_day`."""
    city = rng.choice(len(places), count, p=places.residents).astype(np.int16)
    activity = rng.lognormal(0.0, 0.85, count)
    local = merchants.in_city(rng, SHOP, np.repeat(city, LOCAL_FAVOURITES)).reshape(count, LOCAL_FAVOURITES)
    online = merchants.online.draw(rng, count * ONLINE_FAVOURITES).reshape(count, ONLINE_FAVOURITES)
    return Accounts(
        city=city,
        latitude=np.round(places.latitude[city] + rng.normal(0, 0.06, count), 4),
        longitude=np.round(places.longitude[city] + rng.normal(0, 0.09, count), 4),
        activity=activity / activity.mean(),
        rhythm=rng.choice(len(rhythm.SHARES), count, p=rhythm.SHARES).astype(np.int8),
        spending=rng.normal(0.0, 0.45, count),
        online_share=rng.beta(2.0, 4.0, count),
        cash_share=rng.beta(1.2, 18.0, count),
        wallet=rng.random(count) < 0.4,
        traveller=rng.beta(1.0, 4.0, count),
        disputes=rng.random(count) < 0.012,
        cards=rng.choice(np.array([1, 2, 3], dtype=np.int8), count, p=[0.68, 0.25, 0.07]),
        card_issued=(born_day - rng.integers(20, 5 * 365, (count, MOST_CARDS))).astype(np.int32),
        local_favourites=local,
        online_favourites=online,
        desktop=rng.random(count) < 0.6,
        tablet=rng.random(count) < 0.2,
    )
