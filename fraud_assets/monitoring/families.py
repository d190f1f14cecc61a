"""How a metric is made: a gauge of ours with its samples."""

from collections.abc import Iterable

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric


def family(
    name: str, text: str, labels: Iterable[str], samples: Iterable[tuple[tuple[str, ...], float]]
) -> Metric:
    """A gauge `spearhead_<name>` with its samples."""
    made = GaugeMetricFamily(f"spearhead_{name}", text, labels=list(labels))
    for values, number in samples:
        made.add_metric(list(values), number)
    return made
