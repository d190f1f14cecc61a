"""Whether a candidate may challenge the champion.

Invariant: what is judged is what is released, and both models are judged on the same rows; a difference counts only
when the paired bootstrap interval of the two lies wholly on one side.
"""

from dataclasses import dataclass

from fraud_assets.modelling.evaluation import Evaluation
from fraud_assets.modelling.intervals import interval
from fraud_core.errors import TrainingError


@dataclass(frozen=True)
class GateSettings:
    """Floors that any model must pass, and the metrics in which a candidate must not be worse than the champion.

    least_lift: average precision over the share of frauds, which is what guessing gives.
    """

    least_auc: float = 0.7
    least_lift: float = 5.0
    least_frauds: int = 20
    compared: tuple[str, ...] = ("average_precision", "auc")


@dataclass(frozen=True)
class GateResult:
    """The verdict with a sentence for each thing that was looked at, failures first."""

    passed: bool
    reasons: tuple[str, ...]


def gate(
    candidate: Evaluation, champion: Evaluation | None, settings: GateSettings | None = None
) -> GateResult:
    """Judge a candidate: absolute floors always, and against the champion where there is one.

    Raises TrainingError when the two were evaluated on different rows.
    """
    chosen = settings or GateSettings()
    found = _floors(candidate, chosen)
    if champion is not None:
        if champion.rows_digest != candidate.rows_digest:
            raise TrainingError(
                "Candidate and champion must be judged on the same test rows, and were not. Evaluate the champion's bundle "
                "on the candidate's test rows."
            )
        found += [_against(name, candidate, champion) for name in chosen.compared]
    found.sort(key=lambda verdict: verdict[0])
    return GateResult(all(ok for ok, _ in found), tuple(reason for _, reason in found))


def _floors(candidate: Evaluation, settings: GateSettings) -> list[tuple[bool, str]]:
    frauds, rows = candidate.value("test_frauds"), candidate.value("test_rows")
    lift = candidate.value("average_precision") / (frauds / rows) if frauds else 0.0
    auc = candidate.value("auc")
    return [
        (
            frauds >= settings.least_frauds,
            f"{frauds:.0f} frauds in the test rows, at least {settings.least_frauds} are needed",
        ),
        (auc >= settings.least_auc, f"AUC ROC {auc:.4f}, at least {settings.least_auc:g} is needed"),
        (
            lift >= settings.least_lift,
            f"average precision is {lift:.1f} times the share of frauds, at least {settings.least_lift:g} is needed",
        ),
    ]


def _against(name: str, candidate: Evaluation, champion: Evaluation) -> tuple[bool, str]:
    new, old = candidate.value(name), champion.value(name)
    bounds = None
    if name in candidate.replicates and name in champion.replicates:
        bounds = interval(candidate.replicates[name] - champion.replicates[name])
    # Without an interval only "not worse at all" can be vouched for.
    low, high = bounds or (new - old, new - old)
    verdict = "worse than" if high < 0 else "better than" if low > 0 else "not worse than"
    return (
        not high < 0,
        f"{name} {new:.4f} is {verdict} the champion's {old:.4f} (difference {low:+.4f} to {high:+.4f})",
    )
