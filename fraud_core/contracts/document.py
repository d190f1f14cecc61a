"""A YAML file that remembers on which line each key stands, so that every complaint about it names file, line and key."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from fraud_core.contracts.yaml_nodes import BadYaml, YamlNodes
from fraud_core.errors import ContractError

KeyPath = tuple[str | int, ...]


@dataclass(frozen=True)
class Document:
    """The content of one YAML file and the line of each of its keys."""

    path: Path
    data: dict[str, Any]
    lines: Mapping[KeyPath, int]

    def line(self, where: KeyPath) -> int:
        """The line of `where`, or of the nearest key above it that exists."""
        while where and where not in self.lines:
            where = where[:-1]
        return self.lines.get(where, 1)

    def key(self, where: KeyPath) -> str:
        """`where` in words: list items are called by their name where they have one."""
        parts: list[str] = []
        node: Any = self.data
        for step in where:
            try:
                node = node[step]
            except (KeyError, IndexError, TypeError):
                node = None
            if isinstance(step, int):
                named = node.get("name") or node.get("property") if isinstance(node, dict) else None
                parts.append(str(named or step + 1))
            else:
                parts.append(step)
        return ".".join(parts)

    def error(self, where: KeyPath, *, expected: str, found: object, todo: str) -> ContractError:
        """The complaint about one key: where it stands, what was expected, what was found, what to do."""
        return complaint(
            self.path, self.line(where), self.key(where), expected=expected, found=found, todo=todo
        )


def complaint(path: Path, line: int, key: str, *, expected: str, found: object, todo: str) -> ContractError:
    """A ContractError in the one form that all of them have."""
    place = f"{path}:{line}: {key}" if key else f"{path}:{line}"
    return ContractError(f"{place}: expected {expected}, found {found}. {todo}")


def read_document(path: Path) -> Document:
    """Read one YAML file. Raises ContractError where it is missing, is no YAML or holds a key twice."""

    def broken(line: int, expected: str, found: object, todo: str = "Correct the file.") -> ContractError:
        return complaint(path, line, "", expected=expected, found=found, todo=todo)

    try:
        nodes = YamlNodes(path)
        if not isinstance(nodes.root, yaml.MappingNode):
            raise broken(1, "a mapping of keys", "something else" if nodes.root else "an empty file")
        lines: dict[KeyPath, int] = {}
        return Document(path, _construct(nodes, nodes.root, (), lines, path), lines)
    except FileNotFoundError:
        todo = "Create it, or point SPEARHEAD_CONTRACTS at another folder."
        raise broken(1, "a contract file", "none", todo) from None
    except OSError as error:
        raise broken(1, "a readable file", error.strerror) from None
    except BadYaml as error:
        raise broken(error.line, error.expected, error.found, error.todo) from None


def _construct(
    nodes: YamlNodes, node: yaml.Node, where: KeyPath, lines: dict[KeyPath, int], path: Path
) -> Any:
    lines.setdefault(where, node.start_mark.line + 1)
    if isinstance(node, yaml.SequenceNode):
        return [_construct(nodes, item, (*where, at), lines, path) for at, item in enumerate(node.value)]
    if not isinstance(node, yaml.MappingNode):
        return nodes.scalar(node)
    found: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key = str(key_node.value)
        line = key_node.start_mark.line + 1
        if key in found:
            todo = "Remove one of the two."
            raise complaint(path, line, key, expected="each key once", found="it a second time", todo=todo)
        lines[(*where, key)] = line
        found[key] = _construct(nodes, value_node, (*where, key), lines, path)
    return found


def nearest(word: str, words: Sequence[str]) -> str:
    """` (did you mean x?)` where a known word is near, else nothing."""
    from difflib import get_close_matches

    close = get_close_matches(word, words, n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
