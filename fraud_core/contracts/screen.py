"""Which rows of a large batch can break a promise about texts? A coarse look in one compiled pass, before the exact one.

Nearly every text of a batch is made of the characters of one class, `^[A-Za-z0-9_-]{8,64}$`, and that is cheaper to see than to match.
The invariant: a row that breaks a pattern, a length or the Luhn check is always among the suspects. Which of them do break
it, and what, is for the contract's own checks to say: no verdict rests on the screen.
"""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

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


def screens_of(contract: "Contract") -> tuple[TextScreen, ...]:
    """The screens of a contract's texts; fields with other patterns, or none, have none."""
    return tuple(screen for field in contract.fields if (screen := _screen(field)) is not None)


def suspects(screens: tuple[TextScreen, ...], rows: pl.DataFrame) -> NDArray[np.bool_]:
    """True for each row of which a text may break its promises."""
    found = np.zeros(rows.height, dtype=np.bool_)
    for screen in screens:
        _look(screen, rows[screen.field], found)
    return found


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


def _look(screen: TextScreen, texts: pl.Series, found: NDArray[np.bool_]) -> None:
    from fraud_core.contracts.screen_pass import screen_texts

    begin = 0
    for array in arrays_of(texts):
        end = begin + array.length
        screen_texts(
            array.place(0), array.place(1), array.buffers + VIEWED, array.offset,
            screen.kinds, screen.card_from, screen.least, screen.most, found[begin:end],
        )  # fmt: skip
        begin = end
    found[begin:] = True  # nothing was seen of them
