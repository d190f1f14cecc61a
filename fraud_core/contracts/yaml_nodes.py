"""The text of one YAML file as nodes that know their line, for contracts and features.yaml alike.

YAML 1.2's core types: only `true` and `false` are booleans and nothing becomes a date by itself, so the country code NO
stays a string. Whatever is wrong with the text is one BadYaml with its line: nothing of PyYAML's reaches a person.
"""

import re
from pathlib import Path
from typing import Any, Final

import yaml

MOST_NODES: Final = 500_000
"""More than any file that a person writes; aliases of aliases grow beyond it from a few lines."""
DEEPEST: Final = 40


class BadYaml(Exception):
    """What is wrong with the text of a file: `line` from 1, and what was expected, found, and is to be done."""

    def __init__(self, line: int, expected: str, found: str, todo: str = "Correct the file.") -> None:
        super().__init__(f"expected {expected}, found {found}. {todo}")
        self.line, self.expected, self.found, self.todo = line, expected, found, todo


_Compiled: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's parser, ten times as fast, where PyYAML was built with it."""


class _Loader(_Compiled):  # type: ignore[misc]  # which of the two depends on the machine
    """YAML 1.2's core types instead of YAML 1.1's surprises: a code 0742 is no octal number, a time 22:30 no count of minutes."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 (PyYAML's own shape)


_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|false)$"), list("tf"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"^(?:~|null|)$"), ["~", "n", ""])
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile(r"^[-+]?(?:0|[1-9][0-9]*)$"), list("-+0123456789")
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+)$"),
    list("-+.0123456789"),
)

_FOUND: Final = re.compile("^(?:but )?found ")
_QUOTES: Final = "A text that holds { } [ ] , : or # stands in quotes."
_HINTS: Final = (
    ("expected ',' or '}'", _QUOTES),
    ("expected ',' or ']'", _QUOTES),
    ("mapping values are not allowed", _QUOTES),
    ("another document", "Keep one document in the file: remove the line ---."),
)


class YamlNodes:
    """The nodes of a file, and the plain value of each scalar."""

    def __init__(self, path: Path) -> None:
        """Read `path`. Raises OSError where it cannot be read, and BadYaml where it is no YAML."""
        data = path.read_bytes()
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            found = f"the byte 0x{data[error.start]:02x}"
            raise BadYaml(line, "text in UTF-8", found, "Save the file as UTF-8.") from None
        try:
            self._loader = _Loader(text)
            self.root: yaml.Node | None = self._loader.get_single_node()
        except yaml.reader.ReaderError as error:
            line = text.count("\n", 0, error.position) + 1
            raise BadYaml(line, "valid YAML", f"the character {chr(error.character)!r}") from None
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            found = _FOUND.sub("", str(error.problem or error.context)).replace("did not find", "no")
            line = mark.line + 1 if mark else 1
            todo = next((hint for sign, hint in _HINTS if sign in found), "Correct the file.")
            if "\t" in "".join(text.splitlines()[line - 1 : line]):
                todo = "Indent with spaces: YAML allows no tabs there."
            raise BadYaml(line, "valid YAML", found, todo) from None
        except RecursionError:
            raise BadYaml(1, f"at most {DEEPEST} levels", "more") from None
        if self.root is not None:
            _check_size(self.root)

    def scalar(self, node: yaml.Node) -> Any:
        """The plain value of a scalar node. Raises BadYaml where its text is none of its tag's."""
        try:
            return self._loader.construct_object(node)
        except (yaml.YAMLError, ValueError):
            tag = node.tag.replace("tag:yaml.org,2002:", "!!")
            todo = "Put it in quotes, without the tag."
            raise BadYaml(node.start_mark.line + 1, "a value", f"{tag} {node.value!r}", todo) from None


def _check_size(root: yaml.Node) -> None:
    """Aliases make a few lines a cycle, or billions of nodes: both are refused before anybody walks through them."""
    waiting: list[tuple[yaml.Node, int]] = [(root, 1)]
    seen = 0
    while waiting:
        node, depth = waiting.pop()
        seen += 1
        line = node.start_mark.line + 1
        if depth > DEEPEST:
            raise BadYaml(line, f"at most {DEEPEST} levels", "more", "Does an alias (*name) stand in itself?")
        if seen > MOST_NODES:
            raise BadYaml(line, f"at most {MOST_NODES:,} values", "more", "Use fewer aliases (*name).")
        if isinstance(node, yaml.SequenceNode):
            waiting += [(item, depth + 1) for item in node.value]
        elif isinstance(node, yaml.MappingNode):
            for key, item in node.value:
                if not isinstance(key, yaml.ScalarNode):
                    raise BadYaml(
                        key.start_mark.line + 1, "a name before the colon", "a list or a mapping", _QUOTES
                    )
                waiting.append((item, depth + 1))
