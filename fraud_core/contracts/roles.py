"""The roles that fields play, and what each kind of contract cannot do without."""

from fraud_core.contracts.document import Document, KeyPath, nearest
from fraud_core.contracts.model import Field

_ROLE_TYPES = {
    "eventId": "string",
    "eventTime": "timestamp",
    "amount": "integer",
    "baseAmount": "integer",
    "currency": "string",
    "label": "boolean",
    "reportedAt": "timestamp",
}
_NEEDED_ROLES = {
    "transactions": ("eventId", "eventTime"),
    "labels": ("eventId", "eventTime", "label", "reportedAt"),
    "decisions": ("eventId", "eventTime"),
}


def read_roles(document: Document, where: KeyPath, name: str, fields: tuple[Field, ...]) -> dict[str, Field]:
    """Role to field, checked: each role and entity once, on a field of its type, and all that are needed.

    `where` is the list of properties. Raises ContractError with the line of the field at fault.
    """
    roles: dict[str, Field] = {}
    entities: set[str] = set()
    for index, field in enumerate(fields):
        if field.role is not None:
            _role(document, (*where, index), field, roles)
        if field.entity is not None:
            _entity(document, (*where, index), field, entities)
    for role in _NEEDED_ROLES.get(name, ("eventId", "eventTime")):
        if role not in roles or not roles[role].required:
            raise document.error(
                where,
                expected=f"a required field with the role {role}",
                found="none" if role not in roles else f"that {roles[role].name!r} is optional",
                todo=f"Mark it with customProperties: [{{property: role, value: {role}}}] and required: true.",
            )
    if name == "transactions" and not entities:
        raise document.error(
            where,
            expected="at least one entity",
            found="none",
            todo="Mark the field that holds an entity's id with customProperties: [{property: entity, value: …}].",
        )
    currency = roles.get("currency")
    several = currency is not None and len(currency.enum) != 1
    if currency is not None and several and "amount" in roles and "baseAmount" not in roles:
        raise document.error(
            (*where, fields.index(currency)),
            expected="a field with the role baseAmount beside several currencies",
            found="none",
            todo="Amounts of different currencies cannot be added: add the amount in one base currency, "
            "or allow one currency only.",
        )
    return roles


def _role(document: Document, where: KeyPath, field: Field, roles: dict[str, Field]) -> None:
    role = field.role or ""
    allowed = _ROLE_TYPES.get(role)
    if allowed is None:
        raise document.error(
            where,
            expected="a role among " + ", ".join(_ROLE_TYPES),
            found=repr(role),
            todo=f"Correct it{nearest(role, list(_ROLE_TYPES))}.",
        )
    if role in roles or field.type != allowed:
        raise document.error(
            where,
            expected=f"one {allowed} field with the role {role}",
            found=f"a second one, {field.name!r}" if role in roles else f"a {field.type}",
            todo="Give the role to the right field.",
        )
    roles[role] = field


def _entity(document: Document, where: KeyPath, field: Field, entities: set[str]) -> None:
    entity = field.entity or ""
    if field.type != "string" or entity in entities:
        raise document.error(
            where,
            expected=f"one string field that holds the id of the entity {entity!r}",
            found=f"a second one, {field.name!r}" if entity in entities else f"a {field.type}",
            todo="Name each entity once, on a string field.",
        )
    entities.add(entity)
