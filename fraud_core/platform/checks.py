"""What `spearhead doctor` asks. Any package adds checks through the entry-point group `spearhead.checks`.

A check is a function that takes the settings and returns what it found; it changes nothing and does not raise for what
it was made to find. It imports what it needs itself, so that the doctor works where half is missing.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import entry_points

from fraud_core.settings import Settings

CHECK_GROUP = "spearhead.checks"


@dataclass(frozen=True)
class Check:
    """One answer: what was looked at, whether it is as it must be, what was found, and what to do otherwise."""

    name: str
    ok: bool
    found: str
    advice: str = ""
    required: bool = True
    """False: the platform works without it, with less."""


CheckFunction = Callable[[Settings], Iterable[Check]]


def run_checks(settings: Settings) -> Iterator[Check]:
    """The answers of every offered check, in the order of their names. A check that fails itself is an answer as well."""
    for point in sorted(entry_points(group=CHECK_GROUP), key=lambda point: point.name):
        try:
            function: CheckFunction = point.load()
            yield from function(settings)
        except Exception as error:  # one that fails must not hide the others
            yield Check(
                name=point.name,
                ok=False,
                found=f"the check itself failed: {type(error).__name__}: {error}",
                advice="If packages are missing, run `make install`; otherwise this is a defect, please report it.",
            )
