"""The sentences of features: none is said of a value that contradicts it, and one without a value has words of its own."""

from pathlib import Path

import numpy as np
import pytest

from fraud_core.contracts import load_contracts
from fraud_core.errors import FeatureError
from fraud_core.features import load_features
from fraud_core.features.wording import Wording
from tests.core.features.world import declare

ROOT = Path(__file__).resolve().parents[3]
HEAD = "version: 1\nentities:\n  payer: {history: 1d, remember: 9}\nfeatures:\n"
NAN = float("nan")


def test_a_sentence_is_said_of_the_values_of_which_it_is_true() -> None:
    many = Wording("Many.", above=1)
    assert [many.of(value) for value in (NAN, -1, 0, 1, 1.5, np.inf)] == [
        None,
        None,
        None,
        None,
        "Many.",
        "Many.",
    ]
    young = Wording("New.", absent="Unknown.", below=90)
    assert [young.of(value) for value in (NAN, 0, 89, 90)] == ["Unknown.", "New.", "New.", None]
    assert Wording("Any.").of(0) == "Any."


def test_each_window_has_its_own_words_for_no_value(tmp_path: Path) -> None:
    features = declare(
        tmp_path,
        HEAD
        + "  'mean_{window}': {mean: {entity: payer, of: amount, past: true}, windows: [1h, 1d], above: 0.5,\n"
        "    absent: 'Nothing in {window}.', reason: 'Other in {window}.'}\n",
    )
    day = features.feature("mean_1d").wording
    assert (day.of(NAN), day.of(1), day.of(0.5)) == ("Nothing in 1 day.", "Other in 1 day.", None)
    told = features.explain("mean_1d")
    assert "Other in 1 day. (said of values above 0.5)" in told
    assert "without a value: Nothing in 1 day." in told


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("above: much", "above must be a number"),
        ("above: 3, below: 3", "above 3 and below 3, which none can be"),
        ("absent: 7", "absent must be a text"),
        ("abov: 3", "unknown operator 'abov': did you mean 'above'?"),
    ],
)
def test_a_bound_that_no_value_keeps_is_refused(tmp_path: Path, keys: str, message: str) -> None:
    with pytest.raises(FeatureError, match=message):
        declare(tmp_path, HEAD + f"  a: {{hour: {{}}, {keys}, reason: r}}\n")


@pytest.mark.parametrize("folder", ["data_contracts", "examples/handbook", "examples/game"])
def test_no_shipped_sentence_speaks_of_what_did_not_happen(folder: str) -> None:
    """Counts of a new entity, flags that are not set, and what was never reported give no reason."""
    contracts = load_contracts(ROOT / folder)
    features = load_features(contracts.features_path, contracts)
    for feature in features.features:
        if feature.operator in {"frauds", "fraud_rate", "first_seen", "night", "differs"}:
            assert feature.wording.of(0) is None, feature.name
        if feature.operator == "distinct" or feature.wording.text.startswith("Many"):
            assert feature.wording.of(1) is None, feature.name
        if feature.operator == "present":
            assert feature.wording.of(1) is None, feature.name
