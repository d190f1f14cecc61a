"""Memory read by its address, for compiled passes over Arrow's buffers. Whoever calls has made sure that it is there."""

# numba compiles this file.
# mypy: ignore-errors
# ruff: noqa: ARG001

from llvmlite import ir
from numba import types
from numba.extending import intrinsic


def _loader(bits, result):
    @intrinsic
    def load(typing, address):
        def generate(context, builder, signature, arguments):
            place = builder.inttoptr(arguments[0], ir.IntType(bits).as_pointer())
            return builder.load(place, align=1)

        return result(types.int64), generate

    return load


byte_at = _loader(8, types.uint8)
half_at = _loader(32, types.uint32)
word_at = _loader(64, types.int64)
