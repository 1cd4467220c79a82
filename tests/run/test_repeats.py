"""Repeated requests to the whole proxy: nothing is told twice, and a restart forgets no tag."""

import os
import signal

from proxy.run.stop import STOPPED
from tests.fakes.upstream import FakeUpstream
from tests.run.whole import AUTHORISED, BATCH, Running, pointed_at, running
from tests.serving import encoded

USER = {"X-Amp-Exp-User": encoded({"user_id": "u1"})}


async def ask(proxy: Running, tag: str = "") -> tuple[int, str]:
    headers = {**AUTHORISED, **USER, "Accept-Encoding": "gzip", "If-None-Match": tag}
    url = proxy.clients + "/sdk/v2/vardata"
    async with proxy.session.get(url, headers=headers) as response:
        await response.read()
        return response.status, response.headers["ETag"]


async def test_repeated_answers_are_told_once_in_each_life(upstream: FakeUpstream) -> None:
    tags: set[str] = set()
    for life in (1, 2):
        async with running(pointed_at(upstream.url)) as proxy:
            await proxy.wait_for(proxy.operators + "/readyz", 200)
            tag = tags.copy().pop() if tags else ""

            answers = [await ask(proxy, tag) for _ in range(5)]

            assert {status for status, _ in answers} == ({304} if tag else {200})
            tags |= {tag for _, tag in answers}
            page = await proxy.json_of(proxy.operators + "/status")
            known = page["edge"]["answer_cache"]
            assert (known["hits"], known["misses"], known["answers"]) == (3, 2, 1)
            assert 0 < known["bytes"] < known["max_bytes"]
            os.kill(os.getpid(), signal.SIGTERM)
            assert await proxy.exit_code == STOPPED
        assert len(upstream.at(BATCH)) == life
        assert len(upstream.at(BATCH)[-1].json["events"]) == 1
    assert len(tags) == 1
