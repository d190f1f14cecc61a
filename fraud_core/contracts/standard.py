"""The Open Data Contract Standard's own JSON schema, applied before anything of ours.

The standard's Python model accepts misspelt keys inside nested objects, its JSON schema does not: so the schema judges.
"""

import json
import re
from functools import cache
from importlib.resources import files
from typing import Any, Final

from fraud_core.contracts.document import Document, KeyPath, nearest

_CONFORMING: Final[set[str]] = set()
"""What was found to conform, so that a process judges it once: judging takes ten times as long as reading."""
_UNEXPECTED = re.compile(r"'([^']+)'(?=[^(]*(?:was|were) unexpected)")


@cache
def _validator() -> Any:
    from jsonschema.validators import validator_for

    schema = json.loads(
        files("open_data_contract_standard").joinpath("schema.json").read_text(encoding="utf-8")
    )
    return validator_for(schema)(schema)


@cache
def _known_keys() -> tuple[str, ...]:
    found: set[str] = set()
    pending: list[Any] = [_validator().schema]
    while pending:
        node = pending.pop()
        if isinstance(node, dict):
            properties = node.get("properties")
            if isinstance(properties, dict):
                found.update(properties)
            pending.extend(node.values())
        elif isinstance(node, list):
            pending.extend(node)
    return tuple(sorted(found))


def check_standard(document: Document) -> None:
    """Raise ContractError for the first thing in `document` that the standard does not allow."""
    content = repr(document.data)
    if content in _CONFORMING:
        return
    errors = [_deepest(error) for error in _validator().iter_errors(document.data)]
    if not errors:
        _CONFORMING.add(content)
        return
    error = min(errors, key=lambda each: document.line(_place(each)[0]))
    where, unknown = _place(error)
    if unknown:
        raise document.error(
            where,
            expected="a key of the Open Data Contract Standard",
            found=f"the key {unknown!r}",
            todo=f"Correct or remove it{nearest(unknown, _known_keys())}; own settings go under customProperties.",
        )
    if error.validator == "required":
        raise document.error(
            where, expected="all required keys", found=f"that {error.message}", todo="Add the key."
        )
    raise document.error(
        where,
        expected=_expectation(error),
        found=repr(error.instance)[:120],
        todo="Correct the value as the Open Data Contract Standard asks.",
    )


def _deepest(error: Any) -> Any:
    """An error of anyOf/oneOf says little; the one that lies deepest inside it says what is wrong."""
    while error.context:
        error = max(error.context, key=lambda each: len(each.absolute_path))
    return error


def _place(error: Any) -> tuple[KeyPath, str | None]:
    where: KeyPath = tuple(error.absolute_path)
    if error.validator in {"additionalProperties", "unevaluatedProperties"}:
        names = _UNEXPECTED.findall(error.message)
        if names:
            return (*where, names[0]), names[0]
    return where, None


def _expectation(error: Any) -> str:
    if error.validator == "enum":
        return "one of " + ", ".join(map(str, error.validator_value))
    if error.validator == "type":
        return f"a value of type {error.validator_value}"
    return f"what the standard's rule {error.validator!r} asks ({str(error.validator_value)[:120]})"
