"""What it means to run a model: load bundles, score matrices, say whether a version can be asked."""

from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from fraud_core.errors import ServingError
from fraud_core.release import Bundle

Matrix = NDArray[np.float32]
INPUT: Final = "features"
OUTPUT: Final = "probabilities"


class BackendFailed(ServingError):
    """A backend did not score; `code` is the fallback reason that the answer shows."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Backend(Protocol):
    """Where models run. One instance holds several versions."""

    name: str

    async def load(self, bundle: Bundle) -> None:
        """Make a bundle's model ready and prove it by its golden rows. Raises SpearheadError; loading twice is fine."""
        ...

    async def score(self, version: str, matrix: Matrix, timeout_s: float) -> Matrix:
        """Fraud probabilities float32 [rows] of the vectors float32 [rows, features]. Raises BackendFailed."""
        ...

    def health(self, version: str) -> str | None:
        """None when `version` can be asked, else the fallback reason."""
        ...

    async def unload(self, version: str) -> None:
        """Forget a version. Unknown versions are no error."""
        ...

    async def close(self) -> None:
        """Give back connections and memory."""
        ...
