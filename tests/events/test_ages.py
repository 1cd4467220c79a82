"""A wall clock that is put forward or back makes no event too old, and none live for ever."""

import asyncio

import pytest

from proxy.events.ages import LOOK_SECONDS, Ages

DAY = 86_400.0
LONGEST = 3 * DAY
START = 1_700_000_000.0


class Wall:
    """A wall clock that somebody sets."""

    def __init__(self) -> None:
        self.off = 0.0

    def __call__(self) -> float:
        return START + asyncio.get_running_loop().time() + self.off


async def wait_and_look(ages: Ages) -> float:
    """Wait until it is time to look again; return the second before which all is too old."""
    await asyncio.sleep(LOOK_SECONDS)
    before = ages.before()
    assert before is not None
    return before


@pytest.mark.looptime
async def test_events_are_too_old_after_their_time() -> None:
    wall = Wall()
    ages = Ages(wall, LONGEST)

    assert ages.before() == wall() - LONGEST
    assert ages.before() is None, "a moment later it is not time to look"
    assert await wait_and_look(ages) == wall() - LONGEST


@pytest.mark.looptime
async def test_a_clock_that_is_put_forward_makes_nothing_older() -> None:
    wall = Wall()
    ages = Ages(wall, LONGEST)
    ages.before()
    offered = wall()

    wall.off += 10 * DAY
    before = await wait_and_look(ages)
    wall.off -= 10 * DAY

    assert before == pytest.approx(wall() - LONGEST)
    assert before < offered
    assert await wait_and_look(ages) == pytest.approx(wall() - LONGEST), (
        "nor is it if it is put back"
    )


@pytest.mark.looptime
async def test_a_clock_that_was_corrected_is_believed_when_all_from_before_is_old() -> None:
    wall = Wall()
    ages = Ages(wall, LONGEST)
    ages.before()
    wall.off += 10 * DAY
    await wait_and_look(ages)
    offered = wall()

    await asyncio.sleep(LONGEST - 2 * LOOK_SECONDS)
    early = await wait_and_look(ages)
    late = await wait_and_look(ages)

    assert early < offered - 10 * DAY + LOOK_SECONDS
    assert late == pytest.approx(wall() - LONGEST)
    assert late <= offered


@pytest.mark.looptime
async def test_a_second_step_begins_the_wait_anew() -> None:
    wall = Wall()
    ages = Ages(wall, LONGEST)
    ages.before()
    wall.off += 10 * DAY
    await wait_and_look(ages)
    await asyncio.sleep(2 * DAY)
    offered = wall()
    wall.off += 10 * DAY
    await wait_and_look(ages)

    await asyncio.sleep(2 * DAY)

    assert await wait_and_look(ages) <= offered, "it is not as old as the clocks say"


@pytest.mark.looptime
async def test_a_clock_that_is_put_back_is_believed_at_once() -> None:
    wall = Wall()
    ages = Ages(wall, LONGEST)
    ages.before()

    wall.off -= DAY

    assert await wait_and_look(ages) == pytest.approx(wall() - LONGEST)


@pytest.mark.looptime
async def test_a_clock_that_drifts_is_followed() -> None:
    wall = Wall()
    ages = Ages(wall, LONGEST)
    ages.before()

    for _ in range(10):
        wall.off += 5.0
        assert await wait_and_look(ages) == pytest.approx(wall() - LONGEST)
