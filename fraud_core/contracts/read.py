"""From an ODCS file to a Contract. The standard's schema judges first, then what this platform asks beyond it.

Custom properties of a field (in the file as `customProperties: [{property, value}]`):
    role                eventId | eventTime | amount | baseAmount | currency | label | reportedAt
    entity              name of the entity whose id this field holds
    pii                 none | pseudonym | personal: how reports and the command line mask it
    refuseCardNumbers   true: a number that passes the Luhn check is a violation
    futureTolerance     how far a timestamp may lie ahead of the event's arrival, such as 60s
Of the contract: `maturity`, the time after which a label is settled, such as 7d.
What the standard allows but nothing here would enforce is refused, so that no promise is silently empty.
"""

import re
from pathlib import Path
from typing import Any

from fraud_core.contracts.document import Document, KeyPath, nearest, read_document
from fraud_core.contracts.model import Contract, Contracts, Field, Rule, Sla
from fraud_core.contracts.read_field import read_field
from fraud_core.contracts.roles import read_roles
from fraud_core.contracts.rule_parser import parse_rule
from fraud_core.contracts.standard import check_standard
from fraud_core.contracts.times import duration
from fraud_core.errors import ContractError

PACKAGED = Path(__file__).resolve().parents[2] / "data_contracts"
_VERSION = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+", re.ASCII)


def load_contracts(folder: Path) -> Contracts:
    """Read the contracts of a folder. Raises ContractError with file, line and key for the first fault found."""
    if not folder.is_dir():
        raise ContractError(
            f"Expected a folder of contracts at {folder}, found none. "
            "Set SPEARHEAD_CONTRACTS to a folder with transactions.odcs.yaml and labels.odcs.yaml."
        )
    transactions = load_contract(folder / "transactions.odcs.yaml")
    labels = load_contract(folder / "labels.odcs.yaml")
    own = folder / "decisions.odcs.yaml"
    decisions = load_contract(own if own.exists() else PACKAGED / "decisions.odcs.yaml")
    features = folder / "features.yaml"
    return Contracts(folder, transactions, labels, decisions, features_path=features)


def load_contract(path: Path) -> Contract:
    """Read one contract; its name is the file's."""
    document = read_document(path)
    check_standard(document)
    return _Reader(document).contract()


class _Reader:
    def __init__(self, document: Document) -> None:
        self.document, self.data = document, document.data
        self.name = document.path.name.removesuffix(".odcs.yaml")
        self.where: KeyPath = ("schema", 0)

    def contract(self) -> Contract:
        self._identity()
        table = self.data["schema"][0]
        fields = tuple(
            read_field(self.document, (*self.where, "properties", index))
            for index in range(len(table.get("properties") or ()))
        )
        self._names(fields)
        roles = read_roles(self.document, (*self.where, "properties"), self.name, fields)
        owner = self.data.get("team")
        description = self.data.get("description") or {}
        return Contract(
            name=self.name,
            version=self.data["version"],
            description=description.get("purpose") or table.get("description") or "",
            owner=(owner.get("name") or "") if isinstance(owner, dict) else "",
            grain=table.get("dataGranularityDescription") or "",
            fields=fields,
            rules=self._rules(fields),
            slas=self._slas(fields),
            key=self._key(fields, roles),
            maturity=self._maturity(),
            path=self.document.path,
        )

    def _identity(self) -> None:
        document, data = self.document, self.data
        if data["kind"] != "DataContract" or not str(data["apiVersion"]).startswith("v3."):
            raise document.error(
                ("apiVersion",),
                expected="Open Data Contract Standard v3",
                found=data["apiVersion"],
                todo="Use v3.2.0.",
            )
        if not _VERSION.fullmatch(str(data["version"])):
            raise document.error(
                ("version",),
                expected="a semantic version such as 1.0.0",
                found=repr(data["version"]),
                todo="Correct it.",
            )
        tables = data.get("schema") or []
        if len(tables) != 1:
            raise document.error(
                ("schema",), expected="one object", found=f"{len(tables)}", todo="Keep one stream per file."
            )
        for where, found in ((("name",), data.get("name")), ((*self.where, "name"), tables[0]["name"])):
            if found != self.name:
                raise document.error(
                    where,
                    expected=f"{self.name!r}, the file's own name",
                    found=repr(found),
                    todo="Correct the name.",
                )

    def _names(self, fields: tuple[Field, ...]) -> None:
        if not fields:
            raise self.document.error(
                self.where, expected="at least one property", found="none", todo="Add them."
            )
        seen: dict[str, str] = {}
        for index, field in enumerate(fields):
            other = seen.setdefault(field.name.lower(), field.name)
            if other is not field.name:
                raise self.document.error(
                    (*self.where, "properties", index, "name"),
                    expected="names that differ by more than case",
                    found=f"{field.name!r} beside {other!r}",
                    todo="Rename one of the two.",
                )

    def _rules(self, fields: tuple[Field, ...]) -> tuple[Rule, ...]:
        types = {field.name: field.type for field in fields}
        rules: list[Rule] = []
        for index, quality in enumerate(self.data["schema"][0].get("quality") or ()):
            where = (*self.where, "quality", index)
            if quality.get("type") == "text":
                continue
            if quality.get("type") != "custom" or quality.get("engine") != "polars":
                raise self.document.error(
                    where,
                    expected="a rule of type custom and engine polars, or a text",
                    found=f"{quality.get('type', 'library')}/{quality.get('engine') or quality.get('metric')}",
                    todo="State it as a row-by-row expression; anything else would not be enforced.",
                )
            name, text = str(quality.get("name") or ""), quality["implementation"]
            if not re.fullmatch("[a-z][a-z0-9_]*", name) or any(each.name == name for each in rules):
                raise self.document.error(
                    (*where, "name"),
                    expected="a name of its own in snake_case",
                    found=repr(name),
                    todo="It becomes the reason code rule.<name>.",
                )
            try:
                expression = parse_rule(str(text), types)
            except ValueError as error:
                raise self.document.error(
                    (*where, "implementation"),
                    expected="a comparison of fields (docs/contracts.md has the words)",
                    found=f"{text!r}: {error}",
                    todo="Correct the expression.",
                ) from None
            rules.append(Rule(name, str(text).strip(), quality.get("description") or str(text), expression))
        return tuple(rules)

    def _slas(self, fields: tuple[Field, ...]) -> tuple[Sla, ...]:
        names = {f"{self.name}.{field.name}" for field in fields} | {self.name}
        slas: list[Sla] = []
        for index, item in enumerate(self.data.get("slaProperties") or ()):
            element = item.get("element")
            for part in (element or self.name).split(","):
                if part.strip() not in names:
                    raise self.document.error(
                        ("slaProperties", index, "element"),
                        expected=f"{self.name}.<field>",
                        found=repr(part.strip()),
                        todo=f"Correct it{nearest(part.strip(), sorted(names))}.",
                    )
            slas.append(
                Sla(item["property"], item["value"], item.get("unit"), element, item.get("description") or "")
            )
        return tuple(slas)

    def _key(self, fields: tuple[Field, ...], roles: dict[str, Field]) -> tuple[str, ...]:
        properties = self.data["schema"][0]["properties"]
        keyed = [
            (each.get("primaryKeyPosition", index), each["name"])
            for index, each in enumerate(properties)
            if each.get("primaryKey")
        ]
        key = tuple(name for _, name in sorted(keyed)) or (roles["eventId"].name,)
        for field in fields:
            if field.name in key and not field.required:
                raise self.document.error(
                    (*self.where, "properties", fields.index(field)),
                    expected="required: true on a field of the primary key",
                    found="an optional field",
                    todo="Make it required.",
                )
            if field.unique and key != (field.name,):
                raise self.document.error(
                    (*self.where, "properties", fields.index(field)),
                    expected="unique: true on the event id alone",
                    found=f"it on {field.name!r} while the key is {', '.join(key)}",
                    todo="Uniqueness is judged for the primary key; remove unique here.",
                )
        return key

    def _maturity(self) -> Any:
        for index, item in enumerate(self.data.get("customProperties") or ()):
            where = ("customProperties", index)
            if item["property"] != "maturity":
                raise self.document.error(
                    where, expected="the property maturity", found=repr(item["property"]), todo="Remove it."
                )
            found = duration(str(item["value"]))
            if found is None:
                raise self.document.error(
                    where, expected="a duration such as 7d", found=repr(item["value"]), todo="Correct it."
                )
            return found
        return None
