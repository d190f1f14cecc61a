"""When a feature's sentence may be said: a reason that its own value contradicts is worse than one reason less.

`reason` is said of any value; `above` and `below` bound the values of which it is true; `absent` is what is said where the feature
has no value. A feature without `absent` gives no reason then.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from fraud_core.features.source import Value

KEYS: Final = ("reason", "absent", "above", "below")


@dataclass(frozen=True)
class Wording:
    """The sentences of one feature."""

    text: str
    absent: str | None = None
    above: float | None = None
    below: float | None = None

    def of(self, value: float) -> str | None:
        """What is said of this value (NaN: there is none); None when nothing true can be."""
        if value != value:  # noqa: PLR0124 (NaN)
            return self.absent
        if (self.above is not None and value <= self.above) or (
            self.below is not None and value >= self.below
        ):
            return None
        return self.text

    def bounds(self) -> str:
        """When it is said, in words; empty when always."""
        found = [
            f"{word} {bound:g}"
            for word, bound in (("above", self.above), ("below", self.below))
            if bound is not None
        ]
        return " and ".join(found)


def read_wording(name: str, value: Value, settings: Mapping[str, Value]) -> Wording:
    """The wording of a feature as declared. Raises FeatureError naming file and line."""
    if "reason" not in settings:
        value.fail(f"feature {name!r}: expected `reason`, a sentence that tells a person what it says.")
    above, below = (settings[key].number(key) if key in settings else None for key in ("above", "below"))
    if above is not None and below is not None and above >= below:
        settings["above"].fail(
            f"feature {name!r}: its reason holds for values above {above:g} and below {below:g}, which none can be; "
            "correct one of the two."
        )
    absent = settings["absent"].text("absent") if "absent" in settings else None
    return Wording(settings["reason"].text("reason"), absent, above, below)
