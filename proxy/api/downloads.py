"""Bodies that lie on disk: opened, read and inflated in a few threads of their own, in pieces.

However large a body is and however slowly it is read, no more than one piece of it is held at a
time, and neither the event loop nor anybody else's threads wait for it.
"""

from __future__ import annotations

import asyncio
import os
import threading
import zlib
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

import msgspec

from proxy.api.complaints import Complaints
from proxy.api.messages import Response, StoredBody, unavailable
from proxy.api.packing import GZIP, VARY, accepts_gzip
from proxy.errors import Damaged

if TYPE_CHECKING:
    from io import FileIO

    from proxy.metrics import Metrics
    from proxy.tasks import Clock

Read = TypeVar("Read")

PIECE_BYTES = 262_144
FED_BYTES = 65_536
"""What is inflated at once: what of it has to wait for the next piece is copied."""
READERS = 2
MOST_AT_ONCE = 256
"""So many downloads hold their pieces at a time: 64 MiB at worst."""
LONGEST_WAIT_SECONDS = 2.0
"""Who comes when there are that many waits a moment; SDKs give up after ten seconds."""


class Source:
    """One stored body, as gzip or plain, read from its beginning to its end. Its methods block.

    What was opened stays readable when the file is replaced or removed.
    """

    def __init__(self, stored: StoredBody, *, packed: bool) -> None:
        self.name = stored.name
        self.on_damaged = stored.on_damaged
        self.length = stored.packed_bytes if packed else stored.plain_bytes
        self.first = b""
        self._stored = stored
        self._left = self.length
        self._inflater = None if packed else zlib.decompressobj(GZIP)
        self._file: FileIO | None = None
        # Closing waits for the thread that is reading.
        self._lock = threading.Lock()

    def open(self) -> None:
        """Open the file and read the first piece; raises Damaged if that is not possible."""
        with self._lock:
            try:
                self._file = self._stored.path.open("rb", buffering=0)
                size = os.fstat(self._file.fileno()).st_size
            except OSError as error:
                raise Damaged(error.strerror or "unreadable") from error
            if size != self._stored.packed_bytes:
                raise Damaged("the file has another length")
            self.first = self._next()

    def read(self) -> bytes:
        """Return the next piece, empty after the last; raises Damaged where the file is broken."""
        with self._lock:
            return self._next()

    def close(self) -> None:
        """Close the file; that may take long when it was the last hold on a large one."""
        with self._lock:
            if self._file is not None:
                self._file.close()

    def _next(self) -> bytes:
        if not self._left:
            return b""
        try:
            piece = self._packed_piece() if self._inflater is None else self._plain_piece()
        except OSError as error:
            raise Damaged(error.strerror or "unreadable") from error
        except zlib.error as error:
            raise Damaged("the gzip is broken") from error
        self._left -= len(piece)
        return piece

    def _packed_piece(self) -> bytes:
        assert self._file is not None
        piece = self._file.read(min(PIECE_BYTES, self._left))
        if not piece:
            raise Damaged("the file has become shorter")
        return piece

    def _plain_piece(self) -> bytes:
        parts: list[bytes] = []
        room = min(PIECE_BYTES, self._left)
        while room:
            parts.append(self._inflated(room))
            room -= len(parts[-1])
        piece = b"".join(parts)
        if len(piece) == self._left:
            # The check-sum comes after the last byte: without it that byte may not be sent.
            self._see_the_end()
        return piece

    def _see_the_end(self) -> None:
        assert self._inflater is not None
        while not self._inflater.eof:
            if self._inflated(1):
                raise Damaged("the body is longer than it was")

    def _inflated(self, most: int) -> bytes:
        """Return at most `most` bytes, at times none, of what follows."""
        assert self._file is not None
        assert self._inflater is not None
        if self._inflater.eof:
            raise Damaged("the body is shorter than it was")
        fed = self._inflater.unconsumed_tail or self._file.read(FED_BYTES)
        if not fed:
            raise Damaged("the gzip has no end")
        return self._inflater.decompress(fed, most)


class Downloads:
    """Sends stored bodies, a bounded number at a time."""

    def __init__(
        self,
        metrics: Metrics,
        clock: Clock,
        *,
        most_at_once: int = MOST_AT_ONCE,
        longest_wait: float = LONGEST_WAIT_SECONDS,
    ) -> None:
        self._longest_wait = longest_wait
        self._slots = asyncio.Semaphore(most_at_once)
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="download")
        self._active = metrics.downloads_active
        self._cut = metrics.downloads_cut
        self._busy = metrics.rejected.labels("busy")
        self._missing = metrics.rejected.labels("damaged")
        self._complaints = Complaints("stored body cannot be sent", clock)

    async def begin(
        self, response: Response, stored: StoredBody, accepted: str | None
    ) -> tuple[Response, Source | None]:
        """Open what `response` stands for, in the form that `Accept-Encoding` allows.

        Returns the response to announce, and what to `send` and to `end`; or a 503 and None when
        there are too many downloads, or the file cannot be read.
        """
        try:
            async with asyncio.timeout(self._longest_wait):
                await self._slots.acquire()
        except TimeoutError:
            self._busy.inc()
            return unavailable("Too many downloads at the moment"), None
        packed = accepts_gzip(accepted)
        source = Source(stored, packed=packed)
        self._active.inc()
        try:
            await self._in_thread(source.open)
        except Damaged as error:
            self.end(source)
            self._missing.inc()
            self._complain(source, error)
            return unavailable("This cannot be read at the moment"), None
        except BaseException:
            self.end(source)
            raise
        form = (VARY, ("Content-Encoding", "gzip")) if packed else (VARY,)
        return msgspec.structs.replace(response, headers=(*response.headers, *form)), source

    async def send(self, source: Source, write: Callable[[bytes], Awaitable[None]]) -> None:
        """Hand every piece to `write`, one when the last is done.

        Raises ConnectionError when the client or the file does not hold out: what was sent then is
        no whole body, and the connection must not be used any more.
        """
        piece, source.first = source.first, b""
        try:
            while piece:
                await write(piece)
                piece = await self._in_thread(source.read)
        except Damaged as error:
            self._cut.labels("damaged").inc()
            self._complain(source, error)
            raise ConnectionAbortedError from error
        except ConnectionError:
            self._cut.labels("client_left").inc()
            raise

    def end(self, source: Source) -> None:
        """Let go of what `begin` returned."""
        self._active.dec()
        self._slots.release()
        try:
            # The last one to close a removed file may free gigabytes, which takes its time.
            self._readers.submit(source.close)
        except RuntimeError:  # closed already
            source.close()

    def _complain(self, source: Source, error: Damaged) -> None:
        self._complaints.tell(what=source.name, reason=str(error))
        source.on_damaged()

    def close(self) -> None:
        """Let the threads end; downloads that are under way are to be cut off before."""
        self._readers.shutdown(wait=False)

    async def _in_thread(self, work: Callable[[], Read]) -> Read:
        return await asyncio.get_running_loop().run_in_executor(self._readers, work)
