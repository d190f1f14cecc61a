"""What an operator may ask of its declaration: typed arguments, checked against the contract, errors with lines."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fraud_core.features.inputs import hash_text
from fraud_core.features.plan import (
    EntityRule,
    Filter,
    Held,
    Input,
    InputKind,
    Layout,
    Node,
    Slot,
    SlotKind,
)
from fraud_core.features.rings import width_ms
from fraud_core.features.source import Value, nearest, spell_duration

if TYPE_CHECKING:
    from fraud_core.contracts import Contract, Field


@dataclass(frozen=True)
class Compiled:
    """What an operator makes of one declaration."""

    node: Node
    meaning: str
    """In words, for `explain`."""


Compile = Callable[["Ask"], Compiled]


@dataclass(frozen=True)
class Operator:
    """One word of the vocabulary. Raise `version` when the meaning changes: every hash that uses it changes too."""

    name: str
    version: int
    arguments: tuple[str, ...]
    compile: Compile
    summary: str


@dataclass
class Ask:
    """The arguments of one declaration."""

    source: Value
    contract: "Contract"
    rules: Mapping[str, EntityRule]
    known_nodes: Mapping[str, Node]
    filters: Mapping[str, Value]
    needed_fields: dict[str, None] = field(default_factory=dict)
    needed_features: dict[str, None] = field(default_factory=dict)

    def has(self, name: str) -> bool:
        return name in self._values

    @property
    def _values(self) -> dict[str, Value]:
        return self.source.mapping("the operator's arguments")

    def value(self, name: str) -> Value:
        if name not in self._values:
            self.source.fail(
                f"expected the argument {name!r}, found {sorted(self._values) or 'none'}; add it."
            )
        return self._values[name]

    def check_known(self, allowed: Iterable[str]) -> None:
        """Refuse arguments that the operator does not know."""
        for name, value in self._values.items():
            if name not in allowed:
                value.fail(f"unknown argument {name!r}: {nearest(name, allowed)}")

    # --- entities and windows

    def entity(self) -> EntityRule:
        value = self.value("entity")
        name = value.text("entity")
        if name not in self.rules:
            value.fail(f"unknown entity {name!r}: {nearest(name, self.rules)}")
        self.needed_fields.setdefault(self.rules[name].field)
        return self.rules[name]

    def listed_entity(self) -> EntityRule:
        """An entity whose events are remembered one by one; one kept in buckets is refused."""
        rule = self.entity()
        if rule.layout != Layout.LIST:
            self.value("entity").fail(
                f"this operator looks at single events, and {rule.name!r} keeps totals per bucket of time; declare it "
                f"with `layout: {Layout.LIST}`, or leave the feature out."
            )
        return rule

    def duration(self, name: str, rule: EntityRule | None = None) -> int:
        value = self.value(name)
        length = value.duration_ms(name)
        if rule and length > rule.horizon_ms:
            value.fail(
                f"{name} {spell_duration(length)} is longer than the history of {rule.name!r} "
                f"({spell_duration(rule.horizon_ms)}); shorten it or declare a longer history."
            )
        return length

    def lag(self, rule: EntityRule, window_ms: int) -> int:
        """Length of the time just before the event that a lagged window leaves out; 0 without one."""
        if not self.has("lag"):
            return 0
        lag = self.duration("lag", rule)
        if lag + window_ms > rule.horizon_ms:
            self.value("lag").fail(
                f"lag and window together ({spell_duration(lag + window_ms)}) are longer than the history of {rule.name!r} "
                f"({spell_duration(rule.horizon_ms)}); shorten one."
            )
        if rule.layout == Layout.BUCKETS and window_ms < 2 * width_ms(rule, window_ms + lag):
            self.value("lag").fail(
                f"window {spell_duration(window_ms)} is lost in the buckets of {rule.name!r}, which are "
                f"{spell_duration(width_ms(rule, window_ms + lag))} long so far back; shorten the lag, lengthen the "
                f"window, or declare `layout: {Layout.LIST}`."
            )
        return lag

    # --- fields

    def contract_field(self, value: Value, types: tuple[str, ...] = ()) -> "Field":
        """The field of the contract that `value` names."""
        name = value.text("a field")
        found = {item.name: item for item in self.contract.fields}
        if name not in found:
            value.fail(f"the contract {self.contract.name!r} has no field {name!r}: {nearest(name, found)}")
        if types and found[name].type not in types:
            value.fail(
                f"expected a field of type {' or '.join(types)}, found {name!r} of type {found[name].type!r}."
            )
        self.needed_fields.setdefault(name)
        return found[name]

    def number(self, name: str = "of") -> Input:
        """A numeric field; `unit` (default 1) is the step in which a field with decimals is counted."""
        field_ = self.contract_field(self.value(name), ("integer", "number"))
        scale = 1.0
        if self.has("unit"):
            unit = self.value("unit").number("unit")
            if not 1e-9 <= unit <= 1e9:
                self.value("unit").fail(f"unit must lie between 1e-9 and 1e9, found {unit}.")
            scale = 1.0 / unit
        elif field_.type == "number":
            self.value(name).fail(
                f"{field_.name!r} has decimals, and state holds whole numbers only; "
                "say in which steps it is counted, such as `unit: 0.01`."
            )
        return Input(InputKind.NUMBER, field_.name, scale)

    def summed(self) -> Input:
        """A numeric field that is added up or compared over events: amounts in one currency only."""
        of = self.number()
        declared = next(item for item in self.contract.fields if item.name == of.field)
        if declared.role == "amount" and self.contract.currency is not None:
            base = self.contract.amount
            advice = (
                f"use {base!r}"
                if base not in (None, of.field)
                else "give the contract a field of role baseAmount"
            )
            self.value("of").fail(
                f"{of.field!r} comes in several currencies (field {self.contract.currency!r}), which cannot be added; {advice}."
            )
        return of

    def hashed(self, name: str = "of") -> Input:
        """Any field, as a hash: for what is only ever compared."""
        return self.hashed_field(self.value(name))

    def hashed_field(self, value: Value) -> Input:
        field_ = self.contract_field(value, ("string", "integer", "boolean"))
        return Input(InputKind.FLAG if field_.type == "boolean" else InputKind.HASH, field_.name)

    def hash_only(self, name: str = "of") -> Input:
        """A field whose different values an entity's state remembers, by hash."""
        field_ = self.contract_field(self.value(name), ("string", "integer"))
        return Input(InputKind.HASH, field_.name)

    def place(self, name: str) -> tuple[Input, Input]:
        """Two fields with latitude and longitude in degrees, in that order."""
        pair = self.value(name).sequence(name)
        if len(pair) != 2:
            self.value(name).fail(f"{name} must name two fields: [latitude, longitude].")
        latitude, longitude = (self.contract_field(item, ("number",)).name for item in pair)
        return Input(InputKind.NUMBER, latitude, 1e6), Input(InputKind.NUMBER, longitude, 1e6)

    @property
    def event_time(self) -> Input:
        return Input(InputKind.TIME, self.contract.event_time)

    def past_only(self, where: Filter | None, lag_ms: int) -> bool:
        """Whether the event itself is left out of its window (`past: true`)."""
        if not self.has("past"):
            return False
        value = self.value("past")
        if not isinstance(value.value, bool):
            value.fail(f"past must be true or false, found {value.plain()!r}.")
        if value.value and (where or lag_ms):
            value.fail("past cannot stand beside where or lag; drop one of them.")
        return bool(value.value)

    # --- filters and other features

    def where(self) -> Filter | None:
        """The named filter of the declaration, or none."""
        if not self.has("where"):
            return None
        value = self.value("where")
        name = value.text("where")
        if name not in self.filters:
            value.fail(f"unknown filter {name!r}: {nearest(name, self.filters)}")
        clauses = []
        for field_name, accepted in self.filters[name].mapping(f"filter {name!r}").items():
            source = self.hashed_field(Value(accepted.path, accepted.line, field_name))
            declared = next(item for item in self.contract.fields if item.name == field_name)
            listed = accepted.value if isinstance(accepted.value, list) else [accepted]
            if not listed:
                accepted.fail(f"expected at least one value of {field_name!r}, found an empty list.")
            clauses.append((source, tuple(_filter_code(declared, source, item) for item in listed)))
        if not clauses:
            self.filters[name].fail(f"filter {name!r} must name at least one field and its values.")
        return Filter(tuple(clauses))

    def feature(self, name: str) -> tuple[str, Node]:
        """Another feature, declared earlier."""
        value = self.value(name)
        wanted = value.text(name)
        if wanted not in self.known_nodes:
            value.fail(
                f"unknown feature {wanted!r} (it must be declared before this one): {nearest(wanted, self.known_nodes)}"
            )
        self.needed_features.setdefault(wanted)
        return wanted, self.known_nodes[wanted]

    def where_words(self) -> str:
        return f" with {self.value('where').text('where')}" if self.has("where") else ""


def _filter_code(field: "Field", source: Input, item: Value) -> int:
    """The integer that stands for a value in a filter. What the field can never hold would make a filter that nothing passes."""
    plain = item.plain()
    if source.kind == InputKind.FLAG:
        if not isinstance(plain, bool):
            item.fail(f"{field.name!r} is true or false, found {plain!r}.")
        return int(plain)
    wanted = str if field.type == "string" else int
    if type(plain) is int and wanted is str:
        plain = str(plain)
    if type(plain) is not wanted:
        words = "a text; put it in quotes" if wanted is str else "a whole number, without quotes"
        item.fail(f"a value of {field.name!r} must be {words}, found {plain!r}.")
    if field.enum and plain not in field.enum:
        item.fail(
            f"{field.name!r} never holds {plain!r} by its contract: {nearest(str(plain), map(str, field.enum))}"
        )
    return hash_text(str(plain))


def held(
    rule: EntityRule, kind: SlotKind, window_ms: int = 0, of: Input | None = None, where: Filter | None = None
) -> Held:
    """A slot of the entity's state."""
    return Held(rule.name, Slot(kind, window_ms, of, where))


def clock_of(rule: EntityRule) -> Held:
    """The slot that is NULL exactly when the event has no such entity: the guard of whatever reads its state."""
    return held(rule, SlotKind.CLOCK)


__all__ = ["Ask", "Compiled", "Operator", "clock_of", "held"]
