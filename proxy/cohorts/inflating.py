"""The text of a body file, inflated in pieces and bounded against bombs."""

from __future__ import annotations

import hashlib
import zlib
from typing import BinaryIO, final

from proxy.errors import BodyBroken

READ_BYTES = 1 << 18
GZIP = 31
FREE_BYTES = 64 << 20
MOST_TIMES = 100


@final
class Text:
    """The text of the body in `file`: `read` gives it piece by piece.

    `read_bytes` and `sha256` are of the file as it came, `plain_bytes` of its text; `streams` is
    how many gzip streams there were, 0 for a body that came without.
    """

    def __init__(self, file: BinaryIO, *, gzip: bool) -> None:
        self._file = file
        self._inflater = zlib.decompressobj(GZIP) if gzip else None
        self._waiting = b""
        self.streams = 1 if gzip else 0
        self.read_bytes = 0
        self.plain_bytes = 0
        self.sha256 = hashlib.sha256()

    def read(self, most: int) -> bytes:
        """Return 1 to `most` bytes of text, none at its end; raises BodyBroken, OSError."""
        text = self._take(most) if self._inflater is None else self._inflate(most)
        self.plain_bytes += len(text)
        return text

    def _take(self, most: int) -> bytes:
        data = self._file.read(most)
        self.read_bytes += len(data)
        self.sha256.update(data)
        return data

    def _inflate(self, most: int) -> bytes:
        while True:
            inflater = self._inflater
            assert inflater is not None
            data = self._waiting or inflater.unused_data or self._take(READ_BYTES)
            if inflater.eof:
                if not data:
                    return b""
                inflater = self._inflater = zlib.decompressobj(GZIP)
                self.streams += 1
            try:
                text = inflater.decompress(data, most)
            except zlib.error:
                raise BodyBroken("the gzip stream is broken") from None
            self._waiting = inflater.unconsumed_tail
            if text:
                self._check_ratio(len(text))
                return text
            if not data and not inflater.eof:
                raise BodyBroken("the gzip stream is cut")

    def _check_ratio(self, more: int) -> None:
        used = self.read_bytes - len(self._waiting)
        if self.plain_bytes + more > max(FREE_BYTES, MOST_TIMES * used):
            raise BodyBroken(f"the body inflates to more than {MOST_TIMES} times its size")
