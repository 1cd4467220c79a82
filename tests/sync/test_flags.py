import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
from aiohttp import web
from structlog.testing import capture_logs

from proxy import tasks
from proxy.sync.flags import FlagsLoop, kind_of
from tests.fakes.upstream import Request, Step, Stream, answer, by_request, hang
from tests.sync.rig import FLAGS, KEY, STREAM, Rig, array, flag, targeting, wait_until


@asynccontextmanager
async def looping(rig: Rig) -> AsyncIterator[FlagsLoop]:
    loop = FlagsLoop(rig.desk(), rig.means())
    running = tasks.start("flags", loop.run())
    try:
        yield loop
    finally:
        await tasks.stop(running)


async def test_without_streams_only_polls_are_made(rig: Rig) -> None:
    rig.up.on("GET", FLAGS, answer(200, array(flag())))
    async with looping(rig) as loop:
        await rig.up.received(5, FLAGS)

        assert loop.status()["stream"] == "off"
    assert rig.up.at(STREAM) == []


async def test_polls_are_rare_while_the_stream_delivers_and_step_in_when_it_ends(rig: Rig) -> None:
    rig.times(streams=True, flags=0.05, while_streaming=1e6)
    stream = Stream(array(flag(variant="streamed")))
    rig.up.on("GET", STREAM, stream)
    rig.up.on("GET", FLAGS, answer(200, array(flag(variant="streamed"))))
    async with looping(rig) as loop:
        await wait_until(lambda: loop.status()["stream"] == "delivers")
        polls = await poll_until_quiet(rig)

        rig.up.on("GET", FLAGS, answer(200, array(flag(variant="polled"))))
        rig.up.on("GET", STREAM, answer(503))
        stream.hang_up()
        await wait_until(lambda: rig.variant() == "polled")
        await rig.up.received(polls + 4, FLAGS)

        assert loop.status()["source"] == "poll"
        assert loop.status()["stream"] == "waits"


async def poll_until_quiet(rig: Rig) -> int:
    """Wait until no poll is made for ten intervals."""
    while True:
        before = len(rig.up.at(FLAGS))
        await asyncio.sleep(10 * rig.timings.flags)
        if len(rig.up.at(FLAGS)) == before:
            return before


async def test_a_poll_does_not_turn_back_what_the_stream_brought(rig: Rig) -> None:
    """The CDN lags behind: polls bring old flags as long as the stream delivers newer ones."""
    rig.times(streams=True, while_streaming=1.0)
    stream = Stream(array(flag(variant="new")))
    rig.up.on("GET", FLAGS, answer(200, array(flag(variant="old"))))
    rig.up.on("GET", STREAM, stream)
    async with looping(rig) as loop:
        await wait_until(lambda: rig.variant() == "new")
        for _ in range(3):
            opened = stream.opened
            while stream.opened == opened:
                assert rig.variant() == "new"
                stream.keep_alive()
                await asyncio.sleep(0)
        assert loop.status()["source"] == "stream"


async def test_a_stream_that_says_nothing_new_is_asked_again_when_polls_disagree(rig: Rig) -> None:
    rig.times(streams=True, while_streaming=1.0)
    stream = Stream(array(flag(variant="old")))
    rig.up.on("GET", FLAGS, answer(200, array(flag(variant="old"))))
    rig.up.on("GET", STREAM, stream)
    async with looping(rig) as loop:
        await wait_until(lambda: loop.status()["stream"] == "delivers")
        stream.first = array(flag(variant="new"))
        rig.up.on("GET", FLAGS, answer(200, array(flag(variant="new"))))
        stream.keep_alive()
        while rig.variant() != "new":
            stream.keep_alive()
            await asyncio.sleep(0)

    assert stream.opened == 2


async def test_a_stream_that_polls_contradict_does_not_empty_a_deployment(rig: Rig) -> None:
    rig.times(streams=True, flags=0.05, while_streaming=1.0, confirm=0.05)
    stream = Stream(b"[]")
    rig.up.on("GET", FLAGS, answer(200, array(flag())))
    rig.up.on("GET", STREAM, stream)
    async with looping(rig):
        while stream.opened < 4:
            stream.keep_alive()
            await asyncio.sleep(0)
        assert rig.variant() == "on"

        rig.up.on("GET", FLAGS, answer(200, b"[]"))
        await wait_until(lambda: rig.variant() is None)


async def test_a_poll_that_was_overtaken_by_the_stream_is_stale(rig: Rig) -> None:
    rig.times(streams=True, flags=0.05, while_streaming=1.0)
    stream = Stream(array(flag(variant="one")))
    gate = asyncio.Event()

    async def later(request: Request, raw: web.BaseRequest) -> web.StreamResponse:
        await gate.wait()
        return await answer(200, array(flag(variant="one")))(request, raw)

    rig.up.on("GET", FLAGS, answer(200, array(flag(variant="one"))), later)
    rig.up.on("GET", STREAM, stream)
    async with looping(rig) as loop:
        await rig.up.received(2, FLAGS)
        await wait_until(lambda: loop.status()["stream"] == "delivers")
        stream.say(array(flag(variant="two")))
        await wait_until(lambda: rig.variant() == "two")
        rig.up.on("GET", FLAGS, hang())
        gate.set()
        await wait_until(lambda: loop.status()["last_outcomes"][0]["outcome"] == "stale")
        stream.keep_alive()

        assert rig.variant() == "two"
    assert stream.opened == 1


async def test_an_empty_message_is_confirmed_by_a_poll_a_little_later(rig: Rig) -> None:
    rig.times(streams=True, flags=3600.0, confirm=0.2)
    stream = Stream(array(flag()))
    rig.up.on("GET", FLAGS, answer(200, array(flag())), answer(200, b"[]"))
    rig.up.on("GET", STREAM, stream)
    async with looping(rig) as loop:
        await wait_until(lambda: loop.status()["stream"] == "delivers")
        stream.say(b"[]")
        began = asyncio.get_running_loop().time()
        await wait_until(lambda: not rig.flags())

        assert asyncio.get_running_loop().time() - began >= 0.2
    assert len(rig.up.at(FLAGS)) == 2


async def test_with_upstream_down_everything_is_tried_until_it_comes_back(rig: Rig) -> None:
    rig.times(streams=True, stream_retry=0.02, longest_stream_retry=0.02, longest_retry=0.02)
    rig.up.on("GET", FLAGS, answer(200, array(flag())))
    rig.up.on("GET", STREAM, Stream(array(flag())))
    await rig.up.close()
    async with looping(rig) as loop:
        await wait_until(lambda: loop.status()["stream"] == "waits")
        label, ok, reason = loop.ready()
        assert (label, ok) == ("alpha", False)
        assert reason.startswith("no flags yet: flags: no answer")

        await rig.up.open()
        await wait_until(lambda: loop.status()["stream"] == "delivers")
        assert loop.ready() == ("alpha", True, "")

        await rig.up.close()
        await wait_until(lambda: loop.status()["stream"] == "waits")
        label, ok, reason = loop.ready()
        assert (label, ok, rig.variant()) == ("alpha", True, "on")
        assert "no answer" in reason or "ended" in reason or "broke off" in reason


async def test_the_status_tells_all_and_is_json(rig: Rig) -> None:
    condition = {"selector": ["context", "user", "x"], "op": "regex match", "values": ["["]}
    odd = flag("odd", segments=[{"conditions": [[condition]], "variant": "on"}])
    rig.up.on("GET", FLAGS, answer(200, array(flag(), odd, {"key": "broken"})))
    loop = FlagsLoop(rig.desk(), rig.means())
    fresh = msgspec.json.decode(msgspec.json.encode(loop.status()))
    assert (fresh["source"], fresh["age_seconds"], fresh["flags"]) == (None, None, 0)
    assert loop.ready() == ("alpha", False, "no flags yet: not asked yet")

    async with looping(rig) as loop:
        await wait_until(rig.variant)
        rig.now += 7
        status = loop.status()

    assert KEY.encode() not in msgspec.json.encode(status)
    assert status["deployment"] == "alpha"
    assert (status["project"], status["type"]) == ("p", "server")
    assert (status["source"], status["flags"]) == ("poll", 2)
    assert status["age_seconds"] in (0, 7)
    assert [(one["flag"], one["in_force"]) for one in status["left_out"]] == [("broken", False)]
    assert [(one["flag"], one["in_force"]) for one in status["broken_patterns"]] == [("odd", True)]
    assert status["last_outcomes"][-1]["outcome"] == "changed"
    assert len(status["version"]) == 12


async def test_an_unexpected_error_is_told_and_the_loop_starts_again(rig: Rig) -> None:
    """The second answer makes our own code fail: its clock breaks while the answer is taken."""
    broken = False

    def clock() -> float:
        nonlocal broken
        if broken:
            broken = False
            raise ZeroDivisionError
        return rig.now

    def break_clock(_: Request) -> Step:
        nonlocal broken
        broken = len(rig.up.requests) == 2
        return answer(200, array(flag(variant=f"v{len(rig.up.requests)}")))

    rig.up.on("GET", FLAGS, by_request(break_clock))
    means = msgspec.structs.replace(rig.means(), clock=clock)
    loop = FlagsLoop(rig.desk(means), means)
    with capture_logs() as lines:
        running = tasks.start("flags", loop.run())
        await wait_until(lambda: loop.deaths)
        assert rig.variant() == "v1"
        assert loop.ready() == ("alpha", True, "loop: ZeroDivisionError")
        assert loop.status()["loop_deaths"] == 1
        await wait_until(lambda: rig.variant() not in ("v1", "v2"))
        await tasks.stop(running)

    assert rig.metric("loop_deaths_total", loop="flags") == 1
    assert [line["error"] for line in lines if line["log_level"] == "error"] == [
        "ZeroDivisionError"
    ]
    assert loop.ready() == ("alpha", True, "")


async def test_flags_that_have_not_come_yet_may_target_any_cohort(rig: Rig) -> None:
    rig.up.on("GET", FLAGS, answer(503), answer(401))
    async with looping(rig) as loop:
        assert loop.may_target("c1")
        await wait_until(lambda: loop.standing().hopeless)
        assert not loop.may_target("c1")

        rig.up.on("GET", FLAGS, answer(200, array(flag())))
        await wait_until(rig.variant)
        assert not loop.may_target("c1")


async def test_first_flags_that_wait_say_for_what(rig: Rig) -> None:
    cohorts = [f"c{n}" for n in range(7)]
    rig.up.on("GET", FLAGS, answer(200, array(targeting("a", *cohorts))))
    async with looping(rig) as loop:
        await wait_until(lambda: loop.desk.intake.waiting)

        why = "no flags yet: waiting for cohorts c0, c1, c2, c3, c4 and 2 more"
        assert loop.ready() == ("alpha", False, why)
        assert loop.status()["waiting"] == [{"flag": "a", "cohorts": cohorts}]
        assert loop.may_target("c1")
        assert not loop.standing().has_flags
        assert loop.status()["last_outcomes"][0]["outcome"] == "waits"


def test_an_error_is_named_by_kind_only() -> None:
    group = ExceptionGroup("secret", [ValueError("secret"), KeyError("secret")])
    assert kind_of(group) == "ValueError, KeyError"
    assert kind_of(None) == "it returned"


async def test_a_deployment_whose_flags_are_all_unusable_says_why_and_blocks_nobody(
    rig: Rig,
) -> None:
    rig.times(flags=0.05)
    rig.up.on("GET", FLAGS, answer(200, b'[{"key": "bad", "variants": 7, "segments": []}]'))
    async with looping(rig) as loop:
        await wait_until(lambda: loop.standing().hopeless)

        status = loop.status()
        assert [problem["flag"] for problem in status["left_out"]] == ["bad"]
        assert status["flags"] == 0
        label, ok, reason = loop.ready()
        assert (label, ok) == ("alpha", False)
        assert "none of the flags can be used" in reason
        sample = rig.metrics.registry.get_sample_value
        assert sample("amplitude_proxy_flags_left_out", {"deployment": "alpha"}) == 1

        rig.up.on("GET", FLAGS, answer(200, array(flag())))
        await wait_until(lambda: rig.variant() == "on")
        assert loop.status()["left_out"] == []
        assert not loop.standing().hopeless
