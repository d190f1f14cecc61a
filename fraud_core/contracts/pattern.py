r"""Regular expressions that mean the same to polars (Rust) and to Python.

Contracts may use the common subset: literals, classes, groups, alternation, repetition, `^`, `$`, `\d`, `\w`, escaped
punctuation. `\d` and `\w` mean ASCII; `$` means the very end. Anything on which the two engines differ is refused.
"""

import re
from dataclasses import dataclass
from functools import cached_property

import polars as pl

_CLASSES = {"d": "0-9", "w": "0-9A-Za-z_"}
_PUNCTUATION = set("\\.^$*+?()[]{}|/-_:;,@#&!%~<>='\" ")


@dataclass(frozen=True)
class Pattern:
    """One expression in both dialects."""

    source: str
    rust: str
    python: str

    @cached_property
    def compiled(self) -> re.Pattern[str]:
        """The Python face; `search` it."""
        return re.compile(self.python, re.ASCII)


def portable(source: str) -> Pattern:
    """Translate `source` for both engines. Raises ValueError that says what cannot be carried over."""
    rust: list[str] = []
    python: list[str] = []
    inside = False
    index = 0
    while index < len(source):
        if source[index] == "\\":
            rust.append(_escaped(source[index + 1 : index + 2], inside))
            python.append(rust[-1])
            index += 2
            continue
        char = source[index]
        _refuse(source, index, inside)
        rust.append(char)
        python.append(r"\Z" if char == "$" and not inside else char)
        inside = char != "]" if inside else char == "["
        index += 1
    pattern = Pattern(source, "".join(rust), "".join(python))
    try:
        _ = pattern.compiled
        pl.Series(["x"]).str.contains(pattern.rust)
    except (re.error, pl.exceptions.PolarsError) as error:
        raise ValueError(str(error).splitlines()[0]) from None
    return pattern


def _escaped(char: str, inside: bool) -> str:
    if char in _CLASSES:
        return _CLASSES[char] if inside else f"[{_CLASSES[char]}]"
    if char not in _PUNCTUATION:
        raise ValueError(f"\\{char} means different things to different engines; write a class such as [0-9]")
    return re.escape(char)


def _refuse(source: str, index: int, inside: bool) -> None:
    """Refuse what the two engines read differently at this position."""
    char, following = source[index], source[index + 1 : index + 2]
    if inside:
        if char == "[" or (char in "&-~|" and following == char):
            raise ValueError(f"{char!r} inside a class must be escaped; set operations are not carried over")
    elif char == "[" and source[index + 1 :].removeprefix("^").startswith("]"):
        raise ValueError("a class must not begin with ']'; escape it")
    elif char == "(" and following == "?" and source[index : index + 3] != "(?:":
        raise ValueError("look-around, flags and named groups are not carried over; use (?:…)")
    elif char in "*+?}" and following == "+":
        raise ValueError("possessive repetition is not carried over")
