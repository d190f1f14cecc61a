"""Text columns written straight into polars' own layout and handed over through Arrow's C data interface, without a copy.

A column is an array of 16-byte string views over one buffer of bytes (Arrow's `Utf8View`). All its memory is one block of the C
library, which whoever holds the column frees through a compiled function: that may happen on any thread, and must not wait
for Python. The bytes must be UTF-8: whoever writes them has made sure of it.
Format: https://arrow.apache.org/docs/format/CDataInterface.html and …/CDataInterface/PyCapsuleInterface.html.
"""

import ctypes
from collections.abc import Callable
from itertools import pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

_VIEW_FORMAT: Final = b"vu"
_NULLABLE: Final = 2
_BUFFERS: Final = 4
"""Bitmap, views, bytes, and the length of the bytes."""
_BUF_WRITE: Final = 0x200


class _ArrowSchema(ctypes.Structure):
    _fields_ = (
        ("format", ctypes.c_char_p), ("name", ctypes.c_char_p), ("metadata", ctypes.c_char_p), ("flags", ctypes.c_int64),
        ("n_children", ctypes.c_int64), ("children", ctypes.c_void_p), ("dictionary", ctypes.c_void_p),
        ("release", ctypes.c_void_p), ("private_data", ctypes.c_void_p),
    )  # fmt: skip


class ArrowArray(ctypes.Structure):
    """One array of Arrow's C data interface."""

    _fields_ = (
        ("length", ctypes.c_int64), ("null_count", ctypes.c_int64), ("offset", ctypes.c_int64), ("n_buffers", ctypes.c_int64),
        ("n_children", ctypes.c_int64), ("buffers", ctypes.c_void_p), ("children", ctypes.c_void_p),
        ("dictionary", ctypes.c_void_p), ("release", ctypes.c_void_p), ("private_data", ctypes.c_void_p),
    )  # fmt: skip

    def place(self, buffer: int) -> int:
        """Address of a buffer, 0 where it is left out."""
        return (ctypes.c_void_p * self.n_buffers).from_address(self.buffers)[buffer] or 0


_library: Any = ctypes.CDLL(None)
_library.malloc.restype, _library.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
_library.free.restype, _library.free.argtypes = None, [ctypes.c_void_p]
_python: Any = ctypes.pythonapi
_new_capsule: Callable[..., object] = _python.PyCapsule_New
_python.PyCapsule_New.restype = ctypes.py_object
_python.PyCapsule_New.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
_view_of_memory: Callable[..., memoryview] = _python.PyMemoryView_FromMemory
_python.PyMemoryView_FromMemory.restype = ctypes.py_object
_python.PyMemoryView_FromMemory.argtypes = [ctypes.c_void_p, ctypes.c_ssize_t, ctypes.c_int]


class TextColumn:
    """A text column of `rows` values with room for `size` bytes, to be written and then handed over, once."""

    def __init__(self, rows: int, size: int) -> None:
        bitmap = (rows + 63) // 64 * 8
        self._rows, parts = rows, np.cumsum([0, 16 * rows, bitmap, 8 * _BUFFERS, 8, size])
        self._block: int | None = _library.malloc(int(parts[-1]) or 1)
        if self._block is None:
            raise MemoryError
        memory = np.frombuffer(_view_of_memory(self._block, int(parts[-1]), _BUF_WRITE), dtype=np.uint8)
        views, present, addresses, lengths, self.text = (
            memory[begin:end] for begin, end in pairwise(parts.tolist())
        )
        self.views: npt.NDArray[np.uint64] = views.view(np.uint64).reshape(rows, 2)
        """Per value: length and twelve bytes, or length, four bytes, buffer 0 and place in `text`."""
        self._present, self._addresses, self._lengths = (
            present,
            addresses.view(np.int64),
            lengths.view(np.int64),
        )
        self._places = [
            self._block + int(parts[1]),
            self._block,
            self._block + int(parts[4]),
            self._block + int(parts[3]),
        ]

    def series(self, name: str, size: int, present: npt.NDArray[np.bool_] | None = None) -> pl.Series:
        """The column, of which `size` bytes of text were written; null where `present` is false."""
        from fraud_core.contracts.release import release_block, release_nothing

        assert self._block is not None, "handed over already"
        nulls = 0
        if present is not None:
            bits = np.packbits(present, bitorder="little")
            self._present[: len(bits)] = bits
            nulls = self._rows - int(np.count_nonzero(present))
        else:
            self._places[0] = 0
        self._addresses[:], self._lengths[0] = self._places, size
        schema = _ArrowSchema(format=_VIEW_FORMAT, name=b"", flags=_NULLABLE, release=release_nothing.address)
        array = ArrowArray(
            length=self._rows, null_count=nulls, n_buffers=_BUFFERS, buffers=self._addresses.ctypes.data,
            release=release_block.address, private_data=self._block,
        )  # fmt: skip
        try:
            return pl.Series(_Import(schema, array)).alias(name)
        finally:
            if not array.release:  # it was moved: the column owns the block now
                self._block = None

    def __del__(self) -> None:
        if getattr(self, "_block", None) is not None:
            _library.free(self._block)


class _Import:
    """What polars asks for the capsules of an array. It moves the struct of the array and only reads that of the schema."""

    def __init__(self, schema: _ArrowSchema, array: ArrowArray) -> None:
        self._schema, self._array = schema, array

    def __arrow_c_array__(self, requested_schema: object = None) -> tuple[object, object]:
        return (
            _new_capsule(ctypes.addressof(self._schema), b"arrow_schema", None),
            _new_capsule(ctypes.addressof(self._array), b"arrow_array", None),
        )
