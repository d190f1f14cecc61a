"""The countries and cities of the simulated world: where people live, shop and travel, and what they pay with."""

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fraud_core.simulator.draws import Weighted

BASE_CURRENCY: Final = "EUR"
EARTH_RADIUS_KM: Final = 6371.0


@dataclass(frozen=True)
class Country:
    """A country with one currency (`rate` units to the euro), one clock and its cities (name, latitude, longitude)."""

    code: str
    currency: str
    rate: float
    clock_h: int
    residents: float
    cities: tuple[tuple[str, float, float], ...]


COUNTRIES: Final = (
    Country("DE", "EUR", 1.0, 1, 24, (
        ("Berlin", 52.52, 13.40), ("Hamburg", 53.55, 9.99), ("Munich", 48.14, 11.58),
        ("Cologne", 50.94, 6.96), ("Leipzig", 51.34, 12.37))),
    Country("FR", "EUR", 1.0, 1, 18, (
        ("Paris", 48.86, 2.35), ("Lyon", 45.76, 4.84), ("Marseille", 43.30, 5.37), ("Lille", 50.63, 3.07))),
    Country("NL", "EUR", 1.0, 1, 11, (("Amsterdam", 52.37, 4.90), ("Rotterdam", 51.92, 4.48), ("Utrecht", 52.09, 5.12))),
    Country("BE", "EUR", 1.0, 1, 6, (("Brussels", 50.85, 4.35), ("Antwerp", 51.22, 4.40))),
    Country("AT", "EUR", 1.0, 1, 6, (("Vienna", 48.21, 16.37), ("Graz", 47.07, 15.44))),
    Country("ES", "EUR", 1.0, 1, 10, (("Madrid", 40.42, -3.70), ("Barcelona", 41.39, 2.17), ("Valencia", 39.47, -0.38))),
    Country("IT", "EUR", 1.0, 1, 9, (("Milan", 45.46, 9.19), ("Rome", 41.90, 12.50), ("Turin", 45.07, 7.69))),
    Country("PT", "EUR", 1.0, 0, 3, (("Lisbon", 38.72, -9.14),)),
    Country("GB", "GBP", 0.85, 0, 6, (("London", 51.51, -0.13), ("Manchester", 53.48, -2.24))),
    Country("CH", "CHF", 0.95, 1, 3, (("Zurich", 47.37, 8.54),)),
    Country("SE", "SEK", 11.3, 1, 2, (("Stockholm", 59.33, 18.07),)),
    Country("PL", "PLN", 4.3, 1, 2, (("Warsaw", 52.23, 21.01),)),
    Country("US", "USD", 1.08, -5, 0.6, (("New York", 40.71, -74.01), ("Miami", 25.76, -80.19))),
    Country("TR", "TRY", 36.0, 3, 0.4, (("Istanbul", 41.01, 28.98), ("Antalya", 36.90, 30.70))),
    Country("AE", "AED", 4.0, 4, 0.2, (("Dubai", 25.20, 55.27),)),
    Country("TH", "THB", 38.0, 7, 0.1, (("Bangkok", 13.76, 100.50),)),
    Country("BR", "BRL", 5.9, -3, 0.1, (("São Paulo", -23.55, -46.63),)),
)  # fmt: skip


@dataclass(frozen=True)
class Cities:
    """All cities as arrays, one item per city; `residents` and `visitors` are shares that add up to 1."""

    country: NDArray[np.int16]
    latitude: NDArray[np.float64]
    longitude: NDArray[np.float64]
    clock_ms: NDArray[np.int64]
    residents: NDArray[np.float64]
    visitors: NDArray[np.float64]

    @cached_property
    def visited(self) -> Weighted:
        """Draws cities as travellers, thieves and coarse network addresses come to them."""
        return Weighted(self.visitors)

    def __len__(self) -> int:
        return len(self.country)


def cities() -> Cities:
    """The cities of all countries; the first of a country is its largest, and visitors spread wider than residents."""
    country, latitude, longitude, clock, residents = [], [], [], [], []
    for index, item in enumerate(COUNTRIES):
        sizes = 1.0 / np.arange(1, len(item.cities) + 1)
        for size, (_, lat, lon) in zip(sizes / sizes.sum(), item.cities, strict=True):
            country.append(index)
            latitude.append(lat)
            longitude.append(lon)
            clock.append(item.clock_h * 3_600_000)
            residents.append(item.residents * size)
    weights = np.array(residents)
    visitors = np.sqrt(weights) + 0.3
    return Cities(
        country=np.array(country, dtype=np.int16),
        latitude=np.array(latitude),
        longitude=np.array(longitude),
        clock_ms=np.array(clock, dtype=np.int64),
        residents=weights / weights.sum(),
        visitors=visitors / visitors.sum(),
    )


RATES: Final = np.array([item.rate for item in COUNTRIES])


def distance_km(
    latitude: NDArray[np.float64],
    longitude: NDArray[np.float64],
    other_latitude: NDArray[np.float64],
    other_longitude: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Great-circle distance of points given in degrees (haversine)."""
    lat_a, lat_b = np.radians(latitude), np.radians(other_latitude)
    half = np.sin((lat_b - lat_a) / 2) ** 2
    half = half + np.cos(lat_a) * np.cos(lat_b) * np.sin(np.radians(other_longitude - longitude) / 2) ** 2
    km: NDArray[np.float64] = 2 * EARTH_RADIUS_KM * np.arcsin(np.sqrt(np.clip(half, 0, 1)))
    return km
