"""Which model is live: `aliases.json` beside the bundles, and the only truth about it.

Invariant: aliases change by compare-and-set on their generation and nothing else. The file carries the change that
made it, so that the audit (`aliases.log.jsonl`) can be completed by the next writer when one died between the two.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

from fraud_core.errors import AliasConflict, BundleError
from fraud_core.release.bundle import load_bundle

Kind = Literal["bootstrap", "challenge", "withdraw", "promote", "rollback"]


class Change(BaseModel):
    """Who changed the aliases, how and why; one line of the audit."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    generation: int
    kind: Kind
    version: str
    replaced: str | None = None
    actor: str = Field(min_length=1)
    reason: str = Field(min_length=1)
    at: datetime


class Aliases(BaseModel):
    """The live model, its challenger and the one before; `generation` counts the changes, 0 = none yet."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    generation: Annotated[int, Field(ge=0)] = 0
    champion: str | None = None
    challenger: str | None = None
    previous: str | None = None
    change: Change | None = None

    @property
    def in_use(self) -> frozenset[str]:
        """Versions that some alias names; their bundles and training sets must be kept."""
        return frozenset(v for v in (self.champion, self.challenger, self.previous) if v)


class AliasStore(Protocol):
    """Where aliases live. A path has `PathAliasStore`; an object store would put with If-Match on the ETag."""

    def read(self) -> Aliases:
        """The aliases as of now; generation 0 when nothing was ever released."""
        ...

    def compare_and_set(self, expected_generation: int, aliases: Aliases) -> Aliases:
        """Replace the aliases if their generation is still the expected one, else raise AliasConflict."""
        ...

    def audit(self) -> tuple[Change, ...]:
        """Every change so far, oldest first."""
        ...


def bootstrap(store: AliasStore, bundles: Path, version: str, *, actor: str, reason: str) -> Aliases:
    """Make the very first model live. Raises AliasConflict when there is a champion already."""
    now = store.read()
    if now.champion:
        raise AliasConflict(f"Bootstrap is for the first model. {_way_to_live(now, version)}")
    return _apply(store, bundles, now, "bootstrap", version, actor=actor, reason=reason, champion=version)


def challenge(store: AliasStore, bundles: Path, version: str, *, actor: str, reason: str) -> Aliases:
    """Make a candidate that passed the gate the challenger, in place of an earlier one."""
    now = store.read()
    if not now.champion:
        raise AliasConflict(f"No model is live yet that {version} could challenge. Bootstrap it instead.")
    if version == now.champion:
        raise AliasConflict(f"{version} is the champion; a challenger must be another version.")
    return _apply(
        store,
        bundles,
        now,
        "challenge",
        version,
        actor=actor,
        reason=reason,
        challenger=version,
        replaced=now.challenger,
    )


def withdraw(store: AliasStore, *, actor: str, reason: str) -> Aliases:
    """Take the challenger out of the race, as after a failed canary."""
    now = store.read()
    if not now.challenger:
        raise AliasConflict("There is no challenger to withdraw. See `spearhead release list`.")
    return _apply(store, None, now, "withdraw", now.challenger, actor=actor, reason=reason, challenger=None)


def promote(store: AliasStore, bundles: Path, version: str, *, actor: str, reason: str) -> Aliases:
    """Make the challenger the champion; the champion becomes `previous`."""
    now = store.read()
    if version != now.challenger:
        raise AliasConflict(
            f"Only the challenger can be promoted: {now.challenger or 'none'} is expected, {version} was given. "
            "See `spearhead release list`; the gate makes a candidate the challenger."
        )
    return _apply(
        store,
        bundles,
        now,
        "promote",
        version,
        actor=actor,
        reason=reason,
        champion=version,
        challenger=None,
        previous=now.champion,
        replaced=now.champion,
    )


def rollback(store: AliasStore, bundles: Path, *, actor: str, reason: str) -> Aliases:
    """Make the previous model live again. What is rolled back gets no alias, so that nothing falls back on it."""
    now = store.read()
    if not now.previous:
        raise AliasConflict(
            "There is no previous model to roll back to. Promote another version, or train again."
        )
    return _apply(
        store,
        bundles,
        now,
        "rollback",
        now.previous,
        actor=actor,
        reason=reason,
        champion=now.previous,
        previous=None,
        replaced=now.champion,
    )


def _way_to_live(now: Aliases, version: str) -> str:
    """What a person can do about a version that cannot be bootstrapped since a champion is live."""
    if version == now.champion:
        return f"{version} is live already; nothing was changed."
    if version == now.challenger:
        return f"{now.champion} is live and {version} its challenger: `spearhead release promote {version}`."
    return (
        f"{now.champion} is live; nothing was changed. The gate makes a candidate the challenger when `release` is "
        "materialized; `spearhead release promote` then makes the challenger live."
    )


def _apply(
    store: AliasStore,
    bundles: Path | None,
    now: Aliases,
    kind: Kind,
    version: str,
    *,
    actor: str,
    reason: str,
    replaced: str | None = None,
    **aliases: str | None,
) -> Aliases:
    if not actor.strip() or not reason.strip():
        raise AliasConflict(
            f"A {kind} must name who decided it and why; give both (--approver and --reason)."
        )
    if bundles is not None:
        if Path(version).name != version:
            raise BundleError(f"A model version is the name of a bundle, and {version!r} is a path.")
        load_bundle(bundles / version)
    change = Change(
        generation=now.generation + 1,
        kind=kind,
        version=version,
        replaced=replaced,
        actor=actor.strip(),
        reason=reason.strip(),
        at=datetime.now(UTC),
    )
    return store.compare_and_set(
        now.generation,
        now.model_copy(update={**aliases, "generation": now.generation + 1, "change": change}),
    )
