"""What passes between assets of one lineage: a small JSON handle that names data, never the data, never a pickle."""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import dagster as dg

from fraud_assets.orchestration.resources import Platform
from fraud_core.errors import BundleError

Handle = dict[str, Any]


class HandleStore(dg.ConfigurableIOManager):
    """Keeps the newest handle of each asset beside the release bundles, replaced atomically."""

    platform: dg.ResourceDependency[Platform]

    def handle_output(self, context: dg.OutputContext, obj: Handle) -> None:
        path = self._path(context.asset_key)
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(obj, file, indent=2, sort_keys=True)
        Path(temporary).replace(path)

    def load_input(self, context: dg.InputContext) -> Handle:
        path = self._path(context.asset_key)
        try:
            handle: Handle = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise BundleError(
                f"{path} should name the newest {context.asset_key.to_user_string()}, and cannot be read: {error}. "
                f"Materialize {context.asset_key.to_user_string()} first."
            ) from None
        return handle

    def _path(self, key: dg.AssetKey) -> Path:
        return self.platform.bundles / "handles" / f"{'/'.join(key.path)}.json"
