"""Many payloads in one buffer: read from a socket in one piece, they need not become objects one by one.

The invariant: behind every payload stands a newline, alone or after a carriage return, and behind the last at least 64 more bytes: who
scans the bytes may look ahead without asking where they end.
"""

from collections.abc import Iterator, Sequence
from typing import Final, overload

import numpy as np
from numpy.typing import NDArray

PADDING: Final = b"\n" * 64


class Payloads(Sequence[bytes]):
    """Behaves as a sequence of bytes; `data`, `starts` and `ends` are for who reads all of them at once."""

    __slots__ = ("data", "ends", "starts")

    def __init__(self, data: NDArray[np.uint8], starts: NDArray[np.int64], ends: NDArray[np.int64]) -> None:
        self.data, self.starts, self.ends = data, starts, ends
        self.data.flags.writeable = False

    @classmethod
    def of(cls, payloads: Sequence[bytes]) -> "Payloads":
        """These payloads in one buffer; what is in one already stays where it is."""
        if isinstance(payloads, Payloads):
            return payloads
        text = b"\n".join((*payloads, PADDING))
        lengths = np.fromiter(map(len, payloads), np.int64, len(payloads))
        ends = np.cumsum(lengths + 1) - 1
        return cls(np.frombuffer(text, dtype=np.uint8), ends - lengths, ends)

    def __len__(self) -> int:
        return len(self.starts)

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> "Payloads": ...
    def __getitem__(self, index: int | slice) -> "bytes | Payloads":
        if isinstance(index, slice):
            return Payloads(self.data, self.starts[index], self.ends[index])
        return self.data[self.starts[index] : self.ends[index]].tobytes()

    def __iter__(self) -> Iterator[bytes]:
        text = self.data.data
        for start, end in zip(self.starts.tolist(), self.ends.tolist(), strict=True):
            yield bytes(text[start:end])

    def __eq__(self, other: object) -> bool:
        return list(self) == list(other) if isinstance(other, Sequence) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # so Python marks what has no hash

    def take(self, rows: NDArray[np.int64]) -> "Payloads":
        """Only these rows, in this order, over the same buffer."""
        return Payloads(self.data, self.starts[rows], self.ends[rows])
