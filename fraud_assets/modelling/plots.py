"""Pictures of an evaluation, as PNG bytes for asset metadata."""

import numpy as np
import numpy.typing as npt

from fraud_assets.canvas import canvas, png
from fraud_assets.modelling import ranking as ranked
from fraud_assets.modelling.calibration import CalibrationBin
from fraud_core.release import Thresholds

Scores = npt.NDArray[np.floating]
Fraud = npt.NDArray[np.bool_]

FRAUD, GENUINE, QUIET = "#c2410c", "#1d4ed8", "#94a3b8"


def precision_recall(scores: Scores, fraud: Fraud, thresholds: Thresholds) -> bytes:
    """Precision over recall, with the points where payments are reviewed and declined."""
    order = ranked.rank(scores, fraud)
    precision, recall, cuts = ranked.precision_recall(order)
    figure, axes = canvas("Precision and recall on the test rows")
    axes.step(
        recall,
        precision,
        where="post",
        color=FRAUD,
        label=f"average precision {ranked.average_precision(order):.3f}",
    )
    axes.axhline(float(fraud.mean()), color=QUIET, linestyle=":", label=f"guessing {fraud.mean():.4f}")
    for name, cut, marker in (("review", thresholds.review, "o"), ("decline", thresholds.decline, "s")):
        flagged = np.flatnonzero(cuts >= cut)
        if len(flagged):
            at = flagged[-1]
            axes.plot(
                recall[at], precision[at], marker, color=GENUINE, label=f"{name} from a score of {cut:.3f}"
            )
    axes.set(xlabel="recall (share of frauds found)", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
    axes.legend(loc="lower left")
    return png(figure)


def calibration(bins: tuple[CalibrationBin, ...]) -> bytes:
    """Observed share of frauds over the mean score of each bin, on logarithmic axes."""
    figure, axes = canvas("Calibration on the test rows")
    shown = [found for found in bins if found.mean_score > 0 and found.fraud_share > 0]
    ends = np.array([found.mean_score for found in shown] + [found.fraud_share for found in shown] + [1.0])
    low = float(ends.min()) / 2
    axes.plot([low, 1], [low, 1], color=QUIET, linestyle=":", label="perfect")
    axes.plot(
        [found.mean_score for found in shown],
        [found.fraud_share for found in shown],
        "o-",
        color=FRAUD,
        label="model",
    )
    axes.set(xscale="log", yscale="log", xlim=(low, 1.1), ylim=(low, 1.1))
    axes.set(xlabel="mean score", ylabel="share of frauds")
    axes.legend(loc="upper left")
    return png(figure)


def feature_importance(gain: dict[str, float], most: int = 20) -> bytes:
    """Share of the total gain of the features that matter most."""
    shown = [(name, share) for name, share in gain.items() if share > 0][:most][::-1]
    figure, axes = canvas("What the model looks at", height=max(2.4, 0.6 + 0.24 * len(shown)))
    bars = axes.barh([name for name, _ in shown], [share for _, share in shown], color=GENUINE)
    axes.bar_label(bars, fmt="{:.1%}", padding=3, fontsize=8)
    axes.set(xlabel="share of gain")
    axes.xaxis.set_major_formatter("{x:.0%}")
    axes.margins(x=0.12)
    return png(figure)


def score_distribution(scores: Scores, fraud: Fraud, thresholds: Thresholds) -> bytes:
    """How scores are spread among frauds and genuine payments, with both thresholds."""
    figure, axes = canvas("Scores of frauds and genuine payments")
    edges = np.linspace(0, 1, 51).tolist()
    for name, chosen, colour in (("genuine", ~fraud, GENUINE), ("fraud", fraud, FRAUD)):
        axes.hist(
            scores[chosen],
            edges,
            histtype="stepfilled",
            alpha=0.45,
            color=colour,
            label=f"{name} ({chosen.sum():,})",
        )
    for name, cut, style in (("review", thresholds.review, "--"), ("decline", thresholds.decline, "-")):
        if cut <= 1:
            axes.axvline(cut, color="black", linewidth=1, linestyle=style, label=f"{name} from {cut:.3f}")
    axes.set(xlabel="score", ylabel="payments", yscale="log", xlim=(0, 1))
    axes.legend(loc="upper right")
    return png(figure)
