"""The index of a cohort: an immutable file of sorted digests, mapped into memory.

Layout, all numbers little-endian: `count` digests of 16 bytes, ascending as a pair of 64-bit words;
then where each bucket starts, as 2**bits + 1 numbers of 32 bits (a bucket holds the digests whose
first word begins with its number); then the footer.
"""

from __future__ import annotations

import mmap
import os
import struct
import zlib
from pathlib import Path
from typing import final

from proxy.cohorts.names import DIGEST_BYTES
from proxy.errors import IndexBroken

MAGIC = b"COHORTIX"
FORMAT = 1
FOOTER = struct.Struct("<8sIIQ36sI")
MOST_MEMBERS = 2**32 - 1
FIRST_WORD = struct.Struct("<Q")
BOUNDS = struct.Struct("<II")
# Random look-ups gain nothing from read-ahead, and it would push other pages out.
RANDOM = getattr(mmap, "MADV_RANDOM", None)


def bits_for(count: int) -> int:
    """Return how many leading bits number the buckets, so that each holds 8 to 16 of `count`."""
    return max(0, max(count - 1, 0).bit_length() - 4)


def footer(count: int, bits: int) -> bytes:
    """Return the last 64 bytes of an index with `count` digests in 2**bits buckets."""
    start = FOOTER.pack(MAGIC, FORMAT, bits, count, b"", 0)[:-4]
    return start + zlib.crc32(start).to_bytes(4, "little")


@final
class Index:
    """The members of one cohort by digest: `holds` answers for a member exactly.

    A name that is no member is taken for one when its digest equals a member's: with n members
    the chance is n / 2**128 for each name that was not made for it (1.5e-31 for 50 million).
    The hash is not a cryptographic one, so digests can be made to collide. Whoever wants to pass
    for a member gains nothing by that: it takes a member's id or digest to aim at, and naming the
    id outright does the same, since ids are taken on trust. What forging can do: somebody who may
    choose an id freely *and* gets it into the cohort can drag in one other id that he knows.

    It belongs to whoever looks up; when the last one lets go of it, it is unmapped.
    """

    __slots__ = ("_bounds", "_find", "_map", "_shift", "_table", "count")

    def __init__(self, mapped: mmap.mmap, count: int, bits: int) -> None:
        self.count = count
        self._map = mapped
        self._find = mapped.find
        self._bounds = BOUNDS.unpack_from
        self._shift = 64 - bits
        self._table = count * DIGEST_BYTES

    @classmethod
    def open(cls, path: Path) -> Index:
        """Map the index at `path`; raises IndexBroken, OSError when it cannot be opened.

        Footer and size are checked here, the digests are not: whoever stored the file knows
        its checksum.
        """
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        try:
            size = os.fstat(descriptor).st_size
            if size < FOOTER.size:
                raise IndexBroken("the file is shorter than its footer")
            mapped = mmap.mmap(descriptor, size, access=mmap.ACCESS_READ)
        finally:
            os.close(descriptor)
        try:
            count, bits = _read_footer(mapped[-FOOTER.size :], size)
        except IndexBroken:
            mapped.close()
            raise
        if RANDOM is not None:
            mapped.madvise(RANDOM)
        return cls(mapped, count, bits)

    def holds(self, digest: bytes) -> bool:
        """Tell whether the member with this 16-byte digest is in the cohort."""
        bucket = FIRST_WORD.unpack_from(digest)[0] >> self._shift
        start, end = self._bounds(self._map, self._table + 4 * bucket)
        end *= DIGEST_BYTES
        found = self._find(digest, start * DIGEST_BYTES, end)
        # The bytes may also lie across two digests; then the search goes on behind them.
        while found >= 0 and found % DIGEST_BYTES:
            found = self._find(digest, found + 1, end)
        return found >= 0

    def close(self) -> None:
        """Unmap the file now; nobody may look up any more (ValueError)."""
        self._map.close()


def _read_footer(data: bytes, size: int) -> tuple[int, int]:
    magic, version, bits, count, _, check = FOOTER.unpack(data)
    if magic != MAGIC:
        raise IndexBroken("the file is no index, or it is cut")
    if version != FORMAT:
        raise IndexBroken(f"the index has format {version}, this program reads {FORMAT}")
    if check != zlib.crc32(data[:-4]):
        raise IndexBroken("the footer does not fit its checksum")
    # A wild number of bits must not be raised to a power.
    table = 4 * (2**bits + 1) if bits <= 32 else -1
    if size != count * DIGEST_BYTES + table + FOOTER.size:
        raise IndexBroken("the file's size does not fit its footer")
    return count, bits
