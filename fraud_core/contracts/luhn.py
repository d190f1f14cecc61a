"""The Luhn check of payment card numbers (ISO/IEC 7812): a token that passes it could be a card number, and is refused.

Judged are values that consist of 12 to 19 digits, with single spaces or hyphens between them at most.
"""

import re

import numpy as np
import polars as pl

_CANDIDATE = r"^[0-9](?:[ -]?[0-9]){11,18}$"
_PYTHON = re.compile(_CANDIDATE.replace("$", r"\Z"), re.ASCII)
_WIDTH = 19
_DOUBLED = np.array([0, 2, 4, 6, 8, 1, 3, 5, 7, 9], dtype=np.int64)


def is_card_number(text: str) -> bool:
    """Whether one value could be a card number."""
    if not ("0" <= text[:1] <= "9") or _PYTHON.match(text) is None:
        return False
    digits = [int(char) for char in reversed(text) if "0" <= char <= "9"]
    return (sum(digits[::2]) + sum(int(_DOUBLED[digit]) for digit in digits[1::2])) % 10 == 0


def looks_like_card_number(values: pl.Series) -> pl.Series:
    """The same for a whole column; null stays null."""
    candidates = values.str.contains(_CANDIDATE)
    if not candidates.any():
        return candidates
    index = candidates.arg_true()
    digits = values.gather(index).str.replace_all("[ -]", "").str.zfill(_WIDTH)
    text = "".join(digits.to_list()).encode()
    matrix = (np.frombuffer(text, dtype=np.uint8).reshape(-1, _WIDTH) - ord("0")).astype(np.int64)
    matrix[:, -2::-2] = _DOUBLED[matrix[:, -2::-2]]
    passes = matrix.sum(axis=1) % 10 == 0
    return candidates.scatter(index, pl.Series(passes))
