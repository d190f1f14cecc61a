"""features.yaml as it was written: plain values that remember their line, and the errors that name it."""

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import yaml

from fraud_core.contracts.yaml_nodes import BadYaml, YamlNodes
from fraud_core.errors import FeatureError

_UNITS_MS = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_LARGEST_NUMBER = 1e300
_DURATION = re.compile(r"^([1-9]\d*)([smhd])$")
LONGEST_MS = 36_500 * _UNITS_MS["d"]
"""Of all durations: with times up to the year 6429, sums of these stay far from the end of 47 bits."""


@dataclass(frozen=True)
class Value:
    """A value of the file: a scalar, a list or a mapping of further values, with its line (from 1)."""

    path: Path
    line: int
    value: Any

    def fail(self, message: str) -> NoReturn:
        """Raise FeatureError that names file and line."""
        raise FeatureError(f"{self.path}:{self.line}: {message}")

    def mapping(self, what: str) -> dict[str, "Value"]:
        if not isinstance(self.value, dict):
            self.fail(f"{what} must be a mapping, found {self.plain()!r}.")
        return self.value

    def sequence(self, what: str) -> list["Value"]:
        if not isinstance(self.value, list):
            self.fail(f"{what} must be a list, found {self.plain()!r}.")
        return self.value

    def text(self, what: str) -> str:
        if not isinstance(self.value, str) or not self.value.strip():
            self.fail(f"{what} must be a text, found {self.plain()!r}.")
        return self.value.strip()

    def number(self, what: str) -> float:
        if isinstance(self.value, bool) or not isinstance(self.value, int | float):
            self.fail(f"{what} must be a number, found {self.plain()!r}.")
        if not abs(self.value) <= _LARGEST_NUMBER:
            self.fail(f"{what} must be a number of at most {_LARGEST_NUMBER:g}, found {self.plain()!r}.")
        return float(self.value)

    def integer(self, what: str, low: int, high: int) -> int:
        if isinstance(self.value, bool) or not isinstance(self.value, int) or not low <= self.value <= high:
            self.fail(f"{what} must be a whole number from {low} to {high}, found {self.plain()!r}.")
        return self.value

    def duration_ms(self, what: str) -> int:
        found = _DURATION.match(str(self.value)) if isinstance(self.value, str) else None
        if not found:
            self.fail(f"{what} must be a duration such as 30s, 10m, 1h or 7d, found {self.plain()!r}.")
        length = int(found[1]) * _UNITS_MS[found[2]]
        if length > LONGEST_MS:
            self.fail(f"{what} must be at most {spell_duration(LONGEST_MS)}, found {self.value!r}.")
        return length

    def plain(self) -> Any:
        """The value without lines."""
        if isinstance(self.value, dict):
            return {key: item.plain() for key, item in self.value.items()}
        if isinstance(self.value, list):
            return [item.plain() for item in self.value]
        return self.value


def spell_duration(ms: int) -> str:
    """A duration in words: `90 days`."""
    for unit, name in (("d", "day"), ("h", "hour"), ("m", "minute"), ("s", "second")):
        if ms % _UNITS_MS[unit] == 0:
            count = ms // _UNITS_MS[unit]
            return f"{count} {name}{'' if count == 1 else 's'}"
    return f"{ms} ms"


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint for an unknown name: the nearest known one, else all of them."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else f"known are: {', '.join(known) or 'none'}."


def read_source(path: Path) -> Value:
    """Parse the file. Raises FeatureError when it is missing, is not YAML or repeats a key."""
    try:
        nodes = YamlNodes(path)
        if nodes.root is None:
            raise BadYaml(1, "entities and features", "an empty file", "docs/features.md says what it holds.")
        return _convert(path, nodes, nodes.root)
    except OSError as error:
        raise FeatureError(
            f"{path}: a feature declaration was expected here; it cannot be read ({error.strerror}). "
            "Add features.yaml to the contracts folder."
        ) from None
    except BadYaml as error:
        raise FeatureError(f"{path}:{error.line}: {error}") from None


def _convert(path: Path, nodes: YamlNodes, node: yaml.Node) -> Value:
    line = node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        found: dict[str, Value] = {}
        for key, item in node.value:
            name = str(key.value)
            if name in found:
                Value(path, key.start_mark.line + 1, None).fail(f"{name!r} is declared twice; remove one.")
            found[name] = _convert(path, nodes, item)
            if not isinstance(item, yaml.ScalarNode):  # point at the key, where a person looks first
                found[name] = Value(path, key.start_mark.line + 1, found[name].value)
        return Value(path, line, found)
    if isinstance(node, yaml.SequenceNode):
        return Value(path, line, [_convert(path, nodes, item) for item in node.value])
    return Value(path, line, nodes.scalar(node))
