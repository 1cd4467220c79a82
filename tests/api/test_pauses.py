import asyncio
from itertools import pairwise

import pytest

from proxy.api.pauses import Pause, Turnstile


@pytest.mark.looptime
async def test_a_pause_ends_by_itself_and_lasts_no_longer_for_being_begun_again() -> None:
    loop = asyncio.get_running_loop()
    pause, ended = Pause(loop), []
    began = loop.time()
    pause.begin(1.0, lambda: ended.append(loop.time() - began))
    await asyncio.sleep(0.9)
    pause.begin(1.0, lambda: ended.append(0))
    waiting = [asyncio.create_task(pause.over()) for _ in range(3)]
    waiting.pop().cancel()
    await asyncio.gather(*waiting)

    assert ended == [1.0]
    assert not pause.is_on
    await pause.over()
    assert loop.time() - began == 1.0


@pytest.mark.looptime
async def test_a_pause_that_is_cut_short_tells_nobody_but_those_who_wait() -> None:
    pause, ended = Pause(asyncio.get_running_loop()), []
    pause.cut_short()
    pause.begin(1.0, lambda: ended.append(1))
    waiting = asyncio.create_task(pause.over())
    await asyncio.sleep(0)
    pause.cut_short()
    await waiting
    await asyncio.sleep(2)

    assert ended == []
    assert not pause.is_on


async def test_a_turnstile_keeps_the_order_and_lets_others_have_their_turn() -> None:
    turnstile, passed = Turnstile(at_once=3), []

    async def come(number: int) -> None:
        await turnstile.turn()
        passed.append(number)

    crowd = [asyncio.create_task(come(number)) for number in range(10)]
    seen = [len(passed)]
    while len(passed) < 10:
        await asyncio.sleep(0)
        seen.append(len(passed))

    assert passed == list(range(10))
    assert max(after - before for before, after in pairwise(seen)) <= 3
    await asyncio.gather(*crowd)
    await come(10)
    assert passed[-1] == 10


async def test_who_gives_up_waiting_holds_nobody_up() -> None:
    turnstile = Turnstile(at_once=1)
    crowd = [asyncio.create_task(turnstile.turn()) for _ in range(5)]
    await asyncio.sleep(0)
    for one in crowd[1:4]:
        one.cancel()

    await asyncio.gather(crowd[0], crowd[4])
    await turnstile.turn()
