"""A contract in memory: fields with their rules, the roles they play, and what follows from them.

Everything outside this package asks for roles (`contract.event_id`), never for a field by a name it happens to know.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import polars as pl

from fraud_core.contracts.expression import Expression
from fraud_core.contracts.pattern import Pattern, portable

if TYPE_CHECKING:
    from fraud_core.contracts.event import EventCheck
    from fraud_core.contracts.rules import Check
    from fraud_core.contracts.scanner import Scanner
    from fraud_core.contracts.screen import Screen

FieldType = Literal["string", "integer", "number", "boolean", "timestamp", "date", "array", "object"]
Pii = Literal["none", "pseudonym", "personal"]

_POLARS: dict[str, pl.DataType] = {
    "string": pl.String(),
    "integer": pl.Int64(),
    "number": pl.Float64(),
    "boolean": pl.Boolean(),
    "timestamp": pl.Datetime("us", "UTC"),
    "date": pl.Date(),
    "object": pl.String(),
}


@dataclass(frozen=True)
class Field:
    """One field of an event and the rules on its value; a bound of a timestamp or date is in µs or days since 1970."""

    name: str
    type: FieldType
    required: bool = False
    unique: bool = False
    pattern: str | None = None
    minimum: float | None = None
    maximum: float | None = None
    min_length: int | None = None
    max_length: int | None = None
    enum: tuple[str | int, ...] = ()
    format: str | None = None
    item_type: Literal["string", "number"] | None = None
    pii: Pii = "none"
    refuse_luhn: bool = False
    future_tolerance_ms: int | None = None
    role: str | None = None
    entity: str | None = None
    classification: str | None = None
    description: str = ""
    examples: tuple[Any, ...] = ()

    @property
    def dtype(self) -> pl.DataType:
        """The column's type in frames and tables."""
        if self.type == "array":
            return pl.List(pl.String() if self.item_type == "string" else pl.Float32())
        return _POLARS[self.type]

    @cached_property
    def compiled_pattern(self) -> Pattern | None:
        """The pattern for both engines."""
        return None if self.pattern is None else portable(self.pattern)


@dataclass(frozen=True)
class Rule:
    """A rule across fields; it is broken where its expression is false, not where it is unknown."""

    name: str
    text: str
    description: str
    expression: Expression


@dataclass(frozen=True)
class Sla:
    """A promise about the service, such as latency 60 s."""

    name: str
    value: Any
    unit: str | None
    element: str | None
    description: str

    @property
    def duration(self) -> timedelta | None:
        """The value as a duration, where it has a unit of time."""
        from fraud_core.contracts.times import duration

        return None if self.unit is None else duration(f"{self.value}{self.unit}")


@dataclass(frozen=True, eq=False)
class Contract:
    """What one stream promises. Equal only to itself; read it once and pass it on."""

    name: str
    version: str
    description: str
    owner: str
    grain: str
    fields: tuple[Field, ...]
    rules: tuple[Rule, ...]
    slas: tuple[Sla, ...]
    key: tuple[str, ...]
    """The fields that identify an event: equal in all of them and in body is a duplicate, another body a violation."""
    maturity: timedelta | None
    path: Path

    @cached_property
    def by_name(self) -> Mapping[str, Field]:
        """The fields by name."""
        return {each.name: each for each in self.fields}

    @cached_property
    def roles(self) -> Mapping[str, str]:
        """Role to field name."""
        return {each.role: each.name for each in self.fields if each.role is not None}

    @property
    def event_id(self) -> str:
        """Field that identifies the event, or for labels the event they are about."""
        return self.roles["eventId"]

    @property
    def event_time(self) -> str:
        """Field with the time at which the event happened."""
        return self.roles["eventTime"]

    @cached_property
    def entities(self) -> dict[str, str]:
        """Entity to the field that holds its id, in the contract's order."""
        return {each.entity: each.name for each in self.fields if each.entity is not None}

    @property
    def amount(self) -> str | None:
        """Field by which amounts are added and compared: the base amount where currencies differ."""
        return self.roles.get("baseAmount") or self.roles.get("amount")

    @property
    def currency(self) -> str | None:
        """Field with the currency of the payment."""
        return self.roles.get("currency")

    @property
    def label(self) -> str | None:
        """Field of a labels contract that holds the verdict."""
        return self.roles.get("label")

    @property
    def reported_at(self) -> str | None:
        """Field of a labels contract that holds the time of the report."""
        return self.roles.get("reportedAt")

    @property
    def future_tolerance_ms(self) -> int:
        """How far the event time may lie ahead of the time at which the event became known."""
        return self.by_name[self.event_time].future_tolerance_ms or 0

    def sla(self, name: str) -> timedelta | None:
        """The promised duration of that name, such as `latency` or `frequency`."""
        return next((each.duration for each in self.slas if each.name == name), None)

    def polars_schema(self) -> dict[str, pl.DataType]:
        """Column to type, in the contract's order."""
        return {each.name: each.dtype for each in self.fields}

    def json_schema(self) -> dict[str, Any]:
        """JSON Schema 2020-12 of one event, with examples."""
        from fraud_core.contracts.request_schema import json_schema

        return json_schema(self)

    def example(self) -> dict[str, Any]:
        """One event made of the fields' first examples."""
        return {each.name: each.examples[0] for each in self.fields if each.examples}

    @cached_property
    def checks(self) -> "tuple[Check, ...]":
        """Every rule as a polars expression with its reason code, in the order in which reasons are given."""
        from fraud_core.contracts.rules import checks_of

        return checks_of(self)

    @cached_property
    def event_check(self) -> "EventCheck":
        """The compiled check of a single event."""
        from fraud_core.contracts.event import EventCheck

        return EventCheck(self)

    @cached_property
    def scanner(self) -> "Scanner":
        """The compiled scanner of this contract's JSON."""
        from fraud_core.contracts.scanner import Scanner

        return Scanner(self)

    @cached_property
    def screens(self) -> "tuple[Screen, ...]":
        """The coarse look at texts that comes before the checks of a large batch."""
        from fraud_core.contracts.screen import screens_of

        return screens_of(self)


@dataclass(frozen=True)
class Contracts:
    """The contracts of one folder."""

    folder: Path
    transactions: Contract
    labels: Contract
    decisions: Contract
    features_path: Path = field(kw_only=True)

    def for_stream(self, name: str) -> Contract:
        """The contract of a stream by its name. Raises ContractError where there is none."""
        from fraud_core.errors import ContractError

        try:
            return {"transactions": self.transactions, "labels": self.labels, "decisions": self.decisions}[
                name
            ]
        except KeyError:
            raise ContractError(
                f"Expected the stream transactions, labels or decisions, found {name!r}. Correct the name."
            ) from None
