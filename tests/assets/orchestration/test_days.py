"""What works day by day says so when it is started without days."""

import pytest

from fraud_core.settings import Settings
from tests.assets.orchestration.conftest import Run, reasons

pytestmark = pytest.mark.valkey


@pytest.mark.parametrize("asset", ["features", "feature_statistics", "feature_parity"])
def test_a_run_without_days_is_told_how_to_name_them(settings: Settings, run: Run, asset: str) -> None:
    result = run(settings, "feature_refresh", assets=[asset])
    assert not result.success
    assert "SettingsError" in reasons(result)
    assert "give --from and --to" in reasons(result)
