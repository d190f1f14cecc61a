"""Aliases on a local disk or NFS: one lock file, atomic renames, everything synced before it counts.

Invariant: a reader never waits and sees either the old file or the new one. Writers hold `aliases.lock` (flock, which
NFS carries to the server) while they compare, complete the audit and rename.
"""

import fcntl
import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from fraud_core.errors import AliasConflict, BundleError
from fraud_core.release.aliases import Aliases, Change
from fraud_core.release.bundle import sync_folder

_LOG = logging.getLogger(__name__)

# NFS turns flock into locks per process, which do not keep threads apart.
_THREADS = threading.Lock()


class PathAliasStore:
    """`AliasStore` in a folder; `lock_timeout_s` is how long a writer waits for another."""

    def __init__(self, folder: Path, lock_timeout_s: float = 10.0) -> None:
        self.folder = folder
        self.file = folder / "aliases.json"
        self.audit_file = folder / "aliases.log.jsonl"
        self._lock_file = folder / "aliases.lock"
        self._lock_timeout_s = lock_timeout_s

    def read(self) -> Aliases:
        """The aliases as of now. Raises BundleError when the file is not what it should be."""
        try:
            content = self.file.read_bytes()
        except FileNotFoundError:
            return Aliases()
        except OSError as error:
            raise BundleError(
                f"{self.file} should be readable: {error.strerror}. Mount or repair the bundles folder."
            ) from error
        try:
            return Aliases.model_validate_json(content)
        except ValidationError as error:
            raise BundleError(
                f"{self.file} should hold the aliases, but does not: {error.errors()[0]['msg']}. It is written by "
                f"commands only; restore it from the last line of {self.audit_file.name}."
            ) from None

    def compare_and_set(self, expected_generation: int, aliases: Aliases) -> Aliases:
        """Replace the aliases if their generation is still the expected one, else raise AliasConflict."""
        if aliases.generation != expected_generation + 1 or aliases.change is None:
            raise AliasConflict(
                f"A change of generation {expected_generation} must name generation {expected_generation + 1} and "
                f"carry its change; found {aliases.generation}."
            )
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with self._locked():
                now = self.read()
                if now.generation != expected_generation:
                    by = f" ({now.change.kind} by {now.change.actor})" if now.change else ""
                    raise AliasConflict(
                        f"The aliases changed meanwhile: generation {expected_generation} was expected, "
                        f"{now.generation} was found{by}. Look again with `spearhead release list`, then decide."
                    )
                self._complete_audit(now)
                self._replace(aliases)
                self._note(aliases)
        except OSError as error:
            made = self.read().generation == aliases.generation
            raise BundleError(
                f"The aliases in {self.folder} cannot be changed: {error.strerror}. Free space or give this user "
                + (
                    "access; the change is in force, but may not outlive a loss of power."
                    if made
                    else "access; the aliases are as they were."
                )
            ) from error
        return aliases

    def audit(self) -> tuple[Change, ...]:
        """Every change so far, oldest first, the newest completed from the aliases themselves."""
        changes = self._recorded()
        last = self.read().change
        if last and (not changes or changes[-1].generation < last.generation):
            changes.append(last)
        return tuple(changes)

    def _recorded(self) -> list[Change]:
        try:
            lines = self.audit_file.read_bytes().split(b"\n")
        except FileNotFoundError:
            return []
        changes = []
        for line in lines:
            try:
                changes.append(Change.model_validate_json(line))
            except ValidationError:
                # A torn last line: its writer died, and the aliases carry the same change.
                continue
        return changes

    def _complete_audit(self, aliases: Aliases) -> None:
        change = aliases.change
        recorded = self._recorded()
        if change is None or (recorded and recorded[-1].generation >= change.generation):
            return
        with self.audit_file.open("ab") as file:
            # The newline in front closes a line that a dead writer left torn.
            torn = file.tell() > 0 and not self.audit_file.read_bytes().endswith(b"\n")
            file.write((b"\n" if torn else b"") + change.model_dump_json().encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def _note(self, aliases: Aliases) -> None:
        """Record a change that is in force: where that fails the aliases carry it, and the next writer records it."""
        try:
            self._complete_audit(aliases)
        except OSError as error:
            _LOG.warning(
                "%s lacks generation %d until the next change is made: %s.",
                self.audit_file,
                aliases.generation,
                error.strerror,
            )

    def _replace(self, aliases: Aliases) -> None:
        temporary = self.folder / f".aliases.json.{os.getpid()}.{threading.get_ident()}"
        try:
            with temporary.open("wb") as file:
                file.write(aliases.model_dump_json(indent=2).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self.file)
            sync_folder(self.folder)
        finally:
            temporary.unlink(missing_ok=True)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        deadline = time.monotonic() + self._lock_timeout_s
        with _THREADS, self._lock_file.open("ab") as lock:
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise AliasConflict(
                            f"Another process holds {self._lock_file} for {self._lock_timeout_s:g} s already. "
                            "Try again; if nothing is running, look who holds it with `fuser`."
                        ) from None
                    time.sleep(0.02)
            try:
                yield
            finally:
                fcntl.flock(lock, fcntl.LOCK_UN)


def read_aliases(folder: Path) -> Aliases:
    """The aliases beside the bundles in `folder`; generation 0 when nothing was ever released."""
    return PathAliasStore(folder).read()
