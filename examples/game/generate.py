"""Makes a file of rounds of an online game, some of them played with a cheat: the data of this example.

    python examples/game/generate.py rounds.parquet

Players differ in skill; many try a cheat for some days, mostly in ranked rounds, often on a machine that cheaters share.
The cheat shows in no single column: good players hit as often, and cheaters do not always cheat.
"""

import argparse
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

MODES = np.array(["ranked", "casual", "tournament"])
WEAPONS = np.array(["rifle", "pistol", "shotgun", "sniper"])
PLAYERS, SQUAD, SHARED_MACHINES = 300, 6, 8
FIRST_DAY = datetime(2026, 3, 1, tzinfo=UTC)


def rounds(count: int, days: int, seed: int) -> pl.DataFrame:
    """`count` rounds over `days` days, in the order in which they ended; the same for the same seed."""
    rng = np.random.default_rng(seed)
    skill = rng.normal(0, 1, PLAYERS)
    cheater = rng.random(PLAYERS) < 0.7
    begins = np.where(cheater, rng.uniform(0, days, PLAYERS), np.inf)
    ends = begins + rng.uniform(4, 10, PLAYERS)  # until they are caught, or tired of it
    activity = rng.gamma(2.0, 1.0, PLAYERS)
    player = rng.choice(PLAYERS, count, p=activity / activity.sum())
    evening = rng.normal(20, 3.5, count) % 24  # a stroke of luck keeps some at night
    day = rng.integers(0, days, count)
    minute = day * 1440 + (evening * 60).astype(np.int64)
    order = np.argsort(minute, kind="stable")
    player, minute = player[order], minute[order]

    mode = rng.choice(3, count, p=[0.5, 0.45, 0.05])
    tempted = (minute / 1440 > begins[player]) & (minute / 1440 < ends[player])
    cheats = tempted & (rng.random(count) < np.where(mode == 1, 0.4, 0.9))
    shots = rng.poisson(180, count)
    share = 1 / (1 + np.exp(1.3 - 0.45 * skill[player] - rng.normal(0, 0.25, count) - 0.5 * cheats))
    hits = rng.binomial(shots, share)
    head_hits = rng.binomial(hits, np.clip(0.15 + 0.03 * cheats + rng.normal(0, 0.04, count), 0.01, 0.9))
    reaction = rng.normal(320 - 25 * skill[player], 35, count) - 40 * cheats
    machine = np.array([f"pc-{number:04x}" for number in range(PLAYERS)])[player]
    shared = cheats & (rng.random(count) < 0.25)
    machine = np.where(shared, np.array([f"pc-s{number % SHARED_MACHINES}" for number in player]), machine)
    console = (player % 9 == 0) & ~shared
    return pl.DataFrame(
        {
            "round": [f"r-{seed:03d}-{number:06d}" for number in range(count)],
            "minute": [FIRST_DAY + timedelta(minutes=int(at)) for at in minute],
            "player": [f"p{number:04d}" for number in player],
            "machine": [None if console[row] else str(machine[row]) for row in range(count)],
            "squad": [f"s{number // SQUAD:03d}" for number in player],
            "mode": MODES[mode],
            "weapon": WEAPONS[rng.choice(4, count, p=[0.5, 0.2, 0.15, 0.15])],
            "shots": shots,
            "hits": hits,
            "head_hits": head_hits,
            "reaction_ms": [
                None if seen < 0.02 else round(float(value), 1)
                for seen, value in zip(rng.random(count), np.clip(reaction, 60, None), strict=True)
            ],
            "first_played_on": [
                (FIRST_DAY - timedelta(days=int(number * 7 % 700))).date() for number in player
            ],
            "cheated": cheats,
        }
    )


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, help="where to write (parquet)")
    parser.add_argument("--rounds", type=int, default=6000)
    parser.add_argument("--days", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    frame = rounds(given.rounds, given.days, given.seed)
    frame.write_parquet(given.file)
    print(f"{frame.height:,} rounds, {frame['cheated'].sum():,} of them played with a cheat: {given.file}")


if __name__ == "__main__":
    main()
