"""Which models answer now, and how a newly promoted one takes over without a restart.

`aliases.json` is the only truth and is read about once a second. A version is loaded, warmed and proved by its golden
rows first; then one assignment makes it live. A version that cannot be loaded leaves the old one serving, is reported,
and is tried again every few seconds. Where there is no old one, as after a start, the previous model serves.
"""

import asyncio
import logging
import time
from dataclasses import dataclass, replace
from pathlib import Path

from fraud_core.errors import SpearheadError
from fraud_core.release import Aliases, load_bundle, read_aliases
from fraud_serving.models.backend import Backend
from fraud_serving.models.loaded import Features, LoadedModel, prepare

log = logging.getLogger(__name__)

GRACE_S = 30.0
"""How long a version stays loaded after the last alias left it: other workers and requests in flight still use it."""
RETRY_S = 5.0


@dataclass(frozen=True)
class Live:
    """One consistent view of what is live; replaced as a whole."""

    generation: int = 0
    champion: LoadedModel | None = None
    previous: LoadedModel | None = None
    problem: str | None = "No model was released yet. Train one, then `spearhead release bootstrap`."
    """Why the champion that the aliases name is not the one that serves, for people."""


class LiveModels:
    """Follows the aliases. `current` is what requests read; `refresh` is called in the background."""

    def __init__(
        self,
        bundles: Path,
        features: Features,
        local: Backend,
        remote: Backend | None,
        *,
        grace_s: float = GRACE_S,
    ) -> None:
        self.current = Live()
        self._bundles = bundles
        self._features = features
        self._local = local
        self._remote = remote
        self._grace_s = grace_s
        self._seen = 0
        """Generation of the aliases that was tried last, whatever came of it."""
        self._retry_at = 0.0
        self._leaving: dict[str, float] = {}
        self._looking = asyncio.Lock()

    async def refresh(self) -> None:
        """Follow the aliases if they changed, and let go of what nobody needs. Never raises for a bad bundle."""
        async with self._looking:  # a slower look must not put back what a later one has seen
            await self._look()

    async def _look(self) -> None:
        try:
            aliases = await asyncio.to_thread(read_aliases, self._bundles)
        except SpearheadError as error:
            self._report(str(error))
            return
        changed = aliases.generation != self._seen
        again = self.current.problem and time.monotonic() >= self._retry_at
        if aliases.champion and (changed or again):
            await self._follow(aliases)
        # Not before: what ended in an error that nobody thought of is tried again at the next look.
        self._seen = aliases.generation
        await self._let_go()

    async def _follow(self, aliases: Aliases) -> None:
        assert aliases.champion is not None
        live = self.current
        known = {model.version: model for model in (live.champion, live.previous) if model}
        try:
            champion = known.get(aliases.champion) or await self._load(aliases.champion)
        except SpearheadError as error:
            self._retry_at = time.monotonic() + RETRY_S
            if (
                live.champion is None
            ):  # nothing serves that could go on: the next step of the ladder is needed now
                self._make_live(replace(live, previous=await self._previous(aliases, known)))
            self._report(str(error))
            return
        self._make_live(Live(aliases.generation, champion, await self._previous(aliases, known), None))
        log.info("%s is live (generation %d)", champion.version, aliases.generation)

    async def _previous(self, aliases: Aliases, known: dict[str, LoadedModel]) -> LoadedModel | None:
        if not aliases.previous:
            return None
        try:
            return known.get(aliases.previous) or await self._load(aliases.previous)
        except SpearheadError as error:  # the step below it answers all the same
            log.warning("The previous model cannot be loaded as a fallback: %s", error)
            return None

    def _make_live(self, live: Live) -> None:
        before, self.current = self.current, live
        kept = {model.version for model in (live.champion, live.previous) if model}
        leave_at = time.monotonic() + self._grace_s
        left = {model.version for model in (before.champion, before.previous) if model} - kept
        self._leaving.update(dict.fromkeys(left, leave_at))
        for version in kept:
            self._leaving.pop(version, None)

    async def _load(self, version: str) -> LoadedModel:
        bundle = await asyncio.to_thread(load_bundle, self._bundles / version)
        model = await asyncio.to_thread(prepare, bundle, self._features)
        await self._local.load(bundle)
        if self._remote is not None:
            try:
                await self._remote.load(bundle)
            except SpearheadError as error:  # the ladder scores in process until it can be mended
                log.warning("%s does not run in %s yet: %s", version, self._remote.name, error)
        return model

    async def _let_go(self) -> None:
        now = time.monotonic()
        for version in [version for version, at in self._leaving.items() if at <= now]:
            del self._leaving[version]
            await self._local.unload(version)
            if self._remote is not None:
                await self._remote.unload(version)
            log.info("%s was unloaded: no alias names it", version)

    def _report(self, problem: str) -> None:
        if problem != self.current.problem:
            log.error("%s", problem)
            self.current = replace(self.current, problem=problem)
