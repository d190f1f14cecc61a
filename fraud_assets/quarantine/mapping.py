"""A small repair of refused events: steps in a YAML file, applied in their order to each event's JSON.

    steps:
      - rename: {field: amt, to: amount_minor}
      - convert: {field: amount_minor, factor: 100}
      - replace: {field: country, from: UK, to: GB}
      - set: {field: currency, value: EUR}
      - drop: {field: debug}

A field inside an object is `object.field`. A step whose field is absent does nothing; `set` also fills in an absent
one. Numbers stay exact: decimal places are neither rounded nor invented. What a step cannot do to an event is a
reason not to bring that event back.
"""

import hashlib
import json
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation, localcontext
from pathlib import Path
from typing import Any, Final

from fraud_core.contracts import Contract
from fraud_core.contracts.document import Document, KeyPath, nearest, read_document
from fraud_core.errors import DataFileError

_KEYS: Final = {
    "rename": ("field", "to"),
    "set": ("field", "value"),
    "replace": ("field", "from", "to"),
    "convert": ("field", "factor"),
    "drop": ("field",),
}
_DIGITS: Final = 60
"""More than any number that a contract admits; beyond it a number is not computed with."""


class NotRepairable(Exception):
    """An event that this mapping cannot repair, with the reason as a code."""


@dataclass(frozen=True)
class Step:
    """One step; `value` is the new name, the constant, the new value or the factor."""

    kind: str
    field: str
    value: Any = None
    instead_of: Any = None

    def apply(self, event: dict[str, Any]) -> None:
        """Change the event. Raises NotRepairable."""
        holder, name = _holder(event, self.field, create=False)
        if self.kind == "set":
            holder, name = _holder(event, self.field, create=True)
            holder[name] = self.value
        elif name not in holder:
            return
        elif self.kind == "rename":
            _rename(holder, name, self.value.rpartition(".")[2])
        elif self.kind == "replace":
            if _same(holder[name], self.instead_of):
                holder[name] = self.value
        elif self.kind == "convert":
            holder[name] = _converted(self.field, holder[name], self.value)
        else:
            del holder[name]


@dataclass(frozen=True)
class Mapping:
    """The steps of a file; `text` says them in one canonical way, `hash` names that text."""

    steps: tuple[Step, ...] = ()

    @property
    def text(self) -> str:
        """The steps as JSON, the same however the file was laid out; empty without steps."""
        if not self.steps:
            return ""
        return json.dumps(
            [{key: value for key, value in vars(step).items() if value is not None} for step in self.steps],
            default=str, sort_keys=True, separators=(",", ":"),
        )  # fmt: skip

    @property
    def hash(self) -> str:
        """SHA-256 of the text; empty without steps."""
        return hashlib.sha256(self.text.encode()).hexdigest() if self.steps else ""

    def apply(self, payload: bytes) -> bytes:
        """The event repaired; without steps its very bytes. Raises NotRepairable."""
        if not self.steps:
            return payload
        event = _read(payload)
        for step in self.steps:
            step.apply(event)
        return _written(event).encode()


def load_mapping(path: Path, contract: Contract) -> Mapping:
    """Read a mapping for events of this contract. Raises ContractError or DataFileError with the line of the fault."""
    if not path.is_file():
        raise DataFileError(f"A file with the steps of a mapping was expected at {path}; there is none.")
    document = read_document(path)
    for key in document.data:
        if key != "steps":
            raise document.error(
                (key,), expected="the key steps and no other", found=repr(key), todo="Remove it."
            )
    steps = document.data.get("steps")
    if not isinstance(steps, list) or not steps:
        raise document.error(
            ("steps",), expected="a list of steps", found=repr(steps), todo="Write at least one."
        )
    return Mapping(tuple(_step(document, contract, ("steps", at), step) for at, step in enumerate(steps)))


def _step(document: Document, contract: Contract, where: KeyPath, given: Any) -> Step:
    if not isinstance(given, dict) or len(given) != 1:
        raise document.error(
            where,
            expected=f"one of {', '.join(_KEYS)} with its keys",
            found=repr(given)[:80],
            todo="Give each step its own item.",
        )
    [(kind, body)] = given.items()
    here = (*where, kind)
    if kind not in _KEYS:
        raise document.error(
            here,
            expected=f"a step of {', '.join(_KEYS)}",
            found=repr(kind),
            todo=f"Correct it{nearest(kind, list(_KEYS))}.",
        )
    wanted = _KEYS[kind]
    if not isinstance(body, dict) or set(body) != set(wanted):
        found = ", ".join(body) if isinstance(body, dict) else repr(body)[:80]
        raise document.error(
            here, expected=f"the keys {', '.join(wanted)}", found=found or "none", todo="Correct them."
        )
    field = body["field"]
    if not isinstance(field, str) or not field or field.count(".") > 1:
        raise document.error(
            (*here, "field"),
            expected="the name of a field, or object.field",
            found=repr(field),
            todo="Correct it.",
        )
    # What comes out of a step must be known to the contract; what goes in need not be.
    made, place = {"rename": (body.get("to"), "to"), "drop": (None, "field")}.get(kind, (field, "field"))
    if made is not None:
        _check_field(document, contract, (*here, place), made)
    if kind == "rename" and field.rpartition(".")[0] != str(made).rpartition(".")[0]:
        raise document.error(
            (*here, "to"),
            expected=f"a name beside {field}",
            found=repr(made),
            todo="A step renames within one object.",
        )
    value = body.get({"rename": "to", "set": "value", "convert": "factor"}.get(kind, "to"))
    if kind == "convert":
        value = _factor(document, (*here, "factor"), value)
    return Step(kind, field, value, body.get("from"))


def _check_field(document: Document, contract: Contract, where: KeyPath, name: Any) -> None:
    outer, dot, _ = str(name).partition(".")
    known = contract.by_name.get(outer)
    if known is None or (dot and known.type != "object"):
        raise document.error(
            where, expected=f"a field of the contract {contract.name}{', of an object' if dot and known else ''}",
            found=repr(name), todo=f"Correct it{nearest(outer, list(contract.by_name))}.",
        )  # fmt: skip


def _factor(document: Document, where: KeyPath, value: Any) -> Decimal:
    number = _number(value) if not isinstance(value, str) else None
    if number is None or not number:
        raise document.error(
            where,
            expected="a number other than 0, such as 100 or 0.01",
            found=repr(value),
            todo="Correct it.",
        )
    return number


def _holder(event: dict[str, Any], field: str, *, create: bool) -> tuple[dict[str, Any], str]:
    """The object that holds a field, and the field's name in it."""
    outer, dot, inner = field.partition(".")
    if not dot or field in event:
        return event, field
    holder = event.get(outer)
    if holder is None and create:
        holder = event[outer] = {}
    if isinstance(holder, dict):
        return holder, inner
    if create:
        raise NotRepairable(f"mapping: {outer} is no object")
    return {}, inner


def _rename(holder: dict[str, Any], name: str, to: str) -> None:
    if to == name:
        return
    if holder.get(to) is not None:
        raise NotRepairable(f"mapping: {to} is there beside {name}")
    pairs = [(to if key == name else key, value) for key, value in holder.items() if key != to]
    holder.clear()
    holder.update(pairs)


def _same(value: Any, wanted: Any) -> bool:
    """Equal, and of one kind: 1 is neither true nor "1"."""
    if isinstance(value, bool) or isinstance(wanted, bool):
        return value is wanted
    number = _number(value) if not isinstance(value, str) else None
    if number is not None:
        return not isinstance(wanted, str) and number == _number(wanted)
    return type(value) is type(wanted) and bool(value == wanted)


def _converted(field: str, value: Any, factor: Decimal) -> int | Decimal | None:
    if value is None:
        return None
    number = _number(value)
    if number is None:
        raise NotRepairable(f"mapping: {field} is no number")
    with localcontext(prec=2 * _DIGITS):
        product = number * factor
        return int(product) if product == product.to_integral_value() else product


def _number(value: Any) -> Decimal | None:
    """The exact value of a number, or of a text that writes one; None for anything else, and for what is absurdly large."""
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal, str)):
        return None
    if isinstance(value, str) and len(value) > _DIGITS:
        return None
    if isinstance(value, int) and value.bit_length() > 200:
        return None
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return None
    if (
        not number.is_finite()
        or len(number.as_tuple().digits) > _DIGITS
        or (number and abs(number.adjusted()) > _DIGITS)
    ):
        return None
    return number


def _read(payload: bytes) -> dict[str, Any]:
    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        event = dict(items)
        if len(event) != len(items):  # a mapping must not decide silently which of two values counts
            raise NotRepairable("row.repeated_field")
        return event

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    try:
        event = json.loads(
            payload.decode(), object_pairs_hook=pairs, parse_float=Decimal, parse_constant=refuse
        )
    except (ValueError, RecursionError):
        raise NotRepairable("row.unparseable") from None
    if not isinstance(event, dict):
        raise NotRepairable("row.unparseable")
    return event


def _written(value: Any) -> str:
    """JSON with every number as it was read."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(str(key))}:{_written(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_written, value)) + "]"
    return str(value) if isinstance(value, Decimal) else json.dumps(value)
