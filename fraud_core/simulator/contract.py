"""Whether a contracts folder describes what the simulator produces: the default payments contract, or one close to it."""

from pathlib import Path

import polars as pl

from fraud_core.contracts import load_contracts
from fraud_core.errors import ContractError
from fraud_core.simulator.history import History
from fraud_core.simulator.rhythm import DAY_MS
from fraud_core.simulator.world import World, WorldSpec


def simulated_columns() -> dict[str, pl.DataType]:
    """Names and types of the simulated transactions."""
    start_ms = 20_000 * DAY_MS
    world = World(WorldSpec(accounts=50, merchants=150, events_per_day=50))
    rows = next(History(world, start_ms, start_ms + DAY_MS).chunks()).transactions
    return {name: dtype for name, dtype in rows.schema.items() if not name.startswith("_")}


def require_simulated_contract(folder: Path) -> None:
    """Raise ContractError when the folder's transactions are not the simulator's."""
    contract = load_contracts(folder).transactions
    ours = simulated_columns()
    theirs = contract.polars_schema()
    unknown = [name for name in ours if name not in theirs]
    missing = [item.name for item in contract.fields if item.required and item.name not in ours]
    other = [name for name, dtype in theirs.items() if name in ours and ours[name] != dtype]
    if unknown or missing or other:
        raise ContractError(
            f"The simulator produces card payments as the packaged contract describes them; the one in {folder} differs: "
            f"fields it does not know: {', '.join(unknown) or 'none'}; fields it demands besides: "
            f"{', '.join(missing) or 'none'}; of another type: {', '.join(other) or 'none'}. "
            "For data of your own use `spearhead replay FILE`."
        )
