"""Streams in the whole proxy: fed by upstream, told on the status page, ended by a stop."""

import asyncio
import os
import signal

import aiohttp
import msgspec

from proxy.api.stream_variants import VARIANTS
from proxy.api.streams import PATH
from proxy.settings.schema import Streams
from tests.builders import flag
from tests.fakes.upstream import FakeUpstream, json_answer
from tests.run.whole import AUTHORISED, FLAGS, Running, pointed_at, running


async def message(answer: aiohttp.ClientResponse) -> bytes:
    """Return the next message that is no keep-alive."""
    async with asyncio.timeout(60):
        while (found := await answer.content.readuntil(b"\n\n")) == b"data:  \n\n":
            pass
        return found


async def stream(proxy: Running, path: str = PATH) -> aiohttp.ClientResponse:
    url = proxy.clients + path
    answer = await proxy.session.get(url, headers=AUTHORISED, timeout=aiohttp.ClientTimeout())
    assert answer.status == 200
    return answer


async def test_a_change_upstream_reaches_a_stream_and_a_stop_ends_it(
    upstream: FakeUpstream,
) -> None:
    settings = pointed_at(upstream.url, flag_sync_interval_millis=100)
    async with running(settings) as proxy:
        await proxy.wait_for(f"{proxy.operators}/readyz", 200)
        answer = await stream(proxy)
        assert await message(answer) == b"data: %b\n\n" % msgspec.json.encode([flag("plain")])
        upstream.on("GET", FLAGS, json_answer([flag("changed")]))
        assert await message(answer) == b"data: %b\n\n" % msgspec.json.encode([flag("changed")])
        edge = (await proxy.json_of(f"{proxy.operators}/status"))["edge"]
        assert edge["streams"]["open"] == 1
        assert list(edge["streams"]["deployments"].values()) == [1]
        assert "streams_of_variants" not in edge

        os.kill(os.getpid(), signal.SIGTERM)
        await proxy.wait_for(f"{proxy.operators}/readyz", 503)
        assert not (await answer.content.read()).replace(b"data:  \n\n", b"")
        async with asyncio.timeout(60):
            assert await proxy.exit_code == 0


async def test_streams_can_be_switched_off_and_those_of_variants_on(
    upstream: FakeUpstream,
) -> None:
    for streams, statuses in (
        (Streams(), (200, 404)),
        (Streams(enabled=False, variants=True), (501, 404)),
        (Streams(variants=True), (200, 200)),
    ):
        async with running(pointed_at(upstream.url, streams=streams)) as proxy:
            await proxy.wait_for(f"{proxy.operators}/readyz", 200)
            for path, status in zip((PATH, VARIANTS), statuses, strict=True):
                answer = await proxy.session.get(proxy.clients + path, headers=AUTHORISED)
                assert answer.status == status
                answer.close()
