"""features.yaml: what it means, what it refuses and how it says so."""

from pathlib import Path

import pytest

from fraud_core.contracts import load_contracts
from fraud_core.errors import FeatureError
from fraud_core.features import FeatureSet, load_features
from fraud_core.features.operators import OPERATORS
from tests.core.features.world import DECLARATION, declare

ROOT = Path(__file__).resolve().parents[3]
HEAD = "version: 1\nentities:\n  payer: {history: 1d, remember: 9}\nfilters:\n  web: {kind: web}\nfeatures:\n"


def test_the_little_world_uses_every_operator(features: FeatureSet) -> None:
    assert {feature.operator for feature in features.features} == set(OPERATORS)


@pytest.mark.parametrize("folder", ["data_contracts", "examples/handbook"])
def test_shipped_declarations_fit_their_contracts(folder: str) -> None:
    contracts = load_contracts(ROOT / folder)
    features = load_features(contracts.features_path, contracts)
    assert len(features.names) == len(set(features.names)) >= 30
    for name in features.names:
        assert features.reason(name).endswith(".")
        assert features.hashes[name] in features.explain(name)


@pytest.mark.parametrize(
    ("line", "text", "message"),
    [
        (7, "  a: {fild: {of: amount}, reason: r}", "unknown operator 'fild': did you mean 'field'?"),
        (7, "  a: {field: {of: amuont}, reason: r}", "no field 'amuont': did you mean 'amount'?"),
        (7, "  a: {field: {of: amount}}", "expected `reason`"),
        (7, "  a: {field: {of: amount, off: 1}, reason: r}", "unknown argument 'off': did you mean 'of'?"),
        (7, "  a: {count: {entity: payr, window: 1h}, reason: r}", "unknown entity 'payr': did you mean 'payer'?"),
        (7, "  a: {count: {entity: payer, window: 2d}, reason: r}", "longer than the history of 'payer' (1 day)"),
        (7, "  a: {count: {entity: payer, window: 1 hour}, reason: r}", "a duration such as 30s"),
        (7, "  a: {count: {entity: payer}, reason: r}", "expected the argument 'window'"),
        (7, "  a: {count: {entity: payer, window: 1h, where: wep}, reason: r}", "unknown filter 'wep': did you mean 'web'?"),
        (7, "  a: {sum: {entity: payer, of: degrees, window: 1h}, reason: r}", "`unit: 0.01`"),
        (7, "  a: {sum: {entity: payer, of: kind, window: 1h}, reason: r}", "type integer or number, found 'kind'"),
        (7, "  a: {ratio: {of: b, over: b}, reason: r}", "unknown feature 'b'"),
        (7, "  A: {hour: {}, reason: r}", "lower case"),
        (8, "  a: {hour: {}, reason: r}\n  a: {hour: {}, reason: r}", "declared twice"),
        (7, "  'a_{window}': {count: {entity: payer}, reason: r}", "windows: [1h, 1d]"),
        (7, "  a: {count: {entity: payer, window: 36501d}, reason: r}", "window must be at most 36500 days"),
        (7, "  a: {quantile: {entity: payer, of: amount, at: .nan, window: 1h}, reason: r}", "at must be a number"),
        (7, "  'a_{window}': {count: {entity: payer}, windows: [], reason: r}", "at least one window"),
        (7, "  'a_{window}': {count: {entity: payer, window: 1h}, windows: [1h], reason: r}", "remove `window`"),
        (7, "  a: {count: {entity: payer}, windows: [1h], reason: r}", "name it 'a_{window}', in quotes"),
        (7, "  a: {hour: {}, reasn: r}", "unknown operator 'reasn': did you mean 'reason'?"),
        (7, "  event_date: {hour: {}, reason: r}", "a column 'event_date' of its own"),
        (7, "  a: {night: {from: 6, to: 6}, reason: r}", "found 6 for both"),
        (7, "  a: {differs: {left: kind, right: kind}, reason: r}", "found 'kind' twice"),
        (7, "  a: {differs: {left: kind, right: amount}, reason: r}", "types string and integer"),
        (7, "  a: {since_fraud: {entity: payer, window: 1h}, reason: r}", "`which: oldest`"),
        (7, "  a: {count: {entity: payer, window: 1h}, reason: of {window}}", "stands in quotes"),
        (7, "\ta: {hour: {}, reason: r}", "Indent with spaces"),
        (7, "  a: {hour: {}, above: !!int one, reason: r}", "!!int 'one'"),
        (7, "  a: &a {hour: *a, reason: r}", "an alias (*name)"),
        (7, "  [a]: {hour: {}, reason: r}", "a name before the colon"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_line_and_the_nearest_name(
    tmp_path: Path, line: int, text: str, message: str
) -> None:
    with pytest.raises(FeatureError) as caught:
        declare(tmp_path, HEAD + text + "\n")
    assert f"features.yaml:{line}: " in str(caught.value)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("clause", "message"),
    [
        ("kind: webb", "'kind' never holds 'webb' by its contract: did you mean 'web'?"),
        ("kind: [web, true]", "a value of 'kind' must be a text; put it in quotes, found True"),
        ("kind: []", "expected at least one value of 'kind'"),
        ("", "filter 'f' must name at least one field"),
        ("code: 1.5", "a value of 'code' must be a text"),
        ("amount: 1.0", "a value of 'amount' must be a whole number"),
        ("amount: 007", "without quotes, found '007'"),
        ("flag: yes", "'flag' is true or false, found 'yes'"),
    ],
)
def test_a_filter_that_no_event_could_pass_is_refused(tmp_path: Path, clause: str, message: str) -> None:
    with pytest.raises(FeatureError) as caught:
        declare(tmp_path, filtered(clause))
    assert message in str(caught.value)


@pytest.mark.parametrize("code", ["0742", "NO", "1_000", "22:30", "2026-01-01", "0x10", "5411"])
def test_a_code_in_a_filter_means_what_is_written(tmp_path: Path, code: str) -> None:
    """YAML 1.1 would read an octal number, false, a count of minutes, a date."""
    plain, quoted = (declare(tmp_path, filtered(f"code: {each}")) for each in (code, f"'{code}'"))
    assert plain.hashes == quoted.hashes


def filtered(clause: str) -> str:
    return (
        f"version: 1\nentities:\n  payer: {{history: 1d}}\nfilters:\n  f: {{{clause}}}\n"
        "features:\n  a: {count: {entity: payer, window: 1h, where: f}, reason: r}\n"
    )


@pytest.mark.parametrize(
    ("clause", "message"),
    [
        ("{kind: wep}", "features.yaml:5: 'kind' never holds 'wep'"),
        ("{knd: web}", "features.yaml:5: the contract 'transactions' has no field 'knd'"),
    ],
)
def test_a_filter_that_no_feature_uses_yet_is_read_all_the_same(
    tmp_path: Path, clause: str, message: str
) -> None:
    with pytest.raises(FeatureError) as caught:
        declare(tmp_path, HEAD.replace("{kind: web}", clause) + "  a: {hour: {}, reason: r}\n")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "features.yaml:1: expected entities and features, found an empty file"),
        ("version: 1\n# Größe".encode("latin-1"), "features.yaml:2: expected text in UTF-8, found the byte 0xf6"),
        (b"version: 1\n\0", r"features.yaml:2: expected valid YAML, found the character '\x00'"),
        (b"a: " + b"[" * 60 + b"]" * 60, "features.yaml:1: expected at most 40 levels"),
        (b"features: &a\n  b: *a\n", "features.yaml:1: expected at most 40 levels"),
        (
            b"a: &a [1,1,1,1,1,1,1,1,1,1]\n" + b"".join(b"%c: &%c [%s]\n" % (n + 1, n + 1, b",".join([b"*%c" % n] * 10)) for n in b"abcdef"),
            "expected at most 500,000 values",
        ),
    ],
)  # fmt: skip
def test_a_file_that_is_no_declaration_at_all_is_named_with_its_line(
    tmp_path: Path, content: bytes, message: str
) -> None:
    path = tmp_path / "features.yaml"
    path.write_bytes(content)
    with pytest.raises(FeatureError) as caught:
        load_features(path, None)  # type: ignore[arg-type]  # it fails before a contract is asked
    assert message in str(caught.value)


def test_a_missing_file_says_where_it_was_expected(tmp_path: Path) -> None:
    with pytest.raises(FeatureError, match=r"features\.yaml: a feature declaration was expected here"):
        load_features(tmp_path / "features.yaml", None)  # type: ignore[arg-type]  # it fails before a contract is asked


def test_amounts_in_several_currencies_are_not_added(tmp_path: Path) -> None:
    contracts = load_contracts(ROOT / "data_contracts")
    path = tmp_path / "features.yaml"
    path.write_text(
        "version: 1\nentities: {account: {history: 1d}}\nfeatures:\n"
        "  a: {sum: {entity: account, of: amount_minor, window: 1h}, reason: r}\n"
    )
    with pytest.raises(FeatureError, match=r"several currencies.*use .amount_base_minor."):
        load_features(path, contracts)


def test_a_hash_covers_meaning_and_nothing_else(features: FeatureSet, tmp_path: Path) -> None:
    reworded = declare(tmp_path, "# a comment\n" + DECLARATION.replace("reason: r", "reason: other words"))
    assert (reworded.hash, reworded.state_hash) == (features.hash, features.state_hash)

    other = declare(
        tmp_path,
        DECLARATION.replace("payer: {history: 6h, remember: 6}", "payer: {history: 6h, remember: 7}"),
    )
    changed = {name for name in features.names if other.hashes[name] != features.hashes[name]}
    assert changed == {feature.name for feature in features.features if "payer" in feature.entities}
    assert other.state_hash != features.state_hash


def test_a_feature_of_the_event_alone_keeps_the_state(features: FeatureSet, tmp_path: Path) -> None:
    grown = declare(tmp_path, DECLARATION + "  hour_again: {hour: {}, reason: r}\n")
    assert grown.state_hash == features.state_hash
    assert grown.hash != features.hash
    assert {name: grown.hashes[name] for name in features.names} == features.hashes


def test_explain_tells_meaning_state_and_place(features: FeatureSet) -> None:
    told = features.explain("shop_rate_before")
    assert (
        "share of known frauds among the events of the shop in the last 1 day before the last 3 hours" in told
    )
    assert "its last 40 events of 2 days" in told
    with pytest.raises(FeatureError, match="did you mean 'shop_rate'"):
        features.explain("shop_rat")
