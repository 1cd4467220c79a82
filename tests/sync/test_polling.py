import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import structlog
from aiohttp import web
from structlog.testing import capture_logs

from proxy import tasks
from proxy.sync.desk import Desk
from proxy.sync.polling import Polling
from proxy.sync.streaming import Streaming
from tests.fakes.upstream import Request, Step, answer, cut, truncated
from tests.sync.rig import FLAGS, KEY, Rig, array, flag, wait_until


@asynccontextmanager
async def polling(rig: Rig) -> AsyncIterator[Desk]:
    wake = asyncio.Event()
    desk = rig.desk()
    loop = Polling(desk, rig.means(), Streaming(desk, rig.means(), wake.set), wake)
    running = tasks.start("polling", loop.run())
    try:
        yield desk
    finally:
        await tasks.stop(running)


def outcomes(desk: Desk) -> list[str]:
    return [entry["outcome"] for entry in desk.journal.status()["last_outcomes"][::-1]]


async def test_a_change_upstream_is_in_force_after_the_next_poll(rig: Rig) -> None:
    rig.up.on("GET", FLAGS, answer(200, array(flag())), answer(200, array(flag(variant="off"))))
    async with polling(rig) as desk:
        await wait_until(lambda: rig.variant() == "on")
        await wait_until(lambda: rig.variant() == "off")
        await wait_until(lambda: outcomes(desk)[:3] == ["changed", "changed", "unchanged"])

    request = rig.up.requests[0]
    assert request.headers["Authorization"] == f"Api-Key {KEY}"
    assert request.query == {"v": "0"}
    assert rig.metric("flags_fetch_total") == len(rig.up.requests)
    assert rig.metric("flags_fetch_failure_total") == 0
    assert rig.metric("sync_outcomes_total", what="flags", outcome="changed") == 2


BAD = {
    "500": answer(500, b"[]"),
    "401": answer(401, b"[]"),
    "403": answer(403, b"Invalid"),
    "404": answer(404),
    "429": answer(429),
    "redirect": answer(302, b"[]", Location="/elsewhere"),
    "cut": cut(),
    "truncated": truncated(array(flag())),
    "truncated JSON": answer(200, array(flag(variant="off"))[:-5]),
    "object": answer(200, b"{}"),
    "null": answer(200, b"null"),
    "empty": answer(200, b""),
    "blank": answer(200, b" \n"),
    "HTML": answer(200, b"<html></html>", Content_Type="text/html"),
    "unasked 304": answer(304),
    "nothing usable": answer(200, array({"key": "feature", "variants": 7})),
    "nothing known": answer(200, array({"key": "other"})),
    "one empty list": answer(200, b"[]"),
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
async def test_nothing_bad_replaces_what_is_good(rig: Rig, bad: Step) -> None:
    rig.up.on(
        "GET",
        FLAGS,
        answer(200, array(flag())),
        bad,
        answer(200, array(flag(), flag("second"))),
    )
    seen = set()
    async with polling(rig):
        await wait_until(rig.variant)
        while len(rig.flags()) < 2:
            seen.add(rig.variant())
            await asyncio.sleep(0)

    assert seen == {"on"}


async def test_an_empty_list_counts_when_it_comes_twice(rig: Rig) -> None:
    rig.up.on("GET", FLAGS, answer(200, array(flag())), answer(200, b"[]"))
    with capture_logs() as lines:
        async with polling(rig) as desk:
            await wait_until(rig.variant)
            await wait_until(lambda: not rig.flags())
            await wait_until(lambda: "unchanged" in outcomes(desk))

    assert outcomes(desk)[:3] == ["changed", "unconfirmed", "changed"]
    assert "deployment has no flags any more" in [line["event"] for line in lines]


async def test_failures_are_counted_and_told_once(rig: Rig) -> None:
    rig.up.on("GET", FLAGS, *[answer(503)] * 5, answer(200, array(flag())))
    with capture_logs() as lines:
        async with polling(rig) as desk:
            await wait_until(rig.variant)

    told: list[structlog.typing.EventDict] = [
        line for line in lines if line["log_level"] == "warning"
    ]
    assert [line["why"] for line in told] == ["answered 503"]
    assert rig.metric("flags_fetch_failure_total") == 5
    assert rig.metric("sync_outcomes_total", what="flags", outcome="unavailable") == 5
    assert desk.journal.trouble() == ""
    assert not any(KEY in repr(line) for line in lines)


async def test_upstreams_wish_to_wait_is_honoured(rig: Rig) -> None:
    rig.up.on("GET", FLAGS, answer(429, b"", Retry_After="3600"))
    async with polling(rig) as desk:
        await wait_until(lambda: desk.journal.next_attempt_at)

        assert 3600 <= desk.journal.status()["next_attempt_in_seconds"] <= 3960
        assert desk.journal.trouble() == "flags: answered 429"


async def test_an_etag_is_sent_back_as_long_as_its_flags_are_in_force(rig: Rig) -> None:
    rig.up.on(
        "GET",
        FLAGS,
        answer(200, array(flag()), ETag='"1"'),
        answer(304),
        answer(200, array(flag(variant="off")), ETag='"2"'),
        answer(200, b"[]", ETag='"3"'),
        answer(200, array(flag(variant="x"))),
        answer(200, array(flag(variant="y"))),
    )
    async with polling(rig) as desk:
        await wait_until(lambda: rig.variant() == "y")
        requests = await rig.up.received(6, FLAGS)

    assert outcomes(desk)[:6] == [
        "changed",
        "unchanged",
        "changed",
        "unconfirmed",
        "changed",
        "changed",
    ]
    asked = [request.headers.get("If-None-Match") for request in requests[:6]]
    assert asked == [None, '"1"', '"1"', '"2"', '"2"', None]


async def test_a_304_speaks_of_what_was_in_force_when_it_was_asked(rig: Rig) -> None:
    gate = asyncio.Event()

    async def later(request: Request, raw: web.BaseRequest) -> web.StreamResponse:
        await gate.wait()
        return await answer(304)(request, raw)

    rig.up.on("GET", FLAGS, answer(200, array(flag()), ETag='"1"'), later)
    async with polling(rig) as desk:
        await rig.up.received(2, FLAGS)
        now = asyncio.get_running_loop().time()
        await desk.intake.take(array(flag(variant="off")), "stream", now)
        gate.set()
        await wait_until(lambda: "stale" in outcomes(desk))
        requests = await rig.up.received(3, FLAGS)

    assert rig.variant() == "off"
    assert "If-None-Match" not in requests[2].headers


async def test_an_old_copy_from_a_cache_does_not_turn_flags_back(rig: Rig) -> None:
    rig.up.on(
        "GET",
        FLAGS,
        answer(200, array(flag(variant="new"))),
        answer(200, array(flag(variant="old")), Age="600"),
        answer(200, array(flag(variant="newest"))),
    )
    seen = set()
    async with polling(rig) as desk:
        while "newest" not in seen:
            seen.add(rig.variant())
            await asyncio.sleep(0)

    assert seen == {None, "new", "newest"}
    assert "stale" in outcomes(desk)
