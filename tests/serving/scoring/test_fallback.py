"""The rules for when no model answers: what is wrong with them is said when the service starts."""

import shutil
from pathlib import Path

import pytest

from fraud_core.errors import ServingError
from fraud_core.settings import PACKAGED_CONTRACTS
from fraud_serving.scoring.fallback import FILE, load_fallback
from tests.serving.samples import default_features


def test_the_packaged_rules_decide_from_values_and_features() -> None:
    features = default_features()
    fallback = load_fallback(PACKAGED_CONTRACTS, features.contract, features.names, "review")
    assert fallback.rules
    assert fallback.decide({}).route == "default"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rules: 5", "rules was expected to be a list"),
        ("default: approve", "default was expected to be a list"),
        ("rules: {when: amount_minor > 1}", "rules was expected to be a list"),
        ("rules: [x]", "rules, item 1: expected name, when"),
        ("rules: [{name: a, because: b, when: no_field > 1, decision: review}]", "`when` cannot be read"),
        ("rules: [{name: a, because: b, when: amount_minor > 1, decision: perhaps}]", "found 'perhaps'"),
        ("other: []", "`rules` and `default`"),
        ("rules: [", "should be YAML"),
    ],
)
def test_what_is_wrong_with_the_rules_is_named(tmp_path: Path, text: str, said: str) -> None:
    shutil.copytree(PACKAGED_CONTRACTS, tmp_path, dirs_exist_ok=True)
    (tmp_path / FILE).write_text(text)
    features = default_features()
    with pytest.raises(ServingError, match=said):
        load_fallback(tmp_path, features.contract, features.names, "review")
