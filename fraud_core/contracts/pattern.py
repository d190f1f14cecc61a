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
        char = source[index]
        index += 1
        if char == "\\":
            if index == len(source):
                raise ValueError("a backslash at the end escapes nothing")
            escaped = source[index]
            index += 1
            if escaped in _CLASSES:
                text = _CLASSES[escaped] if inside else f"[{_CLASSES[escaped]}]"
            elif escaped in _PUNCTUATION:
                text = re.escape(escaped)
            else:
                raise ValueError(
                    f"\\{escaped} means different things to different engines; write a class such as [0-9]"
                )
            rust.append(text)
            python.append(text)
        elif inside:
            if char == "[" or (char in "&-~" and index < len(source) and source[index] == char):
                raise ValueError(
                    f"{char!r} inside a class must be escaped, and set operations are not carried over"
                )
            inside = char != "]"
            rust.append(char)
            python.append(char)
        elif char == "[":
            inside = True
            negated = source[index : index + 1] == "^"
            text = "[^" if negated else "["
            index += negated
            if source[index : index + 1] == "]":
                raise ValueError("a class must not begin with ']'; escape it")
            rust.append(text)
            python.append(text)
        elif char == "(" and source[index : index + 1] == "?" and source[index : index + 2] != "?:":
            raise ValueError("look-around, flags and named groups are not carried over; use (?:…)")
        else:
            rust.append(char)
            python.append(r"\Z" if char == "$" else char)
    if re.search(r"[*+?}]\+", "".join(python)):
        raise ValueError("possessive repetition is not carried over")
    pattern = Pattern(source, "".join(rust), "".join(python))
    try:
        _ = pattern.compiled
        pl.Series(["x"]).str.contains(pattern.rust)
    except (re.error, pl.exceptions.PolarsError) as error:
        raise ValueError(str(error).splitlines()[0]) from None
    return pattern
