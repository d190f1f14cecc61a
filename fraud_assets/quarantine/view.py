"""A quarantined event as people may see it: what is personal is masked, what cannot be read is shown in outline only.

The contract's classes decide. Whatever stands where the contract knows no field could be personal and is hidden; so is
any long number, whatever field it is in.
"""

import json
import re
from typing import Any, Final

from fraud_core.contracts import Contract, Contracts, mask_value
from fraud_core.contracts.mask import HIDDEN

_LONG_NUMBER: Final = re.compile(r"(?:[0-9][ -]?){11,}[0-9]")
_RUN: Final = re.compile(r"[^\s{}\[\]:,\"]+")
_WIDTH: Final = 160
_OUTLINE: Final = 240


def masked(contracts: Contracts, stream: str, payload: bytes) -> dict[str, Any] | str:
    """The event with its personal values hidden; an outline of bytes that are no JSON object."""
    contract = contracts.for_stream(stream)
    event = _read(payload)
    if event is None:
        return outline(contract, payload)
    return {_name(contract, name): _value(contracts, contract, name, value) for name, value in event.items()}


def outline(contract: Contract, payload: bytes) -> str:
    """What the bytes look like: names of fields and JSON's own signs stay, everything else is hidden, the rest is cut."""
    text = payload[: 4 * _OUTLINE].decode("utf-8", "replace")
    shown = _RUN.sub(lambda run: run[0] if run[0] in contract.by_name else HIDDEN, text)
    shown = " ".join(shown.split())
    cut = shown[:_OUTLINE] + ("…" if len(shown) > _OUTLINE or len(payload) > 4 * _OUTLINE else "")
    return f"{len(payload):,} bytes: {cut}"


def unmasked(payload: bytes) -> Any:
    """The event as it came; bytes that are no JSON object as text, what is no UTF-8 escaped."""
    event = _read(payload)
    return event if event is not None else payload.decode("utf-8", "backslashreplace")


def _read(payload: bytes) -> dict[str, Any] | None:
    try:
        event = json.loads(payload.decode())
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event, dict) else None


def _name(contract: Contract, name: str) -> str:
    return name if name in contract.by_name else _short(name)


def _value(contracts: Contracts, contract: Contract, name: str, value: Any) -> Any:
    if value is None:
        return None
    if contract is contracts.decisions and name == "event" and isinstance(value, dict):
        inner = contracts.transactions
        return {_name(inner, each): _value(contracts, inner, each, item) for each, item in value.items()}
    if isinstance(value, bool) and name in contract.by_name and contract.by_name[name].pii == "none":
        return value
    if isinstance(value, (int, float)) and name in contract.by_name and contract.by_name[name].pii == "none":
        return value if not _LONG_NUMBER.search(str(value)) else HIDDEN
    return _short(mask_value(contract, name, value))


def _short(text: str) -> str:
    hidden = _LONG_NUMBER.sub(HIDDEN, text)  # the whole: what is left of a number that was cut looks short
    return hidden if len(hidden) <= _WIDTH else hidden[: _WIDTH - 1] + "…"
