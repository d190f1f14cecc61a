"""Text columns handed to polars as they lie in memory, through Arrow's C data interface, without a copy.

A column is an array of 16-byte string views over one buffer of bytes (Arrow's `Utf8View`, polars' own layout). Its memory lives
until polars releases it. The bytes must be UTF-8: whoever writes the views has made sure of it.
Format: https://arrow.apache.org/docs/format/CDataInterface.html and …/CDataInterface/PyCapsuleInterface.html.
"""

import ctypes
from collections.abc import Callable
from itertools import count
from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt
import polars as pl

_VIEW_FORMAT: Final = b"vu"
_NULLABLE: Final = 2


class _ArrowSchema(ctypes.Structure):
    pass


class _ArrowArray(ctypes.Structure):
    pass


_ReleaseSchema = ctypes.CFUNCTYPE(None, ctypes.POINTER(_ArrowSchema))
_ReleaseArray = ctypes.CFUNCTYPE(None, ctypes.POINTER(_ArrowArray))
_ArrowSchema._fields_ = [
    ("format", ctypes.c_char_p), ("name", ctypes.c_char_p), ("metadata", ctypes.c_char_p), ("flags", ctypes.c_int64),
    ("n_children", ctypes.c_int64), ("children", ctypes.c_void_p), ("dictionary", ctypes.c_void_p),
    ("release", _ReleaseSchema), ("private_data", ctypes.c_void_p),
]  # fmt: skip
_ArrowArray._fields_ = [
    ("length", ctypes.c_int64), ("null_count", ctypes.c_int64), ("offset", ctypes.c_int64), ("n_buffers", ctypes.c_int64),
    ("n_children", ctypes.c_int64), ("buffers", ctypes.POINTER(ctypes.c_void_p)), ("children", ctypes.c_void_p),
    ("dictionary", ctypes.c_void_p), ("release", _ReleaseArray), ("private_data", ctypes.c_void_p),
]  # fmt: skip

_new_capsule: Callable[..., Any] = ctypes.pythonapi.PyCapsule_New
_new_capsule.restype = ctypes.py_object  # type: ignore[attr-defined]
_new_capsule.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]  # type: ignore[attr-defined]

_held: dict[int, tuple[object, ...]] = {}
"""What the consumer may still read, by the number in `private_data`, until it calls release."""
_numbers = count(1)  # 0 is no private data


@_ReleaseSchema  # type: ignore[untyped-decorator]
def _release_schema(schema: Any) -> None:
    schema.contents.release = _ReleaseSchema()


@_ReleaseArray  # type: ignore[untyped-decorator]
def _release_array(array: Any) -> None:
    _held.pop(array.contents.private_data, None)
    array.contents.release = _ReleaseArray()


class _TextArray:
    """An object that polars imports: views (16 bytes each), their bytes, and a bitmap of what is present."""

    _capsules: ClassVar[tuple[bytes, bytes]] = (b"arrow_schema", b"arrow_array")

    def __init__(
        self,
        views: npt.NDArray[np.uint64],
        text: npt.NDArray[np.uint8],
        present: npt.NDArray[np.uint8] | None,
        nulls: int,
    ) -> None:
        self._views, self._text, self._present, self._nulls = views, text, present, nulls

    def __arrow_c_array__(self, requested_schema: object = None) -> tuple[object, object]:
        schema, array = _ArrowSchema(), _ArrowArray()
        sizes = np.array([len(self._text)], dtype=np.int64)
        addresses = (
            None if self._present is None else self._present.ctypes.data, self._views.ctypes.data,
            self._text.ctypes.data, sizes.ctypes.data,
        )  # fmt: skip
        buffers = (ctypes.c_void_p * len(addresses))(*addresses)
        schema.format, schema.name, schema.flags = _VIEW_FORMAT, b"", _NULLABLE
        schema.release = _release_schema
        array.length, array.null_count, array.n_buffers = len(self._views), self._nulls, len(addresses)
        array.buffers = ctypes.cast(buffers, ctypes.POINTER(ctypes.c_void_p))
        array.release, array.private_data = _release_array, next(_numbers)
        # The consumer moves the structs, and not what they point to; it is done with the schema before it releases the array.
        _held[array.private_data] = (schema, array, buffers, sizes, self._views, self._text, self._present)
        capsules = (
            _new_capsule(ctypes.addressof(each), name, None)
            for each, name in zip((schema, array), self._capsules, strict=True)
        )
        return next(capsules), next(capsules)


def text_column(
    name: str,
    views: npt.NDArray[np.uint64],
    text: npt.NDArray[np.uint8],
    present: npt.NDArray[np.bool_] | None = None,
) -> pl.Series:
    """A text column from its views (two 64-bit words each) over the bytes `text`; null where `present` is false."""
    bitmap = None if present is None else np.packbits(present, bitorder="little")
    nulls = 0 if present is None else len(present) - int(np.count_nonzero(present))
    return pl.Series(_TextArray(views, text, bitmap, nulls)).alias(name)
