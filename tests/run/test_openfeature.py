"""OpenFeature as the whole proxy offers it: with streams, without, or not at all."""

import asyncio
from typing import Any

import pytest

from proxy.settings.ofrep import Ofrep
from proxy.settings.streams import Streams
from tests.builders import flag
from tests.fakes.upstream import FakeUpstream, json_answer
from tests.run.whole import AUTHORISED, FLAGS, Running, pointed_at, running

BULK = "/ofrep/v1/evaluate/flags"


async def asked(proxy: Running) -> tuple[int, dict[str, Any]]:
    body = {"context": {"targetingKey": "u1"}}
    async with proxy.session.post(proxy.clients + BULK, json=body, headers=AUTHORISED) as answer:
        return answer.status, await answer.json(content_type=None)


async def test_a_change_upstream_reaches_who_listens(upstream: FakeUpstream) -> None:
    settings = pointed_at(upstream.url, flag_sync_interval_millis=100)
    async with running(settings) as proxy:
        await proxy.wait_for(proxy.operators + "/readyz", 200)
        _, before = await asked(proxy)
        (stream,) = before["eventStreams"]
        path = stream["endpoint"]["requestUri"]
        async with proxy.session.get(proxy.clients + path) as events, asyncio.timeout(30):
            await events.content.readuntil(b"\n\n")
            page = await proxy.json_of(proxy.operators + "/status")
            assert sum(page["edge"]["ofrep"]["listeners"].values()) == 1
            upstream.on("GET", FLAGS, json_answer([flag("plain"), flag("new")]))
            while b"refetchEvaluation" not in await events.content.readuntil(b"\n\n"):
                pass
            _, after = await asked(proxy)

    assert [each["key"] for each in before["flags"]] == ["plain"]
    assert [each["key"] for each in after["flags"]] == ["plain", "new"]


@pytest.mark.parametrize(
    ("changes", "status", "members"),
    [
        ({"streams": Streams(enabled=False)}, 200, {"flags"}),
        ({"ofrep": Ofrep(enabled=False)}, 404, {"code", "error"}),
    ],
)
async def test_what_is_switched_off_is_not_spoken_of(
    upstream: FakeUpstream, changes: dict[str, Any], status: int, members: set[str]
) -> None:
    async with running(pointed_at(upstream.url, **changes)) as proxy:
        await proxy.wait_for(proxy.operators + "/readyz", 200)
        found, body = await asked(proxy)
        page = await proxy.json_of(proxy.operators + "/status")

    assert (found, set(body)) == (status, members)
    assert "ofrep" not in page["edge"]
