"""Cohorts as files on disk, and clients that read them as slowly as they like."""

import asyncio
import base64
import gzip
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, cast

import msgspec

from proxy.cohorts.shelf import Cohort
from tests.builders import API_KEY
from tests.serving import Answer, Served

TARGET = "/sdk/v1/cohort/c1"
BASIC = "Basic " + base64.b64encode(f"{API_KEY}:test-secret".encode()).decode()
MEBIBYTE = 2**20


def stored(folder: Path, *members: str, **changes: Any) -> Cohort:
    """A cohort whose packed body, true in all five fields, is a new file in `folder`."""
    told = {"cohortId": "c1", "groupType": "User", "lastModified": 1_700_000_000_000}
    plain = msgspec.json.encode({**told, "size": len(members), "memberIds": members})
    return stored_bytes(folder, plain, size=len(members), **changes)


def stored_bytes(folder: Path, plain: bytes, level: int = 6, **changes: Any) -> Cohort:
    """A cohort whose body is whatever is given; level 0 keeps it as long as it is."""
    packed = folder / os.urandom(8).hex()
    packed.write_bytes(gzip.compress(plain, level))
    given = {
        "cohort_id": "c1",
        "group_type": "User",
        "last_modified": 1_700_000_000_000,
        "size": 2,
        "index": None,
        "packed": packed,
        "packed_bytes": packed.stat().st_size,
        "plain_bytes": len(plain),
    }
    return Cohort(**cast("Any", {**given, **changes}))


def request(target: str = TARGET, *, method: str = "GET", **headers: str) -> bytes:
    """One request for a cohort as it goes on the wire."""
    given = {"Host": "proxy", "Authorization": BASIC}
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in given.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


async def ask(served: Served, target: str = TARGET, **headers: str) -> Answer:
    """Ask for a cohort with the project's keys."""
    return await served.get(target, **{"Authorization": BASIC, **headers})


@asynccontextmanager
async def slow_client(
    served: Served,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection that takes in little of what it has not read yet."""
    connected = socket.socket()
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
    connected.setblocking(False)
    await asyncio.get_running_loop().sock_connect(connected, ("127.0.0.1", served.port))
    reader, writer = await asyncio.open_connection(sock=connected, limit=65_536)
    try:
        yield reader, writer
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def read_head(reader: asyncio.StreamReader) -> tuple[int, int]:
    """Read the head of an answer; return its status and its length."""
    lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    fields = dict(line.lower().split(": ", 1) for line in lines[1:] if line)
    return int(lines[0].split()[1]), int(fields["content-length"])


async def begun(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
    """Ask for the cohort and read the head and a little more; return how much is left."""
    writer.write(request())
    status, length = await read_head(reader)
    assert status == 200
    await reader.readexactly(1000)
    return length - 1000


async def rest(reader: asyncio.StreamReader, length: int) -> bytes:
    """Read what is left of a body; IncompleteReadError or ConnectionError if it is cut."""
    parts = []
    while length:
        part = await reader.read(min(length, 65_536))
        if not part:
            raise asyncio.IncompleteReadError(b"", length)
        parts.append(part)
        length -= len(part)
    return b"".join(parts)


async def wait_a_little() -> None:
    await asyncio.sleep(0.01)


async def wait_until_gone(served: Served) -> None:
    """Wait until no download and no connection is left; TimeoutError if one stays."""
    async with asyncio.timeout(10):
        while served.counted("downloads_active") or served.server.connections_open():
            await wait_a_little()
