"""Why a payment scored as it did: contributions of each feature to its margin, straight from the bundle's trees.

The method is Saabas' (XGBoost's `approx_contribs`): walking down a tree, every split hands the change of the expected
value to its feature. Invariant: the contributions and the bias of a row sum to its margin (log odds). Serving needs no
XGBoost for this: the trees travel as plain arrays in `trees.npz`.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from fraud_core.errors import BundleError

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Trees:
    """All nodes of all trees in one row of arrays.

    roots: first node of each tree. left, right: node numbers, -1 in a leaf. feature: column that a split reads.
    threshold: float32; a value < threshold goes left. missing_left: where NaN goes. value: expected margin at the node
    (in a leaf: its weight). bias: expected margin of a row of which nothing is known.
    """

    roots: Ints
    left: Ints
    right: Ints
    feature: Ints
    threshold: Floats
    missing_left: npt.NDArray[np.bool_]
    value: npt.NDArray[np.float64]
    bias: float
    feature_count: int

    def to_npz(self) -> bytes:
        """The arrays as an uncompressed .npz without pickles."""
        file = io.BytesIO()
        arrays: dict[str, Any] = {name: np.asarray(getattr(self, name)) for name in self.__dataclass_fields__}
        np.savez(file, **arrays)
        return file.getvalue()

    @classmethod
    def from_npz(cls, content: bytes) -> "Trees":
        """Read what `to_npz` wrote. Raises BundleError when the arrays are not sound trees."""
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                found = {name: arrays[name] for name in cls.__dataclass_fields__}
        except (ValueError, KeyError, OSError) as error:
            raise BundleError(
                f"trees.npz should hold the arrays of a model's trees: {error}. Restore the bundle's folder."
            ) from None
        bias, feature_count = float(found.pop("bias")), int(found.pop("feature_count"))
        trees = cls(**found, bias=bias, feature_count=feature_count)
        trees.demand_sound()
        return trees

    def demand_sound(self) -> None:
        """Raise BundleError unless every walk ends in a leaf: the compiled walk itself checks no bounds."""
        count = len(self.left)
        inner = self.left >= 0
        number = np.arange(count)
        sound = (
            all(
                len(a) == count
                for a in (self.right, self.feature, self.threshold, self.missing_left, self.value)
            )
            and bool(np.all((self.right >= 0) == inner))
            and bool(np.all((self.left[inner] > number[inner]) & (self.left[inner] < count)))
            and bool(np.all((self.right[inner] > number[inner]) & (self.right[inner] < count)))
            and bool(np.all((self.feature[inner] >= 0) & (self.feature[inner] < self.feature_count)))
            and bool(np.all((self.roots >= 0) & (self.roots < count)))
        )
        if not sound:
            raise BundleError(
                "trees.npz should hold trees whose children follow their parents, and does not. "
                "Restore the bundle's folder from its origin."
            )

    def contributions(self, vectors: Floats) -> npt.NDArray[np.float64]:
        """Contributions float64 [rows, features + 1] in log odds; the last column is the bias."""
        matrix = np.ascontiguousarray(vectors, dtype=np.float32)
        if matrix.ndim != 2 or matrix.shape[1] != self.feature_count:
            raise BundleError(
                f"Vectors should have {self.feature_count} features, as the model has; found shape {vectors.shape}. "
                "Compute them with the features named in the bundle's manifest."
            )
        result = np.zeros((len(matrix), self.feature_count + 1))
        _compiled_walk()(
            matrix,
            self.roots,
            self.left,
            self.right,
            self.feature,
            self.threshold,
            self.missing_left,
            self.value,
            result,
        )
        result[:, -1] = self.bias
        return result

    def raising(self, vector: Floats) -> Iterator[tuple[int, float]]:
        """Columns that raise the score of one vector, with their contributions, the largest first."""
        found = self.contributions(vector.reshape(1, -1))[0, :-1]
        for column in np.argsort(-found, kind="stable"):
            if found[column] <= 0:
                return
            yield int(column), float(found[column])


def warm_up(trees: Trees) -> None:
    """Compile the walk before the first request pays for it."""
    trees.contributions(np.zeros((1, trees.feature_count), dtype=np.float32))


@cache
def _compiled_walk() -> Any:
    import numba

    try:
        return numba.njit(cache=True, nogil=True)(_walk)
    except RuntimeError:
        # No folder to keep compiled code in, as in a read-only container: compile at every start instead.
        return numba.njit(nogil=True)(_walk)


def _walk(  # noqa: PLR0917 - numba takes arguments by position
    vectors: Floats,
    roots: Ints,
    left: Ints,
    right: Ints,
    feature: Ints,
    threshold: Floats,
    missing_left: npt.NDArray[np.bool_],
    value: npt.NDArray[np.float64],
    result: npt.NDArray[np.float64],
) -> None:
    for row in range(vectors.shape[0]):
        for tree in range(roots.shape[0]):
            node = roots[tree]
            while left[node] >= 0:
                column = feature[node]
                found = vectors[row, column]
                goes_left = missing_left[node] if np.isnan(found) else found < threshold[node]
                child = left[node] if goes_left else right[node]
                result[row, column] += value[child] - value[node]
                node = child
