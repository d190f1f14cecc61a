"""Examples of what was wrong, fit for a page that anybody may read: personal values never appear, wherever they stand.

A column marked personal is masked. But a producer's defect puts values where they do not belong, so whatever a personal
column of any refused row holds is hidden in every other place as well, and so are long numbers.
"""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from fraud_core.contracts import Contract, mask_value

_LONG_NUMBER = re.compile(r"(?:[0-9][ -]?){11,}[0-9]")
_WORD = re.compile(r"[\w.+@-]+")
_PLAIN_NAME = re.compile(r"[A-Za-z][A-Za-z_-]{0,31}[0-9]{0,3}", re.ASCII)
_HIDDEN = "•••"
_EXAMPLES = 3
_WIDTH = 80
_LONGEST = 2_000
"""Characters of a value that are looked at."""
_TELLING = 4
"""Characters from which on a value can tell whose it is."""


class Examples:
    """Collects a few values per reason code."""

    def __init__(self, contract: Contract) -> None:
        self.contract = contract
        self.private = [field.name for field in contract.fields if field.pii != "none"]

    def of(
        self, payloads: Sequence[bytes | None], reasons: Sequence[Sequence[str]]
    ) -> dict[str, tuple[str, ...]]:
        """Reason code to examples, from payloads (None: not kept, or sealed) and the reasons of each."""
        personal: set[str] = set()
        found: dict[str, dict[str, None]] = {}
        for payload, codes in zip(payloads, reasons, strict=True):
            if payload is None:
                continue
            event = _event(payload)
            personal.update(self._personal(event))
            for code in codes:
                shown = found.setdefault(code, {})
                if len(shown) < _EXAMPLES:
                    shown[self._example(code, event, payload)[:_LONGEST]] = None
        # At the end: what is personal in one row may stand in the wrong place of one that came before.
        hide = _Hiding(personal, [text for shown in found.values() for text in shown])
        return {code: tuple(dict.fromkeys(hide(text) for text in shown)) for code, shown in found.items()}

    def _personal(self, event: dict[str, Any] | None) -> Iterator[str]:
        """What personal columns hold, in whole, as JSON writes it, and word by word."""
        for name in self.private:
            for text in _texts((event or {}).get(name)):
                yield from (text, json.dumps(text, ensure_ascii=False)[1:-1], *_WORD.findall(text))

    def _example(self, code: str, event: dict[str, Any] | None, payload: bytes) -> str:
        if event is None:
            return f"{len(payload)} bytes"
        if code == "row.unknown_field":
            unknown = sorted(event.keys() - self.contract.by_name.keys())
            return ", ".join(name if _PLAIN_NAME.fullmatch(name) else _HIDDEN for name in unknown)
        names = [code.rpartition(".")[0]]
        if code.startswith("rule."):
            rule = next((each for each in self.contract.rules if f"rule.{each.name}" == code), None)
            names = sorted(rule.expression.fields) if rule is not None else []
            return ", ".join(f"{name} = {self._value(name, event)}" for name in names)
        return self._value(names[0], event) if names[0] in self.contract.by_name else f"{len(payload)} bytes"

    def _value(self, name: str, event: dict[str, Any]) -> str:
        value = event.get(name)
        return "absent" if value is None else mask_value(self.contract, name, value)


def _event(payload: bytes) -> dict[str, Any] | None:
    try:
        event = json.loads(payload.decode())
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event, dict) else None


def _texts(value: object) -> Iterator[str]:
    """A value, and all that it consists of, as the texts by which a page could show it."""
    if isinstance(value, dict):
        for name, each in value.items():
            yield str(name)
            yield from _texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)
    elif value is not None:
        yield str(value)


class _Hiding:
    """Hides personal values in some texts, also where they are a part of a word."""

    def __init__(self, personal: set[str], texts: Sequence[str]) -> None:
        # There may be a million values and some hundred short texts: most values are ruled out by how they begin.
        together = "\n".join(texts)
        beginnings = {together[at : at + _TELLING] for at in range(len(together))}
        there = [each for each in personal if len(each) >= _TELLING and each[:_TELLING] in beginnings]
        self.values = sorted((each for each in there if each in together), key=len, reverse=True)

    def __call__(self, text: str) -> str:
        for each in self.values:
            text = text.replace(each, _HIDDEN)
        hidden = _LONG_NUMBER.sub(_HIDDEN, text)
        return hidden if len(hidden) <= _WIDTH else hidden[: _WIDTH - 1] + "…"
