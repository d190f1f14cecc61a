"""features.yaml, read and compiled: the one definition that both executions follow.

A feature's hash covers everything its value depends on (operator version, kernel version, inputs, windows, caps,
horizon), so that a model is served only by a state that means the same.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from enum import IntEnum
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fraud_core.errors import FeatureError
from fraud_core.features.ask import Ask
from fraud_core.features.feature_set import Feature, FeatureSet
from fraud_core.features.kernel import KERNEL_VERSION
from fraud_core.features.layout import HEADER_VERSION
from fraud_core.features.operators import OPERATORS
from fraud_core.features.plan import (
    MAX_FILTERS,
    EntityPlan,
    EntityRule,
    Held,
    Input,
    InputKind,
    Layout,
    Node,
    PlanBuilder,
)
from fraud_core.features.program import build_program
from fraud_core.features.rings import MAX_BUCKETS
from fraud_core.features.source import Value, nearest, read_source, spell_duration
from fraud_core.features.wording import KEYS as WORDING_KEYS
from fraud_core.features.wording import read_wording

if TYPE_CHECKING:
    from fraud_core.contracts import Contract, Contracts

_NAME = re.compile(r"^[a-z][a-z0-9_]{0,62}$")
_DEFAULT_CAP = 512
LARGEST_CAP = 4096
FEWEST_BUCKETS = 4
_ENTITY_KEYS = ("history", "layout", "remember", "resolution")
_DEFAULT_ANSWER_TTL_MS = 300_000
_TOP = ("version", "answer_ttl", "entities", "filters", "features")


def load_features(path: Path, contracts: "Contracts") -> FeatureSet:
    """Read a declaration against its contracts. Raises FeatureError naming file, line and the nearest name."""
    source = read_source(path)
    top = source.mapping("features.yaml")
    _check_keys(source, top)
    contract = contracts.transactions
    scope = _Scope(
        contract=contract,
        rules=_rules(top.get("entities"), contract),
        filters=top["filters"].mapping("filters") if "filters" in top else {},
    )
    scope.check_filters()
    answer_ttl_ms = _DEFAULT_ANSWER_TTL_MS
    if "answer_ttl" in top:
        answer_ttl_ms = top["answer_ttl"].duration_ms("answer_ttl")
    for written, value in top["features"].mapping("features").items():
        for name, declared in _spread(written, value):
            if not _NAME.match(name):
                value.fail(f"a feature is named in lower case with underscores, found {name!r}.")
            if name in scope.table_columns:
                value.fail(
                    f"the feature table has a column {name!r} of its own; give the feature another name."
                )
            if name in scope.features:
                value.fail(f"the feature {name!r} is declared twice; rename one.")
            scope.add(_compile(name, declared, scope))
    if not scope.features:
        top["features"].fail("expected at least one feature.")
    return _assemble(path, scope, answer_ttl_ms)


def _check_keys(source: Value, top: Mapping[str, Value]) -> None:
    for name, value in top.items():
        if name not in _TOP:
            value.fail(f"unknown key {name!r}: {nearest(name, _TOP)}")
    for name in ("version", "features"):
        if name not in top:
            source.fail(f"expected the key {name!r}; add it.")
    top["version"].integer("version (of this file's form)", 1, 1)


@dataclass(frozen=True)
class _Scope:
    """What a declaration may refer to; `features` grows as they are compiled, in order."""

    contract: "Contract"
    rules: Mapping[str, EntityRule]
    filters: Mapping[str, Value]
    features: dict[str, Feature] = field(default_factory=dict)
    nodes: dict[str, Node] = field(default_factory=dict)

    @cached_property
    def table_columns(self) -> frozenset[str]:
        """Columns that stand beside the features in their table."""
        contract = self.contract
        carried = (contract.event_id, contract.event_time, contract.amount, *contract.entities.values())
        return frozenset({"event_date", "known_at", "feature_set_hash", *(name for name in carried if name)})

    def add(self, feature: Feature) -> None:
        self.features[feature.name] = feature
        self.nodes[feature.name] = feature.node

    def ask(self, arguments: Value) -> Ask:
        return Ask(arguments, self.contract, self.rules, self.nodes, self.filters)

    def check_filters(self) -> None:
        """Refuse a filter that cannot be, also one that no feature uses yet."""
        for name, value in self.filters.items():
            at = Value(value.path, value.line, name)
            self.ask(Value(at.path, at.line, {"where": at})).where()


def _assemble(path: Path, scope: _Scope, answer_ttl_ms: int) -> FeatureSet:
    builder = PlanBuilder(Input(InputKind.TIME, scope.contract.event_time))
    builder.inputs.setdefault(builder.event_time)
    features = tuple(scope.features.values())
    for feature in features:
        builder.take(feature.node)
    plans = {name: builder.layout(rule) for name, rule in scope.rules.items() if name in builder.held}
    for plan in plans.values():
        if len(plan.filters) > MAX_FILTERS:
            raise FeatureError(
                f"{path}:{plan.rule.line}: {plan.rule.name!r} has windows with {len(plan.filters)} filters, "
                f"at most {MAX_FILTERS} fit; drop some."
            )
    state = [_plan_identity(plan) for plan in plans.values()]
    return FeatureSet(
        features=features,
        contract=scope.contract,
        plans=plans,
        program=build_program([feature.node for feature in features], list(builder.inputs), plans),
        hash=_digest([[feature.name, feature.hash] for feature in features]),
        state_hash=_digest([state, HEADER_VERSION, answer_ttl_ms])[:12],
        answer_ttl_s=answer_ttl_ms // 1000,
        path=path,
    )


def _rules(declared: Value | None, contract: "Contract") -> dict[str, EntityRule]:
    rules = {}
    for name, value in (declared.mapping("entities") if declared else {}).items():
        if name not in contract.entities:
            value.fail(f"the contract has no entity {name!r}: {nearest(name, contract.entities)}")
        rules[name] = _rule(name, value, contract)
    return rules


def _rule(name: str, value: Value, contract: "Contract") -> EntityRule:
    settings = value.mapping(f"entity {name!r}")
    for key, item in settings.items():
        if key not in _ENTITY_KEYS:
            item.fail(f"unknown key {key!r}: {nearest(key, _ENTITY_KEYS)}")
    if "history" not in settings:
        value.fail(f"expected `history`: how long the events of {name!r} are remembered, such as 30d.")
    layout = Layout.LIST
    if "layout" in settings:
        word = settings["layout"].text("layout")
        if word not in tuple(Layout):
            settings["layout"].fail(f"unknown layout {word!r}: {nearest(word, map(str, Layout))}")
        layout = Layout(word)
    cap, buckets = 0, 0
    if layout == Layout.LIST:
        if "resolution" in settings:
            settings["resolution"].fail(
                f"a list of events has exact windows; `resolution` belongs to `layout: {Layout.BUCKETS}`."
            )
        cap = _DEFAULT_CAP
        if "remember" in settings:
            cap = settings["remember"].integer("remember", 1, LARGEST_CAP)
    else:
        if "remember" in settings:
            settings["remember"].fail(
                f"buckets remember no single events; `remember` belongs to `layout: {Layout.LIST}`."
            )
        buckets = MAX_BUCKETS
        if "resolution" in settings:
            buckets = settings["resolution"].integer(
                "resolution (buckets per window)", FEWEST_BUCKETS, MAX_BUCKETS
            )
    horizon_ms = settings["history"].duration_ms("history")
    return EntityRule(name, contract.entities[name], horizon_ms, value.line, layout, cap, buckets)


def _spread(name: str, value: Value) -> list[tuple[str, Value]]:
    """One declaration per window where `{window}` stands in the name."""
    if "{window}" not in name:
        return [(name, value)]
    settings = dict(value.mapping(f"feature {name!r}"))
    if "windows" not in settings:
        value.fail(f"{name!r} has a place for a window; list them: `windows: [1h, 1d]`.")
    listed = settings.pop("windows")
    windows = listed.sequence("windows")
    if not windows:
        listed.fail(f"{name!r}: expected at least one window, such as `windows: [1h, 1d]`, found none.")
    spread = []
    for window in windows:
        words = spell_duration(window.duration_ms("a window"))
        filled = {}
        for key, item in settings.items():
            plain = {} if item.value is None else item.value
            if isinstance(plain, dict):
                if "window" in plain:
                    plain["window"].fail(f"{name!r} takes its window from `windows`; remove `window`.")
                plain = {**plain, "window": window}
            elif isinstance(plain, str):
                plain = plain.replace("{window}", words)
            filled[key] = Value(item.path, item.line, plain)
        spread.append(
            (name.replace("{window}", window.text("a window")), Value(value.path, value.line, filled))
        )
    return spread


def _compile(name: str, value: Value, scope: _Scope) -> Feature:
    settings = value.mapping(f"feature {name!r}")
    words = [key for key in settings if key not in WORDING_KEYS]
    for word in words:
        if word == "windows":
            settings[word].fail(
                f"{name!r} has no place for the windows: name it '{name}_{{window}}', in quotes, or give its operator `window`."
            )
        if word not in OPERATORS:
            settings[word].fail(f"unknown operator {word!r}: {nearest(word, (*OPERATORS, *WORDING_KEYS))}")
    if len(words) != 1:
        value.fail(f"feature {name!r}: expected one operator and a reason, found {words or 'no operator'}.")
    word = words[0]
    wording = read_wording(name, value, settings)
    operator = OPERATORS[word]
    arguments = settings[word]
    if arguments.value is None:
        arguments = Value(arguments.path, arguments.line, {})
    ask = scope.ask(arguments)
    ask.check_known(operator.arguments)
    compiled = operator.compile(ask)
    entities = _entities(compiled.node)
    needed = (
        [scope.features[other] for other in scope.features if other in ask.needed_features]
        if ask.needed_features
        else []
    )
    for other in needed:
        ask.needed_fields.update(dict.fromkeys(other.fields))
    identity = [
        operator.name,
        operator.version,
        KERNEL_VERSION,
        compiled.node,
        [_rule_identity(scope.rules[entity]) for entity in entities],
        *[other.hash for other in needed],
    ]
    return Feature(
        name=name,
        operator=word,
        node=compiled.node,
        meaning=compiled.meaning,
        wording=wording,
        line=value.line,
        fields=tuple(ask.needed_fields),
        entities=entities,
        hash=_digest(identity),
    )


def _entities(node: Node) -> tuple[str, ...]:
    found = dict.fromkeys(
        column.entity for column in (*node.columns, *node.guards) if isinstance(column, Held)
    )
    for inner in node.nodes:
        found.update(dict.fromkeys(_entities(inner)))
    return tuple(found)


def _plan_identity(plan: EntityPlan) -> list[Any]:
    return [*_rule_identity(plan.rule), plan.slots, plan.filters]


def _rule_identity(rule: EntityRule) -> list[Any]:
    laid = [str(rule.layout), rule.cap, rule.buckets, rule.label_cap]
    return [rule.name, rule.field, rule.horizon_ms, *laid]


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(_canonical(value), separators=(",", ":")).encode()).hexdigest()


def _canonical(value: Any) -> Any:
    """Dataclasses and enums as plain lists and numbers, so that a hash depends on meaning alone."""
    if isinstance(value, IntEnum):
        return [type(value).__name__, int(value)]
    if is_dataclass(value) and not isinstance(value, type):
        return [type(value).__name__, *[_canonical(getattr(value, item.name)) for item in fields(value)]]
    if isinstance(value, list | tuple):
        return [_canonical(item) for item in value]
    return value
