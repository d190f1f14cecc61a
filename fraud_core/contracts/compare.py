"""What changed between two versions of a contract, whether it breaks readers or writers, and the version it asks for.

Not breaking is what old events and old tables survive: a new optional field, a looser rule, other words. Breaking is the rest.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from fraud_core.contracts.model import Contract, Field
from fraud_core.contracts.rules import bound_text

Level = Literal["major", "minor", "patch"]


@dataclass(frozen=True)
class Change:
    """One difference in words; `level` is the part of the version that it must raise."""

    field: str | None
    level: Level
    words: str
    structural: bool = False
    """Whether rows written before could not be read under the new contract."""

    @property
    def breaking(self) -> bool:
        """Whether old events would be refused or stored data misread."""
        return self.level == "major"


def compare(old: Contract, new: Contract) -> list[Change]:
    """All differences that matter, breaking ones first; and one more where the version does not say so."""
    changes = [*_fields(old, new), *_rules(old, new), *_identity(old, new)]
    changes.sort(key=lambda change: ("major", "minor", "patch").index(change.level))
    if changes and not version_suffices(old.version, new.version, changes[0].level):
        words = f"version {old.version} → {new.version} does not raise the {changes[0].level} number, which this asks for"
        changes.append(Change(None, changes[0].level, words))
    return changes


def _fields(old: Contract, new: Contract) -> Iterator[Change]:
    for name, field in old.by_name.items():
        if name not in new.by_name:
            yield Change(name, "major", f"field {name} was removed", structural=True)
        else:
            yield from _field(field, new.by_name[name])
    for name, field in new.by_name.items():
        if name not in old.by_name:
            if field.required:
                yield Change(
                    name, "major", f"field {name} is new and required: events without it would be refused"
                )
            else:
                yield Change(name, "minor", f"optional field {name} ({field.type}) is new")


def _field(old: Field, new: Field) -> Iterator[Change]:
    name = old.name
    if (old.type, old.item_type) != (new.type, new.item_type):
        kinds = [each.type + (f" of {each.item_type}s" if each.item_type else "") for each in (old, new)]
        yield Change(name, "major", f"{name}: type {kinds[0]} → {kinds[1]}", structural=True)
        return
    if old.required != new.required:
        level: Level = "major" if new.required else "minor"
        yield Change(name, level, f"{name} became {'required' if new.required else 'optional'}")
    if old.pattern != new.pattern:
        yield Change(
            name,
            "minor" if new.pattern is None else "major",
            f"{name}: pattern {old.pattern} → {new.pattern}",
        )
    if set(old.enum) != set(new.enum):
        wider = not new.enum or (bool(old.enum) and set(old.enum) <= set(new.enum))
        gone, added = sorted(set(map(str, old.enum)) - set(map(str, new.enum))), sorted(
            set(map(str, new.enum)) - set(map(str, old.enum))
        )  # fmt: skip
        words = f"{name}: allowed values" + (f" without {', '.join(gone)}" if gone else "")
        yield Change(
            name, "minor" if wider else "major", words + (f" with {', '.join(added)}" if added else "")
        )
    for option, tighter_if in (
        ("minimum", 1),
        ("min_length", 1),
        ("maximum", -1),
        ("max_length", -1),
        ("future_tolerance_ms", -1),
    ):
        before, after = getattr(old, option), getattr(new, option)
        if before != after:
            tighter = after is not None and (before is None or (after - before) * tighter_if > 0)
            shown = [
                "none"
                if bound is None
                else bound_text(old, bound)
                if option in {"minimum", "maximum"}
                else str(bound)
                for bound in (before, after)
            ]
            yield Change(name, "major" if tighter else "minor", f"{name}: {option} {shown[0]} → {shown[1]}")
    if old.refuse_luhn != new.refuse_luhn:
        words = f"{name}: card numbers are {'refused' if new.refuse_luhn else 'allowed'}"
        yield Change(name, "major" if new.refuse_luhn else "minor", words)
    if old.pii != new.pii:
        yield Change(name, "minor", f"{name}: personal data class {old.pii} → {new.pii}")
    if (old.role, old.entity) != (new.role, new.entity):
        yield Change(
            name,
            "major",
            f"{name}: role or entity {old.role or old.entity or 'none'} → {new.role or new.entity or 'none'}",
            structural=True,
        )
    if old.format != new.format and old.type != "integer":  # an integer's format is in its bounds
        yield Change(name, "patch", f"{name}: format {old.format or 'none'} → {new.format or 'none'}")
    if (old.description, old.classification) != (new.description, new.classification):
        yield Change(name, "patch", f"{name}: other words")


def _rules(old: Contract, new: Contract) -> Iterator[Change]:
    before, after = ({rule.name: rule.text for rule in each.rules} for each in (old, new))
    for name in sorted(before.keys() | after.keys()):
        if name not in before:
            yield Change(None, "major", f"rule {name} is new: {after[name]}")
        elif name not in after:
            yield Change(None, "minor", f"rule {name} was removed")
        elif before[name] != after[name]:
            yield Change(None, "major", f"rule {name}: {before[name]} → {after[name]}")


def _identity(old: Contract, new: Contract) -> Iterator[Change]:
    if old.name != new.name:
        yield Change(None, "major", f"name {old.name} → {new.name}", structural=True)
    if old.key != new.key:
        yield Change(None, "major", f"key {', '.join(old.key)} → {', '.join(new.key)}", structural=True)
    if old.maturity != new.maturity:
        yield Change(None, "minor", f"maturity {old.maturity} → {new.maturity}")
    if old.slas != new.slas:
        yield Change(None, "minor", "the promised service (slaProperties) changed")
    if (old.description, old.owner, old.grain) != (new.description, new.owner, new.grain):
        yield Change(None, "patch", "the contract's own words, owner or grain changed")


def version_suffices(old: str, new: str, level: Level) -> bool:
    """Whether `new` raises the part of `old` that a change of `level` asks for, or a higher one."""
    before, after = (tuple(map(int, version.split("."))) for version in (old, new))
    place = ("major", "minor", "patch").index(level) + 1
    return after[:place] > before[:place]
