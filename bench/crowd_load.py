"""A crowd of clients in a process of its own: slow ones, a flood, well-behaved ones.

`python -m bench.crowd_load <role> <port> <key> <seconds> <clients> <addresses>` comes from so many
loopback addresses and prints, as one JSON object, what became of it.
"""

import asyncio
import base64
import itertools
import os
import resource
import socket
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec
import uvloop

ROLES = ("slow", "flood", "polite")
FLOOD_AT_ONCE = 16
FLOOD_SENT_BYTES = 65_536
POLITE_PAUSE = 0.05
FIRST_HOST = {"slow": 10, "flood": 100, "polite": 200}
SLOW_HEADS = b"GET /sdk/v2/vardata HTTP/1.1\r\nHost: x\r\nX-Slow: "
RETRY = b"Retry-After:"
FIRST = asyncio.FIRST_COMPLETED


def asking(key: str, number: int) -> bytes:
    user = base64.urlsafe_b64encode(msgspec.json.encode({"user_id": f"user-{number}"})).decode()
    return (
        "GET /sdk/v2/vardata HTTP/1.1\r\nHost: proxy\r\nOrigin: https://shop.example\r\n"
        f"Authorization: Api-Key {key}\r\nX-Amp-Exp-User: {user}\r\n\r\n"
    ).encode()


class Reader(asyncio.Protocol):
    """Counts answers by status; tells of each, and of the end."""

    def __init__(self, counts: Counter[str], on_answer: Callable[[], None]) -> None:
        self.counts = counts
        self.on_answer = on_answer
        self.transport: Any = None
        self.rest = b""
        self.loop = asyncio.get_running_loop()
        self.gone = self.loop.create_future()
        self.taken = self.loop.create_future()
        self.taken.set_result(None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def pause_writing(self) -> None:
        self.taken = self.loop.create_future()

    def resume_writing(self) -> None:
        self.taken.set_result(None)

    def data_received(self, data: bytes) -> None:
        self.rest += data
        while True:
            end = self.rest.find(b"\r\n\r\n")
            if end < 0:
                return
            head = self.rest[:end]
            start = head.lower().find(b"content-length: ")
            length = int(head[start + 16 :].split(b"\r\n", 1)[0])
            if len(self.rest) < end + 4 + length:
                return
            self.rest = self.rest[end + 4 + length :]
            status = head[9:12].decode()
            wrong = status in ("429", "503") and RETRY not in head
            self.counts["without Retry-After" if wrong else status] += 1
            self.on_answer()

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        if not self.gone.done():
            self.gone.set_result(None)


class Crowd:
    """So many clients of one kind, from so many addresses."""

    def __init__(self, port: int, key: str, first_host: int, addresses: int) -> None:
        self.port, self.key = port, key
        self.hosts = itertools.cycle(f"127.0.0.{first_host + n}" for n in range(addresses))
        self.counts: Counter[str] = Counter()
        self.latencies: list[float] = []

    async def connect(self, on_answer: Callable[[], None] = lambda: None) -> Reader | None:
        loop = asyncio.get_running_loop()
        try:
            _, reader = await loop.create_connection(
                lambda: Reader(self.counts, on_answer),
                "127.0.0.1",
                self.port,
                local_addr=(next(self.hosts), 0),
            )
        except OSError:
            self.counts["not connected"] += 1
            return None
        self.counts["connected"] += 1
        return reader

    async def slow(self, number: int) -> None:
        """Send a byte a second: of a head, or of a body."""
        await asyncio.sleep((number % 100) / 100)
        post = asking(self.key, number).replace(b"GET", b"POST").removesuffix(b"\r\n")
        opening = SLOW_HEADS if number % 2 else post + b"Content-Length: 1000\r\n\r\n"
        while True:
            reader = await self.connect()
            if reader is None:
                await asyncio.sleep(1)
                continue
            reader.transport.write(opening)
            while reader.transport is not None:
                await asyncio.wait([reader.gone], timeout=1)
                if reader.transport is not None:
                    reader.transport.write(b"x")
            self.counts["cut"] += 1

    async def flood(self, number: int) -> None:
        """Ask without waiting for answers, as fast as the other side takes it."""
        batch = asking(self.key, number) * FLOOD_AT_ONCE
        while True:
            reader = await self.connect()
            if reader is None:
                await asyncio.sleep(0.1)
                continue
            reader.transport.set_write_buffer_limits(high=0)
            # What the other side does not take must not fill this machine's memory.
            wire = reader.transport.get_extra_info("socket")
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, FLOOD_SENT_BYTES)
            while reader.transport is not None:
                self.counts["offered"] += FLOOD_AT_ONCE
                reader.transport.write(batch)
                await asyncio.wait([reader.taken, reader.gone], return_when=FIRST)
                await asyncio.sleep(0)

    async def polite(self, number: int) -> None:
        """Ask, wait for the answer, think, ask again."""
        came = asyncio.Event()
        await asyncio.sleep(POLITE_PAUSE * (number % 20) / 20)
        while True:
            reader = await self.connect(came.set)
            while reader is not None and reader.transport is not None:
                came.clear()
                began = time.perf_counter()
                self.counts["asked"] += 1
                reader.transport.write(asking(self.key, number))
                answered = asyncio.ensure_future(came.wait())
                await asyncio.wait([answered, reader.gone], return_when=FIRST)
                answered.cancel()
                if came.is_set():
                    self.latencies.append(time.perf_counter() - began)
                else:
                    self.counts["unanswered"] += 1
                await asyncio.sleep(POLITE_PAUSE)

    def report(self) -> dict[str, Any]:
        ordered = sorted(self.latencies)
        millis = {
            f"p{part}": round(1000 * ordered[int(part / 100 * (len(ordered) - 1))], 2)
            for part in (50, 90, 99)
            if ordered
        }
        if ordered:
            millis["max"] = round(1000 * ordered[-1], 2)
            millis["mean"] = round(1000 * statistics.fmean(ordered), 2)
        return {**self.counts, **millis}


async def run(role: str, crowd: Crowd, seconds: float, clients: int) -> None:
    loop = asyncio.get_running_loop()
    everybody = [loop.create_task(getattr(crowd, role)(number)) for number in range(clients)]
    await asyncio.wait(everybody, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
    failed = [one.exception() for one in everybody if one.done()]
    for one in everybody:
        one.cancel()
    await asyncio.gather(*everybody, return_exceptions=True)
    print(msgspec.json.encode(crowd.report()).decode(), flush=True)
    if failed:
        raise SystemExit(f"a client failed: {failed[0]!r}")


def main(arguments: list[str]) -> None:
    role, port, key, seconds, clients, addresses = arguments
    if role not in ROLES:
        raise SystemExit(f"a role is one of {', '.join(ROLES)}")
    if role != "polite":
        os.nice(19)  # whoever measures must not wait for them
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    crowd = Crowd(int(port), key, FIRST_HOST[role], int(addresses))
    uvloop.run(run(role, crowd, float(seconds), int(clients)))


if __name__ == "__main__":
    main(sys.argv[1:])
