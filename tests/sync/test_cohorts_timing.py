"""When cohorts are asked for, and how long flags wait for them: in virtual time, without builds."""

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from typing import cast

import pytest
from structlog.testing import capture_logs

from proxy.evaluation.cohorts import Target
from proxy.sync.cohort_verdicts import CohortTimings
from proxy.sync.turns import Turns
from tests.fakes.upstream import answer, drip, hang
from tests.sync.cohort_rig import FIRST, SECOND, CohortRig, one_of, rigged, targets

C = targets("c")
TARGET = Target("User", "c")
HOUR = 3600


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[CohortRig]:
    async with rigged(None, tmp_path) as one:
        one.timings = CohortTimings()
        yield one


def now() -> float:
    return asyncio.get_running_loop().time()


def pauses(rig: CohortRig) -> list[float]:
    """The seconds between the times that the cohort was asked for."""
    return [after.at - before.at for before, after in pairwise(rig.up.requests)]


@pytest.mark.looptime
async def test_flags_wait_for_a_cohort_under_a_deadline(rig: CohortRig) -> None:
    rig.on(answer(503))
    async with rig.wanting() as loop:
        await asyncio.sleep(40)
        assert loop.pending(C) == C
        # Who comes later waits no longer than the first.
        loop.need(SECOND, C)
        await loop.settled(C)

        assert now() == pytest.approx(60, abs=0.1)
        assert loop.pending(C) == frozenset()
        assert loop.missing(C) == {TARGET: "answered 503"}
        await loop.settled(C)
        loop.need(FIRST, frozenset())
        loop.need(FIRST, C)
        assert loop.pending(C) == frozenset()
        assert now() == pytest.approx(60, abs=0.1)


@pytest.mark.looptime
async def test_who_needs_a_cohort_anew_waits_for_it_anew(rig: CohortRig) -> None:
    rig.on(answer(503))
    async with rig.wanting() as loop:
        await loop.settled(C)
        assert loop.pending(C) == frozenset()
        loop.need(FIRST, frozenset())
        loop.need(FIRST, C)
        assert loop.pending(C) == C
        await loop.settled(C)

    assert now() == pytest.approx(120, abs=0.2)


@pytest.mark.looptime
async def test_an_outage_of_many_cohorts_is_a_few_lines(rig: CohortRig) -> None:
    names = [f"c{n}" for n in range(30)]
    rig.times(period=20, longest_retry=20, longest_preparing=20, progress=100)
    for name in names:
        rig.on(answer(503), cohort_id=name)
    with capture_logs() as lines:
        async with rig.wanting(*names) as loop:
            await asyncio.sleep(150)
            assert all(one["trouble"] for one in loop.status()["cohorts"])
            for name in names:
                rig.on(answer(202), cohort_id=name)
            await asyncio.sleep(100)
            assert not any(one["trouble"] for one in loop.status()["cohorts"])

    for event in ("sync has trouble", "sync goes well"):
        assert len([line for line in lines if line["event"] == event]) == 5
    for event in ("sync has more trouble", "sync goes well with more"):
        assert [line["count"] for line in lines if line["event"] == event] == [25]


def states(rig: CohortRig) -> list[str]:
    """The states that the only cohort is in, by the metric; one as a rule."""
    known = ("here", "loading", "missing")
    return [state for state in known if rig.metric("cohorts", project="p", state=state)]


@pytest.mark.looptime
async def test_a_cohort_is_loading_while_flags_wait_and_then_missing_though_it_is_asked_for(
    rig: CohortRig,
) -> None:
    rig.on(answer(503), hang())
    rig.times(first_retry=70, longest_retry=70)
    async with rig.wanting() as loop:
        # Between two attempts as well as during the first.
        for second in range(60):
            assert states(rig) == ["loading"], second
            assert one_of(loop)["state"] == "loading"
            await asyncio.sleep(1)
        while not one_of(loop)["loading"]:
            assert states(rig) == ["missing"]
            await asyncio.sleep(1)
        assert states(rig) == ["missing"]
        assert one_of(loop)["state"] == "missing"


@pytest.mark.looptime
async def test_a_cohort_that_was_given_up_is_loading_again_once_bytes_come(rig: CohortRig) -> None:
    rig.times(wait=0)
    rig.on(drip(b" " * 100, 50, 60))
    async with rig.wanting() as loop:
        assert states(rig) == ["missing"]
        while not (one_of(loop)["loading"] or {}).get("bytes"):
            assert states(rig) == ["missing"]
            await asyncio.sleep(1)
        assert states(rig) == ["loading"]


@pytest.mark.looptime
async def test_what_no_flag_needs_is_not_called_loading(rig: CohortRig) -> None:
    rig.on(answer(503))
    async with rig.wanting() as loop:
        await asyncio.sleep(5)
        assert states(rig) == ["loading"]
        loop.need(FIRST, frozenset())
        assert states(rig) == ["missing"]


@pytest.mark.looptime
async def test_nobody_waits_when_the_settings_say_so(rig: CohortRig) -> None:
    rig.times(wait=0)
    rig.on(hang())
    async with rig.wanting() as loop:
        assert loop.pending(C) == frozenset()
        assert loop.missing(C) == {TARGET: "is not loaded yet"}
        await asyncio.sleep(1)
        assert loop.missing(C) == {TARGET: "is being loaded"}
        assert one_of(loop)["reason"] == "is being loaded"


@pytest.mark.looptime
@pytest.mark.parametrize(
    ("status", "why"),
    [
        (401, "answered 401: upstream does not take the project's API key and secret key"),
        (403, "answered 403: upstream does not take the project's API key and secret key"),
        (404, "upstream knows no such cohort"),
        (413, "it has more than maxCohortSize (1000) members"),
    ],
)
async def test_nobody_waits_for_what_is_hopeless(rig: CohortRig, status: int, why: str) -> None:
    rig.on(answer(status), answer(503))
    async with rig.wanting() as loop:
        await loop.settled(C)

        assert now() < 1
        assert loop.missing(C) == {TARGET: why}
        # Hope comes back with the cohort alone.
        await asyncio.sleep(200)
        assert len(rig.up.requests) > 1
        assert loop.pending(C) == frozenset()


@pytest.mark.looptime
async def test_failures_are_followed_by_growing_pauses_with_a_bound(rig: CohortRig) -> None:
    rig.on(answer(503))
    async with rig.wanting():
        await asyncio.sleep(2 * HOUR)

    waited = pauses(rig)
    assert 0.1 <= waited[0] <= 1
    assert max(waited[:5]) <= 16
    assert 60 < max(waited) <= 120.1
    assert sum(waited[-10:]) / 10 > 30


@pytest.mark.looptime
async def test_the_period_bounds_the_pauses_when_it_is_short(rig: CohortRig) -> None:
    rig.times(period=5)
    rig.on(answer(500))
    async with rig.wanting():
        await asyncio.sleep(HOUR)

    assert 30 < max(pauses(rig)) <= 60.1


@pytest.mark.looptime
@pytest.mark.parametrize("status", [202, 404, 413, 429, 503])
async def test_upstreams_wish_to_wait_is_honoured(rig: CohortRig, status: int) -> None:
    rig.on(answer(status, b"", Retry_After="500"))
    async with rig.wanting() as loop:
        await asyncio.sleep(1300)
        assert one_of(loop)["next_attempt_in_seconds"] >= 0

    assert all(499.9 <= pause <= 551 for pause in pauses(rig))
    assert len(pauses(rig)) == 2


@pytest.mark.looptime
async def test_what_is_prepared_is_asked_for_after_a_second_then_more_rarely(
    rig: CohortRig,
) -> None:
    rig.on(answer(202))
    with capture_logs() as lines:
        async with rig.wanting() as loop:
            await asyncio.sleep(600)
            assert loop.missing(C) == {TARGET: "upstream is preparing it"}

    waited = pauses(rig)
    assert 1 <= waited[0] <= 1.6
    assert waited[:4] == sorted(waited[:4])
    assert 30 <= max(waited) <= 46
    assert not [line for line in lines if line["log_level"] != "info"]


@pytest.mark.looptime
async def test_what_is_too_large_is_asked_for_at_the_regular_period(rig: CohortRig) -> None:
    rig.on(answer(413))
    async with rig.wanting():
        await asyncio.sleep(2 * HOUR)

    assert all(107.9 <= pause <= 132.1 for pause in pauses(rig))
    assert len({round(pause) for pause in pauses(rig)}) > 5


@pytest.mark.looptime
async def test_what_never_was_here_is_looked_for_soon_and_then_more_rarely(rig: CohortRig) -> None:
    rig.on(answer(404))
    async with rig.wanting():
        await asyncio.sleep(2 * HOUR)

    assert pauses(rig)[0] <= 1
    assert max(pauses(rig)) > 60


@pytest.mark.looptime
async def test_what_is_not_needed_is_not_asked_for_and_forgotten(rig: CohortRig) -> None:
    rig.on(answer(404))
    async with rig.wanting() as loop:
        await asyncio.sleep(5)
        loop.need(FIRST, frozenset())
        asked = len(rig.up.requests)
        await asyncio.sleep(500)
        assert len(loop.status()["cohorts"]) == 1
        await asyncio.sleep(200)
        assert loop.status()["cohorts"] == []

    assert len(rig.up.requests) == asked


@pytest.mark.looptime
async def test_who_is_not_needed_any_more_passes_its_turn_on(rig: CohortRig) -> None:
    rig.on(hang(), cohort_id="a")
    names = ["a0", "a1", "a2", "a3"]
    for name in names:
        rig.on(hang(), cohort_id=name)
    async with rig.wanting(*names) as loop:
        await asyncio.sleep(1)
        loop.need(SECOND, C)
        await asyncio.sleep(1)
        loop.need(SECOND, frozenset())
        await asyncio.sleep(60)
        assert len(loop.status()["cohorts"]) == 5

    assert rig.up.at("/sdk/v1/cohort/c") == []


@pytest.mark.looptime
async def test_a_cohorts_task_that_dies_is_seen_and_started_again(rig: CohortRig) -> None:
    # No turn can be had of None: as good as any other mistake of ours.
    rig.turns = cast("Turns", None)
    with capture_logs() as lines:
        async with rig.wanting() as loop:
            await asyncio.sleep(10)
            assert loop.deaths >= 3
            assert loop.status()["loop_deaths"] == loop.deaths
            assert one_of(loop)["trouble"] == "loop: AttributeError"
            assert one_of(loop)["state"] == "loading"

    died = [line for line in lines if line["event"] == "cohorts loop died"]
    assert {(line["error"], line["cohort"]) for line in died} == {("AttributeError", "c")}
    assert rig.metric("loop_deaths_total", loop="cohorts") == loop.deaths


@pytest.mark.looptime
async def test_housekeeping_that_dies_is_seen_and_started_again(rig: CohortRig) -> None:
    rig.times(progress="soon")
    rig.on(answer(404))
    with capture_logs() as lines:
        async with rig.wanting() as loop:
            await asyncio.sleep(10)
            assert loop.deaths >= 3
            await rig.asked(3)

    assert "cohorts loop died" in [line["event"] for line in lines]


@pytest.mark.looptime
async def test_needs_that_came_before_the_start_are_met(rig: CohortRig) -> None:
    rig.on(answer(404))
    loop = rig.loop()
    loop.need(FIRST, C)
    async with rig.running(loop):
        await loop.settled(C)

    assert len(rig.up.requests) == 1


@pytest.mark.looptime
async def test_a_thousand_cohorts_are_loaded_four_at_a_time(rig: CohortRig) -> None:
    names = [f"c{n}" for n in range(1000)]
    for name in names:
        rig.on(answer(404), cohort_id=name)
    async with rig.running() as loop:
        began = asyncio.get_running_loop().time()
        loop.need(FIRST, targets(*names))
        await loop.settled(targets(*names))

        assert asyncio.get_running_loop().time() - began < 60
        assert loop.status()["missing"] == 1000
