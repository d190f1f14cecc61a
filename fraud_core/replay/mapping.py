"""Which column of a file becomes which field of the contract.

`replay.yaml` in the contracts folder says it once for all files of that data, `--map` overrides it: a field is a
column, a column times or divided by a number (rounded where the field is an integer), or a constant in quotes. A field
that nothing is said about is the column of its name.
"""

import difflib
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import polars as pl
import yaml

from fraud_core.contracts import Contracts, Field
from fraud_core.errors import ContractError, DataFileError
from fraud_core.simulator.spans import parse_span_ms

MAPPING_FILE: Final = "replay.yaml"

_EXPRESSION = re.compile(r"\s*([^*/]+?)\s*(?:([*/])\s*(\d+(?:\.\d+)?)\s*)?")
_QUOTED = re.compile(r"""\s*(?:'([^']*)'|"([^"]*)")\s*""")


@dataclass(frozen=True)
class FieldSource:
    """Where the values of one field come from."""

    column: str | None
    """Column of the file; None for a constant."""
    constant: str | None = None
    factor: float | None = None

    @classmethod
    def parse(cls, text: str) -> "FieldSource":
        """Read `column`, `column*100`, `column/1000` or `'constant'`. Raises DataFileError."""
        quoted = _QUOTED.fullmatch(text)
        if quoted is not None:
            return cls(None, constant=quoted[1] if quoted[1] is not None else quoted[2])
        match = _EXPRESSION.fullmatch(text)
        if match is None:
            raise DataFileError(
                "The source of a field was expected to be a column, a column*number, a column/number or a 'constant'; "
                f"found {text!r}."
            )
        if match[2] is None:
            return cls(match[1])
        number = float(match[3])
        if not number:
            raise DataFileError(f"A factor other than 0 was expected in {text!r}.")
        return cls(match[1], factor=number if match[2] == "*" else 1.0 / number)


@dataclass(frozen=True)
class Mapping:
    """Sources of the fields of both contracts, by field."""

    fields: dict[str, FieldSource]
    labels: dict[str, FieldSource]
    """Fields of the label besides those it shares with its transaction; empty when the file holds no labels."""
    label_delay_ms: int = 0
    """From the event to the report of its label, where the file does not say when that was."""


def load_mapping(
    contracts: Contracts,
    columns: Sequence[str],
    overrides: Sequence[str] = (),
    label_delay_ms: int | None = None,
) -> Mapping:
    """The mapping of a file with these columns; `overrides` are FIELD=SOURCE.

    Raises DataFileError when a required field has no source or a source is no column of the file.
    """
    transactions, labels = contracts.transactions, contracts.labels
    if labels.label is None or labels.reported_at is None:
        raise ContractError(
            f"{labels.path}: fields with the roles label and reportedAt were expected, which a replay of labels needs. "
            "Give them these roles (customProperties)."
        )
    shared = {labels.event_id, labels.event_time}
    of_label = [item for item in labels.fields if item.name not in shared]
    given, declared_delay_ms = _declared(
        contracts.folder / MAPPING_FILE, transactions.by_name, [*(i.name for i in of_label)]
    )
    demanded = _overrides(overrides, [*transactions.by_name, *(item.name for item in of_label)])
    given |= demanded
    fields, missing = {}, []
    for item in transactions.fields:
        source = _source(item, columns, given, must=item.name in given)
        if source is not None:
            fields[item.name] = source
        elif item.required:
            missing.append(item.name)
    if missing:
        hints = "; ".join(f"{name}{_nearest(name, columns)}" for name in missing)
        raise DataFileError(
            f"The file has no column for these required fields of the contract {transactions.name}: {hints}. Its columns: "
            f"{', '.join(columns)}. Name them with --map FIELD=COLUMN, or in {MAPPING_FILE} beside the contract."
        )
    of_labels: dict[str, FieldSource] = {}
    # A file without labels is as good as any: only a label that --map names must be there.
    if _source(labels.by_name[labels.label], columns, given, must=labels.label in demanded) is not None:
        of_labels = {
            item.name: source
            for item in of_label
            if (source := _source(item, columns, given, must=item.name in given)) is not None
        }
        unmapped = [
            item.name
            for item in of_label
            if item.required
            and item.name not in of_labels
            and item.name != labels.reported_at
            and not item.enum
        ]
        if unmapped:
            raise DataFileError(
                f"The file holds labels but nothing for {', '.join(unmapped)} of the contract {labels.name}. Name a column or "
                f"a constant: --map \"{unmapped[0]}='…'\"."
            )
        for item in of_label:  # a required choice that nobody made: its first
            if item.required and item.name not in of_labels and item.enum:
                of_labels[item.name] = FieldSource(None, constant=str(item.enum[0]))
    delay = label_delay_ms if label_delay_ms is not None else declared_delay_ms
    if delay is None:
        delay = round(labels.maturity.total_seconds() * 1000) if labels.maturity is not None else 0
    return Mapping(fields, of_labels, delay)


def expression(source: FieldSource, dtype: pl.DataType) -> pl.Expr:
    """The values of one field, scaled; not yet of its type unless scaled to a whole number."""
    if source.column is None:
        return pl.lit(source.constant)
    value = pl.col(source.column)
    if source.factor is None:
        return value
    scaled = value.cast(pl.Float64, strict=False) * source.factor
    # To the nearest whole number, halves away from zero; the tiny term repairs 1.005 * 100 = 100.49999….
    return (
        (scaled + 1e-9 * scaled.sign()).round(0, mode="half_away_from_zero") if dtype.is_integer() else scaled
    )


def _declared(
    path: Path, fields: Collection[str], of_label: Collection[str]
) -> tuple[dict[str, list[FieldSource]], int | None]:
    """What replay.yaml says: candidates for each field, and the delay of labels."""
    if not path.is_file():
        return {}, None
    try:
        document: Any = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise DataFileError(f"{path} was expected to be YAML: {error}") from error
    parts = (
        {key: document.get(key) or {} for key in ("transactions", "labels")}
        if isinstance(document, dict)
        else {}
    )
    if not parts or set(document) - set(parts) or not all(isinstance(part, dict) for part in parts.values()):
        found = ", ".join(map(str, document)) if isinstance(document, dict) else type(document).__name__
        raise DataFileError(
            f"{path} was expected to hold `transactions:` and `labels:`, each with FIELD: SOURCE; found {found}."
        )
    delay = parts["labels"].pop("delay", None)
    given = {}
    for part, known in (("transactions", fields), ("labels", of_label)):
        for name, sources in parts[part].items():
            if name not in known:
                raise DataFileError(
                    f"{path}: {part}.{name} is no field of the contract{_nearest(str(name), [*known])}. Fields: {', '.join(known)}."
                )
            listed = sources if isinstance(sources, list) else [sources]
            given[str(name)] = [FieldSource.parse(str(source)) for source in listed]
    return given, None if delay is None else parse_span_ms(str(delay))


def _overrides(overrides: Sequence[str], names: Sequence[str]) -> dict[str, list[FieldSource]]:
    given = {}
    for override in overrides:
        target, equals, source = override.partition("=")
        target = target.strip()
        if not equals or not source.strip():
            raise DataFileError(
                f"--map was expected as FIELD=SOURCE, such as event_ts=tx_datetime; found {override!r}."
            )
        if target not in names:
            raise DataFileError(
                f"--map names the field {target!r}, which the contracts do not have{_nearest(target, names)}. "
                f"Fields: {', '.join(names)}."
            )
        given[target] = [FieldSource.parse(source)]
    return given


def _source(
    item: Field, columns: Sequence[str], given: dict[str, list[FieldSource]], *, must: bool
) -> FieldSource | None:
    candidates = given.get(item.name, [FieldSource(item.name)])
    for source in candidates:
        if source.column is None or source.column in columns:
            return source
    if must:
        wanted = [source.column for source in candidates if source.column is not None]
        raise DataFileError(
            f"The field {item.name!r} was expected in the column {' or '.join(map(repr, wanted))}, which the file does not have"
            f"{_nearest(wanted[0], columns)}. Its columns: {', '.join(columns)}. Name another with --map {item.name}=COLUMN."
        )
    return None


def _nearest(name: str, candidates: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, candidates, n=2, cutoff=0.5)
    return f" (nearest: {', '.join(near)})" if near else ""
