"""Columns lent by polars through Arrow's C data interface, for compiled passes over their buffers, without a copy.

Format: https://arrow.apache.org/docs/format/CStreamInterface.html and …/CDataInterface.html.
"""

import ctypes
from collections.abc import Iterator
from typing import Any, Final

import polars as pl

from fraud_core.contracts.arrow import ArrowArray

VIEWED: Final = 16
"""Where, in a text column's list of buffers, the addresses of the longer texts begin: after the bitmap and the views."""


class _Stream(ctypes.Structure):
    _fields_ = (
        ("get_schema", ctypes.c_void_p), ("get_next", ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)),
        ("get_last_error", ctypes.c_void_p), ("release", ctypes.c_void_p), ("private_data", ctypes.c_void_p),
    )  # fmt: skip


_python: Any = ctypes.pythonapi
_pointer_of: Any = _python.PyCapsule_GetPointer
_pointer_of.restype, _pointer_of.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
_RELEASE: Final = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


def arrays_of(column: pl.Series) -> Iterator[ArrowArray]:
    """The pieces of a column in their order; each is lent only until the next is asked for. Ends early if polars fails."""
    capsule = column.__arrow_c_stream__(None)
    stream = _Stream.from_address(_pointer_of(capsule, b"arrow_array_stream"))
    left = len(column)
    while left > 0:
        array = ArrowArray()
        if stream.get_next(ctypes.addressof(stream), ctypes.addressof(array)) or not array.release:
            return
        try:
            yield array
            left -= array.length
        finally:
            _RELEASE(array.release)(ctypes.addressof(array))
