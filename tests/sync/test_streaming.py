import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from proxy import tasks
from proxy.sync.streaming import Streaming
from proxy.upstream.flags import Patience
from tests.fakes.upstream import Step, Stream, answer, cut, hang
from tests.sync.rig import STREAM, Rig, array, flag, wait_until


class Followed:
    """A stream loop under test and what it asked polling for."""

    def __init__(self, rig: Rig) -> None:
        self.polls = 0
        self.desk = rig.desk()
        self.streaming = Streaming(self.desk, rig.means(), self._ask)

    def _ask(self) -> None:
        self.polls += 1

    @property
    def outcomes(self) -> list[str]:
        return [entry["outcome"] for entry in self.desk.journal.status()["last_outcomes"][::-1]]


async def becomes(rig: Rig, variant: str) -> None:
    await wait_until(lambda: rig.variant() == variant)


@asynccontextmanager
async def following(rig: Rig) -> AsyncIterator[Followed]:
    followed = Followed(rig)
    running = tasks.start("streaming", followed.streaming.run())
    try:
        yield followed
    finally:
        await tasks.stop(running)


async def test_each_message_is_in_force_at_once(rig: Rig) -> None:
    stream = Stream(array(flag()))
    rig.up.on("GET", STREAM, stream)
    async with following(rig) as followed:
        await wait_until(lambda: followed.streaming.delivers)
        assert rig.variant() == "on"
        assert rig.metric("stream_connected", deployment="alpha") == 1
        for variant in ("off", "x", "y"):
            stream.say(array(flag(variant=variant)))
            await becomes(rig, variant)

        assert followed.streaming.body == array(flag(variant="y"))
        assert followed.polls == 0
    assert followed.streaming.state == "waits"
    assert rig.metric("stream_connected", deployment="alpha") == 0


async def test_a_keep_alive_confirms_what_the_stream_said(rig: Rig) -> None:
    stream = Stream(array(flag()))
    rig.up.on("GET", STREAM, stream)
    async with following(rig) as followed:
        await wait_until(lambda: followed.streaming.delivers)
        rig.now += 15
        stream.keep_alive()
        await wait_until(lambda: rig.slot().confirmed_at == rig.now)


async def test_a_keep_alive_confirms_nothing_that_the_stream_did_not_say(rig: Rig) -> None:
    stream = Stream(array(flag()))
    rig.up.on("GET", STREAM, stream, hang())
    async with following(rig) as followed:
        await wait_until(lambda: followed.streaming.delivers)
        confirmed = rig.slot().confirmed_at
        rig.now += 15
        stream.say(b"[]")
        await wait_until(lambda: followed.polls)
        followed.streaming.doubt()
        stream.keep_alive()
        await rig.up.received(2, STREAM)

        assert followed.outcomes == ["changed", "connected", "unconfirmed"]
        assert rig.slot().confirmed_at == confirmed


@pytest.mark.parametrize(
    "broken",
    [
        array(flag())[:-4],
        b"{}",
        b"null",
        array({"key": "other"}),
    ],
    ids=["truncated", "object", "null", "nothing usable"],
)
async def test_a_garbled_message_ends_the_stream_and_changes_nothing(
    rig: Rig, broken: bytes
) -> None:
    stream = Stream(array(flag()))
    rig.up.on("GET", STREAM, stream, answer(503))
    async with following(rig) as followed:
        await wait_until(lambda: followed.streaming.delivers)
        stream.say(broken)
        await wait_until(lambda: followed.polls == 1)

        assert followed.streaming.state == "waits"
        assert followed.streaming.body is None
        assert followed.outcomes[-1] == "garbled"
        assert rig.variant() == "on"


async def test_a_lost_stream_asks_for_a_poll_and_is_opened_again(rig: Rig) -> None:
    rig.times(stream_retry=0.02)
    stream = Stream(array(flag()))
    rig.up.on("GET", STREAM, stream)
    async with following(rig) as followed:
        for _ in range(3):
            await wait_until(lambda: followed.streaming.delivers)
            stream.hang_up()
            await wait_until(lambda: not followed.streaming.delivers)
        await wait_until(lambda: followed.streaming.delivers)

        assert followed.polls == 3
    assert stream.opened == 4


@pytest.mark.parametrize(
    "failure",
    [
        answer(401),
        answer(404),
        answer(503),
        answer(302),
        cut(),
        Stream(b"[]", content_type="text/html"),
        Stream(array({"key": "feature", "variants": 7})),
        Stream(None),
    ],
    ids=["401", "404", "503", "302", "cut", "HTML", "nothing usable", "silent"],
)
async def test_a_stream_that_does_not_begin_is_tried_again_and_again(
    rig: Rig, failure: Step
) -> None:
    rig.times(stream_retry=0.02, patience=Patience(first_data=0.1))
    rig.up.on("GET", STREAM, failure, failure, Stream(array(flag())))
    async with following(rig) as followed:
        await wait_until(lambda: followed.streaming.delivers)

        assert rig.variant() == "on"
        assert len(rig.up.requests) == 3
        assert followed.polls == 0


async def test_silence_ends_a_stream(rig: Rig) -> None:
    rig.times(patience=Patience(silence=0.1))
    rig.up.on("GET", STREAM, Stream(array(flag())), hang())
    async with following(rig) as followed:
        await wait_until(lambda: followed.polls == 1)

        assert followed.outcomes[-1] == "unavailable"
        assert "no message" in followed.desk.journal.trouble()


async def test_501_means_no_stream_for_a_long_while(rig: Rig) -> None:
    rig.up.on("GET", STREAM, answer(501))
    async with following(rig) as followed:
        await wait_until(lambda: followed.streaming.state == "not offered")

        assert followed.outcomes == ["not_offered"]
        assert followed.streaming.body is None


async def test_a_stream_is_renewed_without_a_gap(rig: Rig) -> None:
    rig.times(renewal=0.05)
    most = 0
    stream = Stream(array(flag()))
    rig.up.on("GET", STREAM, stream)
    async with following(rig) as followed:
        await wait_until(lambda: followed.streaming.delivers)
        for _ in range(3):
            opened = stream.opened
            while stream.opened == opened:
                assert followed.streaming.delivers
                assert stream.connections >= 1
                await asyncio.sleep(0)
            most = max(most, stream.connections)
        assert "renewed" in followed.outcomes
        assert followed.polls == 0
        assert most == 2
    await wait_until(lambda: stream.connections == 0)


async def test_a_renewal_that_fails_keeps_the_stream_there_is(rig: Rig) -> None:
    rig.times(renewal=0.05, stream_retry=0.05)
    stream = Stream(array(flag()))
    garbled = Stream(b"[,")
    rig.up.on("GET", STREAM, stream, answer(503), garbled, hang())
    async with following(rig) as followed:
        await rig.up.received(4, STREAM)

        assert followed.outcomes == ["changed", "connected", "unavailable", "garbled"]
        assert followed.streaming.delivers
        assert followed.polls == 0
        assert stream.connections == 1
        await wait_until(lambda: garbled.connections == 0)


async def test_doubt_renews_the_stream(rig: Rig) -> None:
    stream = Stream(array(flag()))
    rig.up.on("GET", STREAM, stream)
    async with following(rig) as followed:
        await wait_until(lambda: followed.streaming.delivers)
        stream.first = array(flag(variant="off"))
        followed.streaming.doubt()
        stream.keep_alive()
        await wait_until(lambda: rig.variant() == "off")

        assert stream.opened == 2
