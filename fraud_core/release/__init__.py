"""What a model release is: an immutable bundle, and the aliases that say which bundle is live."""

from fraud_core.release.aliases import (
    Aliases,
    AliasStore,
    Change,
    bootstrap,
    challenge,
    promote,
    rollback,
    withdraw,
)
from fraud_core.release.bundle import (
    GOLDEN,
    MODEL_ONNX,
    MODEL_UBJ,
    TREES,
    Bundle,
    list_bundles,
    load_bundle,
    read_manifest,
    write_bundle,
)
from fraud_core.release.golden import Golden
from fraud_core.release.manifest import Manifest, Measure, Thresholds, TrainingRecord
from fraud_core.release.path_aliases import PathAliasStore, read_aliases

__all__ = [
    "GOLDEN",
    "MODEL_ONNX",
    "MODEL_UBJ",
    "TREES",
    "AliasStore",
    "Aliases",
    "Bundle",
    "Change",
    "Golden",
    "Manifest",
    "Measure",
    "PathAliasStore",
    "Thresholds",
    "TrainingRecord",
    "bootstrap",
    "challenge",
    "list_bundles",
    "load_bundle",
    "promote",
    "read_aliases",
    "read_manifest",
    "rollback",
    "withdraw",
    "write_bundle",
]
