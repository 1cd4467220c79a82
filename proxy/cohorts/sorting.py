"""Digests sorted and freed of repetitions, in bounded memory: beyond a lot they go to disk."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, final

import numpy as np
import numpy.typing as npt

from proxy.cohorts.names import DIGEST_BYTES
from proxy.cohorts.output import write_whole

Words = npt.NDArray[np.uint64]
"""Digests as pairs of words: an array of shape (n, 2)."""

LOT = 1 << 20
# One part is sorted at a time; it should fit the processor's cache.
PARTS = 256
FEW = 1 << 17
TOP_BYTE = 7
SKEW = 8


@final
class Digests:
    """Collects digests (`add`), then gives them back ascending, each once (`ascending`).

    Holds some lots of `lot` digests in memory; what is beyond lies in a nameless file in
    `folder`, which vanishes by itself.
    """

    def __init__(self, folder: Path, lot: int = LOT) -> None:
        self._folder = folder
        self._lot = lot
        self._waiting: list[bytes] = []
        self._waiting_count = 0
        self._spill: IO[bytes] | None = None
        self._bounds: list[npt.NDArray[np.int64]] = []
        self.count = 0

    def add(self, digests: bytes) -> None:
        """Take digests, one after the other in one string; raises OSError."""
        more = len(digests) // DIGEST_BYTES
        self._waiting.append(digests)
        self._waiting_count += more
        self.count += more
        if self._waiting_count >= self._lot:
            self._put_aside()

    def ascending(self) -> Iterator[Words]:
        """Yield all digests as arrays of shape (n, 2), each once, sorted over all arrays."""
        last = self._take_waiting()
        if self._spill is None and len(last) <= FEW:
            yield _distinct(last)
            return
        last, bounds = _parted(last)
        for part in range(PARTS):
            rows = [self._read(run, part) for run in range(len(self._bounds))]
            rows.append(last[bounds[part] : bounds[part + 1]])
            yield _distinct(np.concatenate(rows))

    def close(self) -> None:
        """Let go of everything."""
        self._waiting.clear()
        if self._spill is not None:
            self._spill.close()

    def _take_waiting(self) -> Words:
        rows = np.frombuffer(b"".join(self._waiting), dtype="<u8").reshape(-1, 2)
        self._waiting.clear()
        self._waiting_count = 0
        return rows

    def _put_aside(self) -> None:
        if self._spill is None:
            self._spill = tempfile.TemporaryFile(  # noqa: SIM115  closed by `close`
                dir=self._folder, buffering=0
            )
        rows, bounds = _parted(self._take_waiting())
        if np.diff(bounds).max() > SKEW * max(len(rows) // PARTS, 1):
            # So uneven a lot repeats some members over and over: they must not fill one part.
            parts = [_distinct(rows[bounds[n] : bounds[n + 1]]) for n in range(PARTS)]
            rows, bounds = _parted(np.concatenate(parts))
        start = self._spill.seek(0, os.SEEK_END)
        write_whole(self._spill, rows)
        self._bounds.append(start + bounds * DIGEST_BYTES)

    def _read(self, run: int, part: int) -> Words:
        assert self._spill is not None
        start, end = map(int, self._bounds[run][part : part + 2])
        data = os.pread(self._spill.fileno(), end - start, start)
        if len(data) != end - start:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return np.frombuffer(data, dtype="<u8").reshape(-1, 2)


def _parted(rows: Words) -> tuple[Words, npt.NDArray[np.int64]]:
    """Return the rows grouped by the first word's top byte, and where each group starts."""
    key = rows.view(np.uint8).reshape(-1, DIGEST_BYTES)[:, TOP_BYTE].copy()
    # A stable sort of bytes is a radix sort.
    order = key.argsort(kind="stable")
    bounds = np.zeros(PARTS + 1, dtype=np.int64)
    np.cumsum(np.bincount(key, minlength=PARTS), out=bounds[1:])
    return rows.take(order, axis=0), bounds


def _distinct(rows: Words) -> Words:
    """Return the rows sorted, each once."""
    rows = rows.take(rows[:, 0].argsort(), axis=0)
    first = rows[:, 0]
    if not (first[1:] == first[:-1]).any():
        return rows
    rows = rows.take(np.lexsort((rows[:, 1], first)), axis=0)
    new = np.ones(len(rows), dtype=np.bool_)
    (rows[1:] != rows[:-1]).any(axis=1, out=new[1:])
    return rows[new]
