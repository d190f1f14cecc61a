"""Rows of quarantine made ready for people: masked, with their reasons in words and what was done to them."""

from typing import Any

import polars as pl

from fraud_assets.ingestion.replays import replayed_rows
from fraud_assets.ingestion.sealing import Seal
from fraud_assets.lake import Lake, quarantine_of, tables_of
from fraud_assets.quarantine.audit import IDENTITY, SHOWN, Act, Audit
from fraud_assets.quarantine.reasons import in_words
from fraud_assets.quarantine.selection import Selection, find, id_of, payloads
from fraud_assets.quarantine.view import masked, unmasked
from fraud_core.contracts import Contracts, load_contracts, mask_value
from fraud_core.errors import LakeError
from fraud_core.log import Origin
from fraud_core.settings import Settings


def listed(settings: Settings, lake: Lake, rows: pl.DataFrame) -> list[dict[str, Any]]:
    """What a list shows of rows (as `find` gives them), in their order."""
    if not rows.height:
        return []
    contracts, seal = load_contracts(settings.contracts), Seal.of(settings)
    shown = []
    for row, payload in zip(rows.iter_rows(named=True), payloads(lake, rows), strict=True):
        contract = contracts.for_stream(row["_stream"])
        shown.append(
            {
                "id": row["id"],
                "known_at": row["known_at"],
                "kind": row["kind"],
                "state": row["state"],
                "reasons": row["reasons"],
                "event_id": None
                if row["event_id"] is None
                else mask_value(contract, contract.event_id, row["event_id"]),
                "brings_back": row["_replay_of"],
                "event": _event(contracts, seal, row["_stream"], payload),
            }
        )
    return shown


def described(
    settings: Settings,
    lake: Lake,
    origin: Origin,
    *,
    unmask: bool = False,
    actor: str = "",
    because: str = "",
) -> dict[str, Any]:
    """Everything about one row. With `unmask` the audit is written before anything personal is read.

    Raises DataFileError where there is no such row, SettingsError for `unmask` without an actor.
    """
    contracts, audit = load_contracts(settings.contracts), Audit(lake)
    rows = find(lake, Selection((origin.stream,), kind="all", state="all", origins=(origin,)), audit)
    row = rows.row(0, named=True)
    if unmask:
        act = Act.by(actor, "unmask", because)
        audit.conclude(act, SHOWN, rows.select(*IDENTITY, replay_of="root"))
    [payload] = payloads(lake, rows)
    event: Any = _event(contracts, Seal.of(settings), origin.stream, payload)
    if unmask and payload is not None:
        event = unmasked(Seal.of(settings).open(payload))
    return {
        **{
            name: row[name] for name in ("id", "kind", "state", "known_at", "appended_at", "contract_version")
        },
        "brings_back": row["_replay_of"],
        "note": "intended to be brought back, and never concluded: ask again"
        if row["last"] == "intended"
        else "",
        "event": event,
        "reasons": [
            {"code": code, "words": in_words(contracts, origin.stream, code)} for code in row["reasons"]
        ],
        "copies": _copies(lake, origin.stream, row["root"], row["id"]),
        "history": _history(audit, origin),
    }


def _event(contracts: Contracts, seal: Seal, stream: str, payload: bytes | None) -> Any:
    if payload is None:
        return "a repetition: its bytes are those of the event in the table"
    try:
        return masked(contracts, stream, seal.open(payload))
    except LakeError as error:
        return f"{len(payload):,} bytes, sealed. {error}"


def _copies(lake: Lake, stream: str, root: str, own: str) -> list[dict[str, str]]:
    """Every other appearance of the event: in the table, or refused again."""
    quarantine, main = quarantine_of(stream), tables_of(stream)[-1]
    admitted = replayed_rows(lake, lake.table(main), {root}, IDENTITY)
    refused = replayed_rows(lake, lake.table(quarantine), {root}, (*IDENTITY, "kind"))
    found = [{"id": id_, "outcome": f"admitted to {main}"} for id_ in admitted.select(id_of())["id"]]
    for id_, kind in refused.select(id_of(), "kind").iter_rows():
        outcome = "a copy more, kept out" if kind == "duplicate" else "refused again"
        found.append({"id": id_, "outcome": outcome})
    return [each for each in found if each["id"] != own]


def _history(audit: Audit, origin: Origin) -> list[dict[str, Any]]:
    rows = audit.rows().with_columns(id_of()).filter(pl.col("id") == str(origin))
    names = ("at", "actor", "action", "outcome", "because", "request", "mapping_hash", "new_offset")
    return rows.select(names).to_dicts()
