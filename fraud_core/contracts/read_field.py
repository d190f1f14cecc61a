"""One property of an ODCS schema as a Field; what nothing here enforces is refused."""

import re
from dataclasses import replace
from datetime import timedelta
from typing import Any, get_args

from fraud_core.contracts.document import Document, KeyPath, nearest
from fraud_core.contracts.model import Field, FieldType, Pii
from fraud_core.contracts.pattern import portable
from fraud_core.contracts.times import day_number, duration, timestamp_us

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*", re.ASCII)
RESERVED = {"event_date", "known_at"}
_OPTIONS: dict[str, set[str]] = {
    "string": {"pattern", "minLength", "maxLength", "format"},
    "integer": {"minimum", "maximum", "format"},
    "number": {"minimum", "maximum", "format"},
    "timestamp": {"minimum", "maximum", "timezone", "defaultTimezone"},
    "date": {"minimum", "maximum"},
}
_RANGES = {
    "i8": (-(1 << 7), (1 << 7) - 1),
    "i16": (-(1 << 15), (1 << 15) - 1),
    "i32": (-(1 << 31), (1 << 31) - 1),
    "i64": (None, None),
    "u8": (0, (1 << 8) - 1),
    "u16": (0, (1 << 16) - 1),
    "u32": (0, (1 << 32) - 1),
}


def read_field(document: Document, where: KeyPath) -> Field:
    """Read the property at `where`. Raises ContractError with its line."""
    node: Any = document.data
    for step in where:
        node = node[step]
    return _FieldReader(document, where, node).field()


class _FieldReader:
    def __init__(self, document: Document, where: KeyPath, node: dict[str, Any]) -> None:
        self.document, self.where, self.node = document, where, node

    def fail(self, key: KeyPath, expected: str, found: object, todo: str = "Correct it.") -> Exception:
        return self.document.error((*self.where, *key), expected=expected, found=found, todo=todo)

    def field(self) -> Field:
        node, name = self.node, self.node["name"]
        if not _NAME.fullmatch(name) or name.lower() in RESERVED:
            raise self.fail(
                ("name",),
                f"letters, digits and underscores, beginning with a letter, and none of {', '.join(sorted(RESERVED))}",
                repr(name),
                "Rename the field.",
            )
        kind: Any = node.get("logicalType")
        if kind not in get_args(FieldType):
            raise self.fail(("logicalType",), "one of " + ", ".join(get_args(FieldType)), repr(kind))
        field = Field(
            name,
            kind,
            required=node.get("required", False),
            unique=node.get("unique", False),
            classification=node.get("classification"),
            description=node.get("description") or "",
            examples=tuple(node.get("examples") or ()),
            item_type=self._item_type(kind),
            enum=self._enum(kind, [item["value"] for item in node.get("enum") or ()], ("enum",)),
        )
        field = self._options(field)
        field = self._quality(field)
        return self._custom(field)

    def _item_type(self, kind: str) -> Any:
        if kind != "array":
            return None
        found = (self.node.get("items") or {}).get("logicalType")
        if found not in {"string", "number"}:
            raise self.fail(("items",), "items of logicalType string or number", repr(found))
        return found

    def _enum(self, kind: str, values: list[Any], key: KeyPath) -> tuple[Any, ...]:
        wanted = {"string": str, "integer": int}.get(kind)
        if values and wanted is None:
            raise self.fail(key, "allowed values on a string or integer field", f"them on a {kind}")
        for value in values:
            if type(value) is not wanted:
                raise self.fail(key, f"values of type {kind}", repr(value), "Quote it, or correct the type.")
        return tuple(values)

    def _options(self, field: Field) -> Field:
        options: dict[str, Any] = self.node.get("logicalTypeOptions") or {}
        for option in options:
            if option not in _OPTIONS.get(field.type, set()):
                raise self.fail(
                    ("logicalTypeOptions", option),
                    "an option that is enforced: "
                    + (", ".join(sorted(_OPTIONS.get(field.type, set()))) or "none"),
                    repr(option),
                    "Remove it, or state it as a rule of the schema.",
                )
        field = replace(
            field,
            minimum=self._bound(field, options, "minimum"),
            maximum=self._bound(field, options, "maximum"),
            min_length=options.get("minLength"),
            max_length=options.get("maxLength"),
            format=options.get("format"),
            pattern=self._pattern(options.get("pattern"), ("logicalTypeOptions", "pattern")),
        )
        if field.type == "integer":
            if field.format is not None and field.format not in _RANGES:
                raise self.fail(
                    ("logicalTypeOptions", "format"),
                    "one of " + ", ".join(_RANGES),
                    field.format,
                    "Columns are 64-bit.",
                )
            low, high = _RANGES[field.format or "i64"]
            field = replace(
                field, minimum=_tighter(max, field.minimum, low), maximum=_tighter(min, field.maximum, high)
            )
        if field.minimum is not None and field.maximum is not None and field.minimum > field.maximum:
            raise self.fail(("logicalTypeOptions",), "minimum ≤ maximum", "that no value is allowed")
        return field

    def _bound(self, field: Field, options: dict[str, Any], option: str) -> Any:
        value = options.get(option)
        if value is None or field.type in {"integer", "number"}:
            if field.type == "integer" and isinstance(value, float):
                raise self.fail(("logicalTypeOptions", option), "a whole number", value)
            return value
        typed = timestamp_us(value) if field.type == "timestamp" else day_number(value)
        if typed is None:
            example = "2026-09-01T00:00:00Z" if field.type == "timestamp" else "2026-09-01"
            raise self.fail(("logicalTypeOptions", option), f"a {field.type} such as {example}", repr(value))
        return typed

    def _pattern(self, source: str | None, key: KeyPath) -> str | None:
        if source is not None:
            try:
                portable(source)
            except ValueError as error:
                raise self.fail(key, "a portable regular expression", f"{source!r}: {error}") from None
        return source

    def _quality(self, field: Field) -> Field:
        for index, quality in enumerate(self.node.get("quality") or ()):
            key: KeyPath = ("quality", index)
            if quality.get("type") == "text":
                continue
            metric, arguments = quality.get("metric"), quality.get("arguments") or {}
            if quality.get("type", "library") != "library" or quality.get("mustBe") != 0:
                raise self.fail(
                    key,
                    "a library metric with mustBe: 0",
                    repr(quality.get("type", metric)),
                    "Rules across fields and other engines belong to the schema's own quality list.",
                )
            if metric == "nullValues" and not arguments:
                field = replace(field, required=True)
            elif metric == "invalidValues" and arguments and set(arguments) <= {"validValues", "pattern"}:
                if "validValues" in arguments:
                    valid = self._enum(
                        field.type, arguments["validValues"], (*key, "arguments", "validValues")
                    )
                    field = replace(field, enum=valid)
                if "pattern" in arguments:
                    field = replace(
                        field, pattern=self._pattern(arguments["pattern"], (*key, "arguments", "pattern"))
                    )
            else:
                raise self.fail(
                    key,
                    "nullValues, or invalidValues with validValues or pattern",
                    f"{metric} with {sorted(arguments)}",
                )
        return field

    def _custom(self, field: Field) -> Field:
        changes: dict[str, Any] = {}
        known = {
            "role": "a role", "entity": "an entity", "pii": "one of " + ", ".join(get_args(Pii)),
            "refuseCardNumbers": "true or false", "futureTolerance": "a duration such as 60s",
        }  # fmt: skip
        for index, item in enumerate(self.node.get("customProperties") or ()):
            name, value, key = item["property"], item["value"], ("customProperties", index, "value")
            match name:
                case "role" | "entity" if isinstance(value, str):
                    changes[name] = value
                case "pii" if value in get_args(Pii):
                    changes["pii"] = value
                case "refuseCardNumbers" if isinstance(value, bool) and field.type == "string":
                    changes["refuse_luhn"] = value
                case "futureTolerance" if (
                    field.type == "timestamp" and (found := _duration(value)) is not None
                ):
                    changes["future_tolerance_ms"] = found // timedelta(milliseconds=1)
                case _ if name in known:
                    raise self.fail(key, f"{known[name]} that suits a {field.type} field", repr(value))
                case _:
                    raise self.fail(
                        ("customProperties", index, "property"),
                        "one of " + ", ".join(known),
                        repr(name),
                        f"Correct or remove it{nearest(name, list(known))}.",
                    )
        return replace(field, **changes)


def _duration(value: object) -> timedelta | None:
    return duration(str(value))


def _tighter(choose: Any, bound: float | None, limit: int | None) -> float | None:
    return limit if bound is None else bound if limit is None else choose(bound, limit)
