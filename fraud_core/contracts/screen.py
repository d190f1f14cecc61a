"""Which rows of a large batch can break a promise about texts? A coarse look in one compiled pass, before the exact one.

Nearly every text of a batch is made of the characters of one class, `^[A-Za-z0-9_-]{8,64}$`, and that is cheaper to see than to match.
The invariant: a row that breaks a pattern, a length, a choice or the Luhn check is always among the suspects. Which of them do break
it, and what, is for the contract's own checks to say: no verdict rests on the screen.
"""

import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final, TypeAlias, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fraud_core.contracts.arrow_reading import VIEWED, arrays_of

if TYPE_CHECKING:
    from fraud_core.contracts.model import Contract, Field

WORTH_IT: Final = 4_096
"""Rows from which a batch is screened."""
_ONE_CLASS: Final = re.compile(r"\^(\[[^\]\[\\^][^\]\[\\]*\])(\+|\*|\{(\d+)(,?)(\d*)\})\\Z")
_RULES: Final = ("pattern", "min_length", "max_length", "card_number")
_CARD: Final = b"0123456789 -"
_SHORTEST_CARD: Final = 12
_ANY: Final = 1 << 40
_INLINE: Final = 12


@dataclass(frozen=True)
class TextScreen:
    """What the texts of one field are made of."""

    field: str
    kinds: NDArray[np.uint8]
    """Per byte: ALLOWED, CARD (screen_pass.py), both or none."""
    least: int
    most: int
    card_from: int

    @property
    def codes(self) -> set[str]:
        """The checks that break only in rows that it suspects."""
        return {f"{self.field}.{rule}" for rule in _RULES}


@dataclass(frozen=True)
class ChoiceScreen:
    """The few texts that one field may hold."""

    field: str
    views: NDArray[np.uint64]
    """A text's length and its bytes, as Arrow has it in its view."""

    @property
    def codes(self) -> set[str]:
        """The checks that break only in rows that it suspects."""
        return {f"{self.field}.enum"}

    @cached_property
    def table(self) -> NDArray[np.uint64]:
        """The texts as the pass looks for them."""
        from fraud_core.contracts.screen_pass import choices

        return cast("NDArray[np.uint64]", choices(self.views))


Screen: TypeAlias = TextScreen | ChoiceScreen


def screens_of(contract: "Contract") -> tuple[Screen, ...]:
    """The screens of a contract's texts; fields with other patterns, or long choices, or neither, have none."""
    found = (each for field in contract.fields for each in (_screen(field), _choices(field)))
    return tuple(each for each in found if each is not None)


def suspects(screens: tuple[Screen, ...], rows: pl.DataFrame) -> NDArray[np.bool_]:
    """True for each row of which a text may break its promises."""
    found = np.zeros(rows.height, dtype=np.bool_)
    for screen in screens:
        _look(screen, rows[screen.field], found)
    return found


def _choices(field: "Field") -> ChoiceScreen | None:
    texts = [str(value).encode() for value in field.enum] if field.type == "string" else []
    if not texts or any(len(text) > _INLINE for text in texts):
        return None
    views = b"".join(len(text).to_bytes(4, "little") + text.ljust(_INLINE, b"\0") for text in texts)
    return ChoiceScreen(field.name, np.frombuffer(views, dtype="<u8").reshape(-1, 2))


def _screen(field: "Field") -> TextScreen | None:
    pattern = field.compiled_pattern
    shaped = _ONE_CLASS.fullmatch(pattern.python) if pattern is not None and field.type == "string" else None
    if shaped is None:
        return None
    one, times, least, comma, most = shaped.groups()
    kinds = np.zeros(256, dtype=np.uint8)
    character = re.compile(one, re.ASCII)
    for code in range(128):  # beyond ASCII a byte is no character: such texts are suspect
        kinds[code] = (character.fullmatch(chr(code)) is not None) | (2 if code in _CARD else 0)
    fewest = int(least) if least else int(times == "+")
    longest = _ANY if least is None or (comma and not most) else int(most or least)
    return TextScreen(
        field.name,
        kinds,
        max(fewest, field.min_length or 0),
        min(longest, _ANY if field.max_length is None else field.max_length),
        _SHORTEST_CARD if field.refuse_luhn else _ANY,
    )


def _look(screen: Screen, texts: pl.Series, found: NDArray[np.bool_]) -> None:
    from fraud_core.contracts.screen_pass import screen_choices, screen_texts

    begin = 0
    for array in arrays_of(texts):
        end = begin + array.length
        present, views, part = array.place(0), array.place(1), found[begin:end]
        if isinstance(screen, ChoiceScreen):
            screen_choices(present, views, array.offset, screen.table, part)
        else:
            screen_texts(
                present, views, array.buffers + VIEWED, array.offset,
                screen.kinds, screen.card_from, screen.least, screen.most, part,
            )  # fmt: skip
        begin = end
    found[begin:] = True  # nothing was seen of them
