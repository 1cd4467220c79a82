"""A disk that does not fail but hangs: nobody waits for it, nothing is lost, nothing told twice."""

import asyncio
import random
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy import tasks
from proxy.events.disk import LONGEST_PAUSE
from proxy.events.event import Event
from proxy.events.queue import Queue
from proxy.events.spool import Spool
from proxy.events.worker import HANGS, OneThread
from proxy.upstream.analytics import Limits
from tests.events.builders import NOW, event, numbers, spool_in
from tests.events.hanging import Moody
from tests.events.rig import rig
from tests.events.rig import running as running_rig

PATIENCE = 0.2  # virtual time does not run ahead of a disk that hangs
WIDE = Limits(events=1000, size=1_000_000)


async def opened(folder: Path, moody: Moody, **bounds: Any) -> tuple[Spool, Queue]:
    spool = spool_in(folder, wall=lambda: NOW, executor=moody, patience=PATIENCE, **bounds)
    await spool.open()
    return spool, spool.queue("p", lambda *_: None)


def offer(spool: Spool, queue: Queue, *some: int) -> None:
    for number in some:
        spool.offer(queue, Event(0, event(number), NOW, number))


async def take(spool: Spool, queue: Queue) -> list[Event]:
    return [*await spool.take(queue, queue.live, WIDE)]


async def left_in(folder: Path) -> list[int]:
    """What the next process finds."""
    spool = spool_in(folder, wall=lambda: NOW)
    await spool.open()
    queue = spool.queue("p")
    found = await spool.take(queue, queue.backlog, WIDE)
    assert queue.count == len(found)
    await spool.close()
    return sorted(numbers([one.body for one in found]))


async def wait_and(seconds: float, call: Callable[[], Awaitable[None]]) -> None:
    """Wait, then call."""
    await asyncio.sleep(seconds)
    await call()


def now() -> float:
    return asyncio.get_running_loop().time()


@pytest.mark.looptime
async def test_events_go_on_from_memory_and_somebody_is_told(
    tmp_path: Path, log_lines: list[dict[str, Any]]
) -> None:
    moody = Moody()
    spool, queue = await opened(tmp_path, moody)
    moody.hangs = True
    offer(spool, queue, 1, 2)

    await spool.commit()

    assert now() == pytest.approx(PATIENCE, abs=0.1)
    assert spool.status()["why"] == HANGS
    assert log_lines[-1]["event"] == "events are kept in memory only"
    assert (
        spool._metrics.registry.get_sample_value(
            "amplitude_proxy_spool_failures_total", {"reason": "hangs"}
        )
        == 1
    )
    assert numbers([one.body for one in await take(spool, queue)]) == [1, 2]
    await spool.commit(at_once=True)
    assert now() == pytest.approx(PATIENCE, abs=0.1), "it is not asked again"
    assert moody.work == 1


@pytest.mark.looptime
async def test_a_change_that_is_late_is_a_change(tmp_path: Path) -> None:
    moody = Moody()
    spool, queue = await opened(tmp_path, moody)
    moody.hangs = True
    offer(spool, queue, 1, 2, 3, 4)
    await spool.commit()
    first, second, *others = await take(spool, queue)
    spool.settle(queue, [first])
    queue.release(one.number for one in others)

    await moody.release()
    assert queue.in_memory() == 0, "three are on disk, one is to go"
    offer(spool, queue, 5)
    await asyncio.sleep(LONGEST_PAUSE)
    await spool.commit()
    spool.settle(queue, [second])
    await spool.commit()

    assert spool.is_on_disk()
    assert queue.count == 3
    await spool.close()
    assert await left_in(tmp_path) == [3, 4, 5]


@pytest.mark.looptime
async def test_a_disk_that_hangs_at_the_start_keeps_nobody_from_starting(tmp_path: Path) -> None:
    moody = Moody()
    spool, queue = await opened(tmp_path, moody)
    offer(spool, queue, 1)
    await spool.close()

    moody.hangs = True
    spool, queue = await opened(tmp_path, moody)
    offer(spool, queue, 2)
    assert spool.status()["why"] == HANGS
    assert numbers([one.body for one in await take(spool, queue)]) == [2]

    await moody.release()
    await asyncio.sleep(LONGEST_PAUSE)
    await spool.commit()
    assert spool.is_on_disk()
    assert queue.count == 2
    assert numbers([one.body for one in await spool.take(queue, queue.backlog, WIDE)]) == [1]
    await spool.close()


@pytest.mark.looptime
async def test_what_cannot_be_read_does_not_hold_up_what_is_in_memory(tmp_path: Path) -> None:
    moody = Moody()
    spool, queue = await opened(tmp_path, moody, max_kept=0)
    offer(spool, queue, 1)
    await spool.commit()
    offer(spool, queue, 2)
    moody.hangs = True

    assert numbers([one.body for one in await take(spool, queue)]) == [2]
    assert now() <= PATIENCE + 0.1

    await moody.release()
    await asyncio.sleep(LONGEST_PAUSE)
    assert numbers([one.body for one in await take(spool, queue)]) == [1]
    await spool.close()


@pytest.mark.looptime
async def test_whoever_gave_up_a_read_does_not_make_the_disk_hang(tmp_path: Path) -> None:
    moody = Moody()
    spool, queue = await opened(tmp_path, moody, max_kept=0)
    offer(spool, queue, 1)
    await spool.commit()
    moody.hangs = True
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await take(spool, queue)
    well = tasks.start("well again", wait_and(0.1, moody.release))

    offer(spool, queue, 2)
    await spool.commit()
    await well

    assert spool.is_on_disk()
    assert queue.in_memory() == 0
    await spool.close()


@pytest.mark.looptime
async def test_a_commit_that_was_never_begun_is_not_taken_for_the_read_that_hung(
    tmp_path: Path,
) -> None:
    moody = Moody()
    spool, queue = await opened(tmp_path, moody, max_kept=0)
    offer(spool, queue, 1)
    await spool.commit()
    moody.hangs = True
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await take(spool, queue)
    offer(spool, queue, 2)
    await spool.commit()
    assert spool.status()["why"] == HANGS
    wrong: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: wrong.append(context))

    await moody.release()

    assert wrong == []
    assert queue.in_memory() == 1
    await asyncio.sleep(LONGEST_PAUSE)
    await spool.commit()
    assert queue.in_memory() == 0
    await spool.close()
    assert await left_in(tmp_path) == [1, 2]


@pytest.mark.looptime
async def test_beyond_the_end_that_was_set_nobody_waits_and_nothing_is_begun(
    tmp_path: Path,
) -> None:
    moody = Moody()
    spool, queue = await opened(tmp_path, moody)
    began = now()
    moody.hangs = True
    offer(spool, queue, 1)
    spool.end_by(began + 0.1)

    await spool.commit()
    await moody.release()
    await spool.commit(at_once=True)

    assert now() == began + 0.1
    assert spool.status()["why"] == HANGS
    spool.end_by(now() + 1)
    await spool.commit(at_once=True)
    assert spool.is_on_disk()
    await spool.close()


@pytest.mark.looptime
async def test_a_stop_is_bounded(tmp_path: Path) -> None:
    moody = Moody()
    spool, queue = await opened(tmp_path, moody)
    offer(spool, queue, 1)
    moody.hangs = True

    await spool.close()

    assert now() <= PATIENCE + 0.1


@pytest.mark.looptime
async def test_a_disk_that_hangs_while_it_is_closed_is_left_alone(
    tmp_path: Path, log_lines: list[dict[str, Any]]
) -> None:
    moody = Moody()
    spool, queue = await opened(tmp_path, moody)
    offer(spool, queue, 1)
    await spool.commit()
    moody.hangs = True

    await spool.close()

    assert now() <= PATIENCE + 0.1
    assert log_lines[-1]["event"] == "the spool cannot be closed"
    await moody.release()
    assert await left_in(tmp_path) == [1]


@pytest.mark.looptime
async def test_whoever_waits_for_a_commit_is_told_that_it_is_not_safe(tmp_path: Path) -> None:
    moody = Moody()
    spool, queue = await opened(tmp_path, moody)
    moody.hangs = True
    offer(spool, queue, 1)
    waiting = spool.committed()
    assert waiting is not None
    await spool.commit()

    assert await waiting is False
    await moody.release()
    await spool.close()


@pytest.mark.looptime
async def test_a_stop_in_a_hurry_does_not_wait_for_a_commit_that_is_under_way(
    tmp_path: Path,
) -> None:
    moody = Moody()
    spool, queue = await opened(tmp_path, moody)
    moody.hangs = True
    offer(spool, queue, 1)

    await spool.commit(within=0.1)

    assert now() == pytest.approx(0.1, abs=0.05)
    await moody.release()
    await spool.close()
    assert await left_in(tmp_path) == [1]


# A step: offer so many, commit, take and settle some of it, hang, be well again.
steps = st.lists(
    st.one_of(
        st.tuples(st.just("offer"), st.integers(1, 4)),
        st.tuples(st.just("send"), st.integers(0, 4)),
        st.sampled_from([("commit", 0), ("hang", 0), ("release", 0), ("set back", 0)]),
    ),
    max_size=25,
)


@given(steps)
@settings(max_examples=60, deadline=None)
def test_each_event_is_settled_or_on_disk_whatever_hangs(
    tmp_path_factory: pytest.TempPathFactory, chosen: list[tuple[str, int]]
) -> None:
    folder = tmp_path_factory.mktemp("spool")
    offered, sent = 0, list[int]()

    async def live() -> None:
        nonlocal offered
        moody = Moody()
        spool = spool_in(folder, wall=lambda: NOW, executor=moody, patience=0.001)
        await spool.open()
        queue = spool.queue("p", lambda *_: None)
        for verb, count in chosen:
            if verb == "offer":
                offer(spool, queue, *range(offered, offered + count))
                offered += count
            elif verb == "send":
                lane = queue.backlog if queue.backlog.count else queue.live
                batch = await spool.take(queue, lane, WIDE)
                spool.settle(queue, batch[:count])
                queue.release([one.number for one in batch[count:]])
                sent.extend(numbers([one.body for one in batch[:count]]))
            elif verb == "commit":
                await spool.commit(at_once=True)
            elif verb == "set back":
                queue.set_back(0, WIDE)
            elif verb == "hang":
                moody.hangs = True
            else:
                await moody.release()
            assert queue.count == offered - len(sent)
            assert queue.live.count + queue.backlog.count == queue.count
        await moody.release()
        await spool.close()

    with asyncio.Runner() as runner:
        runner.run(live())
        left = runner.run(left_in(folder))

    assert len(sent) == len(set(sent)), "nothing is told twice"
    assert sorted([*sent, *left]) == [*range(offered)]


@pytest.mark.looptime
async def test_senders_go_on_while_the_disk_hangs_now_and_then(tmp_path: Path) -> None:
    moody = Moody()
    one = rig(folder=tmp_path, executor=moody, patience=0.02, threshold=10)
    chance = random.Random(1)

    async with running_rig(one):
        for _ in range(60):
            if moody.hangs and chance.random() < 0.3:
                await moody.release()
            elif chance.random() < 0.2:
                moody.hangs = True
            one.offer(5)
            await asyncio.sleep(0.03)
        await moody.release()
        await asyncio.sleep(120)

    assert sorted(one.upstream.accepted) == [*range(300)]
    assert len(one.sender) == 0
    await one.spool.close()


HANGING = """
import threading
from proxy.events.worker import OneThread
thread = OneThread("spool")
thread.submit(threading.Event().wait)
print("done", flush=True)
"""


def test_a_thread_that_hangs_does_not_keep_the_process_from_ending() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", HANGING], timeout=20, capture_output=True, check=False
    )

    assert (ended.returncode, ended.stdout) == (0, b"done\n")


def test_a_thread_does_its_jobs_in_order_and_ends() -> None:
    thread = OneThread("spool")

    jobs = [thread.submit(pow, 2, 3), thread.submit(int, "no number"), thread.submit(len, "ab")]
    thread.shutdown()

    assert [jobs[0].result(), jobs[2].result()] == [8, 2]
    assert isinstance(jobs[1].exception(), ValueError)
