"""What the service counts. Every label takes its values from a short list; nothing a caller sends becomes a label."""

from prometheus_client import Counter, Gauge, Histogram

LATENCY_BUCKETS = (
    0.0005, 0.001, 0.0015, 0.002, 0.003, 0.004, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0,
)  # fmt: skip

REQUESTS = Counter("spearhead_requests", "HTTP requests by route and status.", ("endpoint", "status"))
LATENCY = Histogram(
    "spearhead_request_seconds",
    "Seconds from a request's arrival to its answer.",
    ("endpoint",),
    buckets=LATENCY_BUCKETS,
)
DECISIONS = Counter(
    "spearhead_decisions", "Decisions by what answered.", ("source", "decision", "route", "backend")
)
FALLBACKS = Counter(
    "spearhead_fallbacks",
    "Decisions made below the first step of the failure ladder, by reason.",
    ("reason",),
)
REPEATS = Counter(
    "spearhead_repeats", "Payments sent again: answered from the claim, or refused.", ("outcome",)
)
UNLOGGED = Counter("spearhead_unlogged_decisions", "Decisions that could not be appended to the log.")
STATE_LOSSES = Counter(
    "spearhead_state_losses",
    "Times that this process found the online state gone, or withdrew one that lacks what was acknowledged.",
)
FENCED = Counter(
    "spearhead_fenced",
    "Payments that met a rebuild's handover: refused (to be applied anew), held, or degraded because it took too long.",
    ("outcome",),
)
REFUSED = Counter("spearhead_refused_events", "Events that broke the contract.", ("source",))
SKIPPED = Counter(
    "spearhead_scorer_skipped_events",
    "Events that the stream scorer passed over; a block that was passed over unopened counts once.",
    ("reason",),
)
GAPS = Counter(
    "spearhead_scorer_gaps",
    "Times that the stream scorer found entries removed that it had not read, all of them folded by a rebuild.",
)
SCORES = Histogram(
    "spearhead_score",
    "Fraud probabilities given.",
    buckets=(0.001, 0.003, 0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1.0),
)
GENERATION = Gauge(
    "spearhead_alias_generation", "Generation of the aliases that is live.", multiprocess_mode="livemin"
)
MODEL_PROBLEM = Gauge(
    "spearhead_model_problem",
    "1 while the champion that the aliases name cannot be served.",
    multiprocess_mode="livemax",
)
DEPENDENCY_UP = Gauge(
    "spearhead_dependency_up", "1 while a dependency answers.", ("dependency",), multiprocess_mode="livemin"
)
