import asyncio
import threading

import pytest

from proxy import tasks


@pytest.mark.looptime
async def test_a_dying_loop_is_reported_and_started_again_with_growing_pauses() -> None:
    now = asyncio.get_running_loop().time
    deaths: list[tuple[str, float, float]] = []
    began: list[float] = []

    async def loop_body() -> None:
        began.append(now())
        if len(began) == 2:
            return
        raise RuntimeError("boom")

    def on_death(error: BaseException | None, pause: float) -> None:
        deaths.append((type(error).__name__, pause, now()))

    guard = tasks.start("guarded", tasks.keep_alive(loop_body, on_death, longest_pause=4))
    while len(began) < 6:
        await asyncio.sleep(1)
    await tasks.stop(guard)

    assert began == [0, 1, 3, 7, 11, 15]
    assert [pause for _, pause, _ in deaths[:5]] == [1, 2, 4, 4, 4]
    assert deaths[1][0] == "NoneType"
    assert guard.get_name() == "guarded"


@pytest.mark.looptime
async def test_a_loop_that_lived_long_starts_over_with_a_short_pause() -> None:
    pauses: list[float] = []

    async def loop_body() -> None:
        await asyncio.sleep(10 if len(pauses) == 2 else 0)
        raise RuntimeError("boom")

    guard = tasks.start(
        "guarded",
        tasks.keep_alive(loop_body, lambda _error, pause: pauses.append(pause), longest_pause=8),
    )
    while len(pauses) < 4:
        await asyncio.sleep(1)
    await tasks.stop(guard)

    assert pauses[:4] == [1, 2, 1, 2]


@pytest.mark.looptime
async def test_waiting_for_an_event_ends_with_it_or_with_the_time() -> None:
    event = asyncio.Event()

    assert not await tasks.wait_for_event(event, 5)
    asyncio.get_running_loop().call_later(2, event.set)
    assert await tasks.wait_for_event(event, 5)
    assert asyncio.get_running_loop().time() == 7


def test_the_wall_clock_counts_from_1970() -> None:
    assert tasks.wall_clock() > 1_700_000_000


async def test_a_call_in_a_thread_gives_its_result_or_its_error() -> None:
    assert await tasks.in_thread(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await tasks.in_thread(divmod, 7, 0)


async def test_who_is_cancelled_waits_for_the_call_in_the_thread() -> None:
    began, go_on = threading.Event(), threading.Event()
    ended = False

    def work() -> None:
        nonlocal ended
        began.set()
        go_on.wait()
        ended = True

    async def run() -> None:
        await tasks.in_thread(work)

    task = tasks.start("work", run())
    await asyncio.to_thread(began.wait)
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert ended
