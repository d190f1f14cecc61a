"""Deciding without a model: the rules and the default of `fallback.yaml` beside the contracts.

Checked in full when the service starts, because it is needed exactly when nothing else works. A contracts folder
without the file leaves `settings.default_decision`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, cast, get_args

import yaml

from fraud_core.contracts import Contract
from fraud_core.contracts.expression import Expression
from fraud_core.contracts.rule_parser import parse_rule
from fraud_core.errors import ServingError

FILE: Final = "fallback.yaml"
Decision = Literal["approve", "review", "decline"]
DECISIONS: Final[tuple[str, ...]] = get_args(Decision)


@dataclass(frozen=True)
class Rule:
    """One line of the file."""

    name: str
    when: Expression
    decision: Decision
    because: str


@dataclass(frozen=True)
class Verdict:
    """What the rules or the default said; `code` and `text` are the reason, empty for the default."""

    route: Literal["rules", "default"]
    decision: Decision
    code: str = ""
    text: str = ""


@dataclass(frozen=True)
class Fallback:
    """The last two steps of the failure ladder."""

    rules: tuple[Rule, ...]
    default: tuple[Rule, ...]
    otherwise: Decision

    def decide(self, values: Mapping[str, Any]) -> Verdict:
        """Decide from typed field values (as the contract's event check reads them) and features by name."""
        for rule in self.rules:
            if rule.when.evaluate(values) is True:
                return Verdict("rules", rule.decision, f"rule.{rule.name}", rule.because)
        for rule in self.default:
            if rule.when.evaluate(values) is True:
                return Verdict("default", rule.decision)
        return Verdict("default", self.otherwise)


def load_fallback(
    folder: Path, contract: Contract, feature_names: tuple[str, ...], otherwise: Decision
) -> Fallback:
    """Read `fallback.yaml` of a contracts folder, if it has one.

    Raises ServingError naming the rule and what is wrong with it.
    """
    path = folder / FILE
    if not path.is_file():
        return Fallback((), (), otherwise)
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ServingError(f"{path} should be YAML: {error}.") from None
    if not isinstance(document, dict) or not document.keys() <= {"rules", "default"}:
        raise ServingError(f"{path} should hold `rules` and `default`, two lists; found {document!r:.200}.")
    types = dict.fromkeys(feature_names, "number") | {field.name: field.type for field in contract.fields}
    return Fallback(
        _rules(path, document.get("rules"), "rules", types),
        _rules(path, document.get("default"), "default", types),
        otherwise,
    )


def _rules(path: Path, items: Any, section: str, types: Mapping[str, str]) -> tuple[Rule, ...]:
    if not isinstance(items, list | None):
        raise ServingError(f"{path}: {section} was expected to be a list; found {items!r:.200}.")
    rules = []
    for number, item in enumerate(items or [], start=1):
        where = f"{path}: {section}, item {number}"
        if not isinstance(item, dict) or not {"when", "decision"} <= item.keys() <= {
            "name", "when", "decision", "because",
        }:  # fmt: skip
            raise ServingError(f"{where}: expected name, when, decision and because, found {item!r:.200}.")
        if item["decision"] not in DECISIONS:
            raise ServingError(
                f"{where}: expected one of {', '.join(DECISIONS)}, found {item['decision']!r}."
            )
        name, because = item.get("name", ""), item.get("because", "")
        if section == "rules" and not (name and because):
            raise ServingError(
                f"{where}: a rule needs a name and a `because`, the reason that the answer shows."
            )
        try:
            when = parse_rule(str(item["when"]), types)
        except ValueError as error:
            raise ServingError(f"{where}: `when` cannot be read: {error}. Correct it.") from None
        rules.append(Rule(str(name), when, cast(Decision, item["decision"]), str(because)))
    return tuple(rules)
