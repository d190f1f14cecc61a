"""One run of Great Expectations over rows in memory; nothing is written and no value comes back, only counts."""

import contextlib
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import polars as pl

from fraud_assets.quality.suite import Promise, as_pandas, promises
from fraud_core.contracts import Contract

_ONE_AT_A_TIME = threading.Lock()
"""GX keeps its context in globals: one validation at a time in a process."""


@dataclass(frozen=True)
class Outcome:
    """What GX found for one promise: rows it looked at, and rows that break it; `error` where it could not tell."""

    evaluated: int
    violations: int
    error: str | None = None


def validate(contract: Contract, rows: pl.DataFrame) -> dict[str, Outcome]:
    """Judge typed rows with the suite derived from the contract. Reason code to outcome, in the suite's order."""
    suite = promises(contract)
    if rows.is_empty():
        return {each.code: Outcome(0, 0) for each in suite}
    with _ONE_AT_A_TIME, _quiet():
        results = _run(suite, as_pandas(contract, suite, rows))
    return {each.code: _outcome(result) for each, result in zip(suite, results, strict=True)}


def _run(suite: list[Promise], frame: Any) -> list[Any]:
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    batch = (
        context.data_sources.add_pandas("rows")
        .add_dataframe_asset("rows")
        .add_batch_definition_whole_dataframe("rows")
    )
    expectations = [
        getattr(gx.expectations, each.type)(**each.arguments, meta={"position": position})
        for position, each in enumerate(suite)
    ]
    definition = gx.ValidationDefinition(
        name="contract",
        data=batch,
        suite=context.suites.add(gx.ExpectationSuite(name="contract", expectations=expectations)),
    )
    context.validation_definitions.add(definition)
    result = definition.run(
        batch_parameters={"dataframe": frame},
        result_format={"result_format": "BASIC", "partial_unexpected_count": 0},
    )
    return sorted(result.results, key=lambda each: each.expectation_config.meta["position"])


def _outcome(result: Any) -> Outcome:
    found = result.result
    if "unexpected_count" not in found:
        text = str(result.exception_info)[:300]
        return Outcome(0, 0, text)
    return Outcome(
        int(found["element_count"]) - int(found.get("missing_count") or 0), int(found["unexpected_count"])
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """GX's own deprecations are not the reader's concern."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
