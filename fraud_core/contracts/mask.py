"""Personal values as people may see them: in reports, in checks and on the command line.

A pseudonym keeps its last four characters, so that two rows can be told apart; what is personal is hidden whole.
"""

import json

import polars as pl

from fraud_core.contracts.model import Contract

HIDDEN = "•••"


def mask(contract: Contract, frame: pl.DataFrame) -> pl.DataFrame:
    """The same rows with personal columns masked as text; nulls stay null."""
    masked = []
    for field in contract.fields:
        if field.pii == "none" or field.name not in frame.columns:
            continue
        column = pl.col(field.name)
        if field.pii == "pseudonym" and frame.schema[field.name] == pl.String:
            tail = pl.when(column.str.len_chars() > 8).then(column.str.tail(4)).otherwise(pl.lit(""))
            shown = pl.concat_str(pl.lit(HIDDEN), tail)
        else:
            shown = pl.lit(HIDDEN)
        masked.append(pl.when(column.is_not_null()).then(shown).otherwise(None).alias(field.name))
    return frame.with_columns(masked)


def mask_value(contract: Contract, name: str, value: object) -> str:
    """One value of a field, masked."""
    field = contract.by_name.get(name)
    text = value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
    if field is not None and field.pii == "none":
        return text
    if field is not None and field.pii == "pseudonym" and isinstance(value, str) and len(value) > 8:
        return HIDDEN + text[-4:]
    return HIDDEN
