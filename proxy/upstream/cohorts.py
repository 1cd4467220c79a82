"""One cohort of a project: asked for, and saved as it came."""

from __future__ import annotations

import base64
import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal, final
from urllib.parse import quote

import msgspec

from proxy import tasks
from proxy.errors import NoRoom, UpstreamGarbled, UpstreamRefused
from proxy.secret import Secret
from proxy.upstream.client import LongBody, UpstreamClient, join

PATH: Final = "/sdk/v1/cohort/"
WRITE_BYTES: Final = 2**20
TOO_LARGE: Final = 413
GZIP_MAGIC: Final = b"\x1f\x8b"
GZIP: Final = frozenset({"gzip", "x-gzip"})
PLAIN: Final = frozenset({"", "identity"})
# A URL cannot carry these as its last part.
NO_NAMES: Final = frozenset({"", ".", ".."})

Received = Callable[[int, int | None], None]
"""Called with the bytes so far and, where the answer's head told them, the bytes in all."""


class Credentials(msgspec.Struct, frozen=True):
    """The two keys of a project; cohorts are asked for with both."""

    api_key: Secret
    secret_key: Secret

    def header(self) -> dict[str, str]:
        """Return the header that carries them; only for the wire."""
        pair = f"{self.api_key.reveal()}:{self.secret_key.reveal()}"
        packed = base64.b64encode(pair.encode("utf-8", "surrogatepass"))
        return {"Authorization": f"Basic {packed.decode()}"}


class Downloaded(msgspec.Struct, frozen=True, kw_only=True):
    """What was answered; only a `new` one has a file. `retry_after` in seconds, if asked for."""

    status: Literal["new", "unchanged", "preparing", "too_large"]
    gzip: bool = False
    bytes: int = 0
    retry_after: float | None = None


async def download(
    client: UpstreamClient,
    credentials: Credentials,
    cohort_id: str,
    *,
    max_size: int,
    last_modified: int | None,
    to: Path,
    on_bytes: Received = lambda _received, _total: None,
) -> Downloaded:
    """Ask for a cohort (newer than `last_modified`, in ms) and save its body, unread, as `to`.

    The file is private and new; it is there only when the answer is a whole `new` body. Raises an
    `UpstreamError`, or `NoRoom` when the disk does not take it.
    """
    if cohort_id in NO_NAMES:
        raise UpstreamRefused("no cohort can have this id")
    query = {"maxCohortSize": str(max_size)}
    if last_modified is not None:
        query["lastModified"] = str(last_modified)
    url = join(client.urls.cohorts, PATH + quote(cohort_id, safe="", errors="surrogatepass"))
    try:
        body = await client.open_body(url, headers=credentials.header(), query=query)
    except UpstreamRefused as error:
        if error.status == TOO_LARGE:
            return Downloaded(status="too_large", retry_after=error.retry_after)
        raise
    try:
        if body.status == 200:
            packed, size = await _save(body, to, on_bytes)
            return Downloaded(status="new", gzip=packed, bytes=size)
        wait = client.retry_after(body.headers)
        if body.status == 202:
            return Downloaded(status="preparing", retry_after=wait)
        if body.status == 204 and last_modified is not None:
            return Downloaded(status="unchanged")
        raise UpstreamGarbled(f"answered {body.status} unasked", retry_after=wait)
    finally:
        body.close()


async def _save(body: LongBody, to: Path, on_bytes: Received) -> tuple[bool, int]:
    """Write the whole body; tell whether it is gzipped, and its size."""
    encoding = body.headers.get("Content-Encoding", "").strip().lower()
    if encoding not in GZIP | PLAIN:
        raise UpstreamGarbled("the body is packed in a way that was not asked for")
    file = _File(to)
    try:
        await _on_disk(file.create)
        head, size = await _copy(body, file, on_bytes)
        await _on_disk(file.close)
    except BaseException:
        await tasks.in_thread(file.discard)
        raise
    # Some stores serve packed files without saying so; JSON never begins like this.
    return encoding in GZIP or head == GZIP_MAGIC, size


async def _copy(body: LongBody, file: _File, on_bytes: Received) -> tuple[bytes, int]:
    """Write the body to a file; return its first two bytes and its size."""
    pieces: list[bytes] = []
    head = b""
    size = written = 0
    while piece := await body.read():
        if len(head) < len(GZIP_MAGIC):
            head = (head + piece)[: len(GZIP_MAGIC)]
        pieces.append(piece)
        size += len(piece)
        on_bytes(size, body.length)
        if size - written >= WRITE_BYTES:
            await _on_disk(file.write, b"".join(pieces))
            pieces.clear()
            written = size
    await _on_disk(file.write, b"".join(pieces))
    return head, size


async def _on_disk(call: Callable[..., None], *arguments: Any) -> None:
    """Call in a thread; raise `NoRoom` for whatever the disk says."""
    try:
        await tasks.in_thread(call, *arguments)
    except OSError as error:
        raise NoRoom(f"the disk does not take a download: {error.strerror}") from None


@final
class _File:
    """A new private file; its methods block and are for a worker thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None

    def create(self) -> None:
        number = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        self._file = os.fdopen(number, "wb")

    def write(self, piece: bytes) -> None:
        assert self._file is not None
        self._file.write(piece)

    def close(self) -> None:
        assert self._file is not None
        self._file.close()

    def discard(self) -> None:
        if self._file is None:
            return
        with contextlib.suppress(OSError):
            self._file.close()
        with contextlib.suppress(OSError):
            self._path.unlink()
