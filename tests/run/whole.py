"""The whole proxy in the test's process, around one scripted upstream."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from proxy.run.ports import Ports
from proxy.run.serve import serve
from proxy.settings.schema import Assignment, Settings
from proxy.settings.zones import Urls
from tests import builders
from tests.builders import KEY

FLAGS, BATCH = "/sdk/v2/flags", "/batch"
AUTHORISED = {"Authorization": f"Api-Key {KEY}"}
INGESTED = {"code": 200, "events_ingested": 1, "payload_size_bytes": 1, "server_upload_time": 1}


def pointed_at(url: str, **changes: Any) -> Settings:
    urls = Urls(
        flags=url, cohorts=url, management=url, stream=url, remote=url, analytics=url + BATCH
    )
    given: dict[str, Any] = {
        "urls": urls,
        "drain_deadline_millis": 5000,
        "assignment": Assignment(event_upload_period_millis=3_600_000),
    }
    return builders.settings(**{**given, **changes})


class Running:
    """The whole proxy in this process, and clients for its two ports."""

    def __init__(self, exit_code: asyncio.Task[int], ports: Ports) -> None:
        self.exit_code = exit_code
        self.ports = ports
        self.clients = f"http://127.0.0.1:{ports.clients}"
        self.operators = f"http://127.0.0.1:{ports.operators}"
        self.session = aiohttp.ClientSession()

    async def status_of(self, url: str) -> int:
        async with self.session.get(url, headers=AUTHORISED) as response:
            await response.read()
            return response.status

    async def json_of(self, url: str) -> Any:
        async with self.session.get(url, headers=AUTHORISED) as response:
            return await response.json(content_type=None)

    async def wait_for(self, url: str, status: int) -> None:
        async with asyncio.timeout(60):
            while await self.status_of(url) != status:
                await asyncio.sleep(0.01)


@asynccontextmanager
async def running(settings: Settings, **changes: Any) -> AsyncIterator[Running]:
    ports: asyncio.Future[Ports] = asyncio.get_running_loop().create_future()
    serving = asyncio.ensure_future(serve(settings, ready=ports.set_result, **changes))
    proxy = Running(serving, await ports)
    try:
        yield proxy
    finally:
        await proxy.session.close()
        if not serving.done():
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGINT)
            await serving
