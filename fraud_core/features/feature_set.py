"""The features of one declaration, compiled: names, hashes, meanings, the state they need and the program they run."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from fraud_core.errors import FeatureError
from fraud_core.features.plan import EntityPlan, Input, Node
from fraud_core.features.program import Program, build_program
from fraud_core.features.source import nearest
from fraud_core.features.wording import Wording

if TYPE_CHECKING:
    from fraud_core.contracts import Contract


@dataclass(frozen=True)
class Feature:
    """One declared feature."""

    name: str
    operator: str
    node: Node
    meaning: str
    wording: Wording
    line: int
    fields: tuple[str, ...]
    entities: tuple[str, ...]
    hash: str


@dataclass(frozen=True, eq=False)
class FeatureGroup:
    """Features that read the state of the same entities, and the part of the program that computes them."""

    names: tuple[str, ...]
    program: Program


@dataclass(frozen=True, eq=False, repr=False)
class FeatureSet:
    """All features of one declaration, in the order of the vector."""

    features: tuple[Feature, ...]
    contract: "Contract"
    plans: Mapping[str, EntityPlan]
    program: Program
    hash: str
    state_hash: str
    """Of the online state's layout and meaning: states of another hash are never mixed with this one."""
    answer_ttl_s: int
    path: Path

    def __repr__(self) -> str:
        return f"FeatureSet({self.path}, {len(self.features)} features, hash {self.hash[:12]})"

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(feature.name for feature in self.features)

    @property
    def hashes(self) -> dict[str, str]:
        return {feature.name: feature.hash for feature in self.features}

    @property
    def entities(self) -> tuple[str, ...]:
        """Entities whose state the features read."""
        return tuple(self.plans)

    @cached_property
    def groups(self) -> dict[tuple[str, ...], FeatureGroup]:
        """By the entities that they read: so that an offline pass holds one entity's slots at a time."""
        by_entities: dict[tuple[str, ...], list[Feature]] = {}
        for feature in self.features:
            entities = tuple(name for name in self.plans if name in feature.entities)
            by_entities.setdefault(entities, []).append(feature)
        return {
            entities: FeatureGroup(
                tuple(feature.name for feature in features),
                build_program(
                    [feature.node for feature in features],
                    _inputs_of([feature.node for feature in features]),
                    {name: self.plans[name] for name in entities},
                ),
            )
            for entities, features in by_entities.items()
        }

    @property
    def horizon(self) -> timedelta:
        """How far back a fold must reach."""
        return timedelta(milliseconds=max((plan.rule.horizon_ms for plan in self.plans.values()), default=0))

    def feature(self, name: str) -> Feature:
        """The feature of that name. Raises FeatureError with the nearest one."""
        for feature in self.features:
            if feature.name == name:
                return feature
        raise FeatureError(f"{self.path} declares no feature {name!r}: {nearest(name, self.names)}")

    def reason(self, name: str) -> str:
        """The sentence that tells a person why this feature spoke against a payment."""
        return self.feature(name).wording.text

    def explain(self, name: str) -> str:
        """What a feature means, needs and costs, in words."""
        from fraud_core.features.explain import explain

        return explain(self, self.feature(name))


def _inputs_of(nodes: list[Node]) -> list[Input]:
    found: dict[Input, None] = {}
    for node in nodes:
        found.update(dict.fromkeys(item for item in (*node.columns, *node.guards) if isinstance(item, Input)))
        found.update(dict.fromkeys(_inputs_of(list(node.nodes))))
    return list(found)
