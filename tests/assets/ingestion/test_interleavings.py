"""The protocol under fire, on the real code, a real log and real Delta tables.

Runs die after any step; at any step another run, perhaps with another contract, does as many plans as it likes; the log
grows all the while. A run is nested in another's step, so that every order of their commits can come about.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from fraud_assets.ingestion import create_tables, verify
from fraud_assets.ingestion.commit import ShardIngest
from fraud_assets.ingestion.sealing import Seal
from fraud_assets.lake import Lake, open_lake
from fraud_core.contracts import Contracts, load_contracts
from fraud_core.errors import CommitRefused
from fraud_core.log import Log, Manifest, json_entry, open_log
from fraud_core.settings import Settings

MakeEvent = Callable[..., bytes]


class Killed(Exception):
    """Stands for SIGKILL: nothing of the run goes on."""


MakeDrill = Callable[[int, Settings], "Drill"]


class Drill:
    """One history: a log that grows, and runs that meet and die, driven by one source of randomness."""

    def __init__(
        self, random: Random, lake: Lake, log: Log, contracts: list[Contracts], make: list[MakeEvent]
    ) -> None:
        self.random, self.lake, self.log, self.contracts, self.make = random, lake, log, contracts, make
        self.manifest = Manifest()
        self.kills = self.refused = self.nested = self.sent = 0

    def grow(self) -> None:
        for stream, make in zip(("transactions", "decisions"), self.make, strict=True):
            numbers = [self.random.randrange(self.sent + 5) for _ in range(self.random.randrange(6))]
            payloads = [make(number) for number in numbers]
            self.log.append(stream, [json_entry(payload) for payload in payloads])
            self.manifest.add(stream, [json.loads(payload)["transaction_id"] for payload in payloads])
            self.sent += len(numbers)

    def run(self, depth: int = 0) -> None:
        """A run: fresh memory, one of the contracts, some plans; dies where it dies."""
        contracts = self.random.choice(self.contracts)
        deadly = self.random.random() < 0.5

        def hit(_: str) -> None:
            if self.random.random() < 0.15:
                self.grow()
            if depth < 2 and self.random.random() < 0.15:
                self.nested += 1
                self.run(depth + 1)
            if deadly and self.random.random() < 0.2:
                self.kills += 1
                raise Killed

        stream = self.random.choice(["transactions", "decisions"])
        (shard,) = self.log.shards(stream)
        ingest = ShardIngest(self.lake, self.log, contracts, shard, window=9, seal=Seal(""), failpoint=hit)
        try:
            for _ in range(self.random.randrange(1, 4)):
                try:
                    ingest.step(self.log.end(shard), self.random.randrange(1, 12))
                except CommitRefused:
                    self.refused += 1
        except Killed:
            pass

    def finish(self) -> None:
        for stream in ("transactions", "decisions"):
            (shard,) = self.log.shards(stream)
            ingest = ShardIngest(
                self.lake,
                self.log,
                self.contracts[0],
                shard,
                window=9,
                seal=Seal(""),
                failpoint=lambda _: None,
            )
            while ingest.step(self.log.end(shard), 1000) is not None:
                pass


@pytest.fixture
def drills(settings: Settings, make_drill: MakeDrill) -> Iterator[Callable[[int], tuple[Drill, Settings]]]:
    """Drills on Redis, each with a log and a lake of its own."""
    made: list[Drill] = []

    def make(seed: int) -> tuple[Drill, Settings]:
        number = len(made)
        own = settings.changed(home=settings.home / str(number), namespace=f"drill{number}")
        made.append(make_drill(seed, own))
        return made[-1], own

    yield make
    for drill in made:
        drill.log.close()


@pytest.fixture
def make_drill(
    event: MakeEvent,
    decision: MakeEvent,
    contracts: Contracts,
    strict_contracts_folder: Path,
) -> MakeDrill:
    strict = load_contracts(strict_contracts_folder)

    def make(seed: int, own: Settings) -> Drill:
        lake = open_lake(own)
        create_tables(lake, contracts, ("transactions", "decisions"))
        random = Random(seed)
        amounts = lambda number: 400 + number % 200  # noqa: E731 (about half of them break the strict contract)
        makes = [
            lambda number: event(number, amount=amounts(number)),
            lambda number: decision(number, inner={"amount": amounts(number)}),
        ]
        return Drill(random, lake, open_log(own), [contracts, strict], makes)

    return make


@pytest.mark.valkey
@hypothesis_settings(
    max_examples=5,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(seed=st.integers(0, 2**32))
def test_no_order_of_deaths_and_meetings_loses_or_doubles_an_event(
    drills: Callable[[int], tuple[Drill, Settings]], seed: int, tmp_path: Path
) -> None:
    reconcile(*drills(seed), rounds=8, path=tmp_path / "manifest.json")


@pytest.mark.slow
@pytest.mark.kafka
def test_on_kafka_no_order_of_deaths_and_meetings_loses_or_doubles_an_event(
    kafka_settings: Settings, make_drill: MakeDrill, tmp_path: Path
) -> None:
    drill = make_drill(3, kafka_settings)
    reconcile(drill, kafka_settings, rounds=12, path=tmp_path / "manifest.json")
    drill.log.close()
    assert drill.kills > 2
    assert drill.nested > 0


@pytest.mark.valkey
@pytest.mark.slow
@pytest.mark.longest
@pytest.mark.timeout(1200)
def test_hundreds_of_deaths_and_meetings_lose_and_double_nothing(
    drills: Callable[[int], tuple[Drill, Settings]], tmp_path: Path
) -> None:
    kills = refused = nested = 0
    for seed in range(6):
        drill, settings = drills(seed)
        reconcile(drill, settings, rounds=25, path=tmp_path / "manifest.json")
        kills, refused, nested = kills + drill.kills, refused + drill.refused, nested + drill.nested
    assert kills > 200
    assert refused > 20
    assert nested > 100


def reconcile(drill: Drill, settings: Settings, *, rounds: int, path: Path) -> None:
    for _ in range(rounds):
        drill.grow()
        drill.run()
    drill.finish()
    drill.manifest.save(path)
    proof = verify(settings, path)
    assert proof.ok, proof.problems
    assert proof.pending == 0
    assert proof.events == drill.sent
