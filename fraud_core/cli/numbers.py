"""Options that are numbers: NaN and the infinities pass every range of click's, and no command means them."""

import math
from typing import Any

import click


class Finite(click.types.FloatParamType):
    """A float that is a number."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return _finite(self, super().convert(value, param, ctx), param, ctx)


class FiniteRange(click.FloatRange):
    """A float that is a number of the range."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return _finite(self, super().convert(value, param, ctx), param, ctx)


def demand_finite(command: click.Command) -> None:
    """Have every option and argument of the command, and of those below it, refuse what is not a finite number."""
    for each in command.params:
        kind = each.type
        if isinstance(kind, click.FloatRange):
            each.type = FiniteRange(kind.min, kind.max, kind.min_open, kind.max_open, kind.clamp)
        elif isinstance(kind, click.types.FloatParamType):
            each.type = Finite()
    if isinstance(command, click.Group):
        for below in command.commands.values():
            demand_finite(below)


def _finite(
    kind: Finite | FiniteRange, number: float, param: click.Parameter | None, ctx: click.Context | None
) -> float:
    if not math.isfinite(number):
        kind.fail(f"a finite number was expected, found {number}.", param, ctx)
    return number
