"""Amplitude's place in the benchmark of streams: streams flags that change when asked to.

`POST /change` answers the moment, on the machine's monotonic clock, at which it wrote the change.
"""

import asyncio
import contextlib
import sys
import time

import msgspec
import uvloop
from aiohttp import web

from bench import workload

KEEP_ALIVE_SECONDS = 15


class Flags:
    def __init__(self, count: int) -> None:
        self.flags = workload.flags(count)
        self.changes = 0
        self.news = asyncio.Event()

    def body(self) -> bytes:
        return msgspec.json.encode(self.flags)

    def change(self) -> None:
        self.changes += 1
        self.flags[0]["metadata"]["flagVersion"] = 1000 + self.changes
        self.news.set()
        self.news = asyncio.Event()

    async def stream(self, request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await answer.prepare(request)
        with contextlib.suppress(ConnectionError):
            while True:
                news = self.news
                await answer.write(b"data: %b\n\n" % self.body())
                while not news.is_set():
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(news.wait(), KEEP_ALIVE_SECONDS)
                    if not news.is_set():
                        await answer.write(b"data:  \n\n")
        return answer


def app(count: int) -> web.Application:
    held: list[Flags] = []

    async def start(_app: web.Application) -> None:
        held.append(Flags(count))

    async def flags(_request: web.Request) -> web.Response:
        return web.Response(body=held[0].body(), content_type="application/json")

    async def stream(request: web.Request) -> web.StreamResponse:
        return await held[0].stream(request)

    async def change(_request: web.Request) -> web.Response:
        held[0].change()
        return web.json_response(time.monotonic())

    made = web.Application()
    made.on_startup.append(start)
    made.router.add_get("/sdk/v2/flags", flags)
    made.router.add_get("/sdk/stream/v1/flags", stream)
    made.router.add_post("/change", change)
    return made


if __name__ == "__main__":
    uvloop.install()
    port, count = (int(word) for word in sys.argv[1:])
    web.run_app(app(count), host="127.0.0.1", port=port, access_log=None, print=None)
