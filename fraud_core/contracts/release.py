"""The functions by which Arrow's consumers give back a column (arrow.py); compiled, so that they need no Python and no lock."""

# numba compiles this file.
# mypy: ignore-errors

from numba import carray, cfunc, types

_RELEASE, _PRIVATE_DATA = 8, 9
"""Places of these members in ArrowArray, in words; in ArrowSchema, `release` comes one earlier."""
_free = types.ExternalFunction("free", types.void(types.int64))


@cfunc(types.void(types.CPointer(types.int64)), cache=True)
def release_block(array):
    """Free the block and mark the array as released."""
    members = carray(array, 10)
    _free(members[_PRIVATE_DATA])
    members[_RELEASE] = 0


@cfunc(types.void(types.CPointer(types.int64)), cache=True)
def release_nothing(schema):
    """Mark a schema as released."""
    carray(schema, 9)[_RELEASE - 1] = 0
