"""Sender and spool together: outages, restarts and backlogs, in virtual time."""

import asyncio
import os
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from proxy import tasks
from proxy.events.destinations import Pace
from proxy.events.disk import PATIENCE_SECONDS
from proxy.events.event import EXPOSURE
from proxy.events.spool_folder import NAME
from proxy.events.spool_statements import PAGE_BYTES
from proxy.upstream.analytics import SHORT_IDS, Limits, Receipt
from tests.events.builders import NOW, numbers, receipt
from tests.events.hanging import Moody
from tests.events.rig import HOUR, Rig, rig, running

SMALL = Limits(events=100, size=1_000_000)


async def left_by_an_outage(folder: Path, count: int) -> None:
    """Leave events on disk, as a process does that was killed in an outage."""
    one = rig(None, folder=folder)
    one.offer(count)
    await one.spool.close()


def official(one: Rig, name: str) -> float | None:
    return one.metrics.registry.get_sample_value(f"amplitude_proxy_{name}_total")


@pytest.mark.looptime
async def test_what_an_earlier_process_left_is_sent_at_once_and_deleted(tmp_path: Path) -> None:
    await left_by_an_outage(tmp_path, 5)
    one = rig(folder=tmp_path)

    async with running(one):
        await asyncio.sleep(1)
    await one.spool.close()

    assert one.upstream.diary == [(0.0, [0, 1, 2, 3, 4])]
    again = rig(folder=tmp_path)
    await again.spool.open()
    assert len(again.sender) == 0
    await again.spool.close()


@pytest.mark.looptime
async def test_a_backlog_drains_at_a_bounded_rate_and_live_events_do_not_wait_for_it(
    tmp_path: Path,
) -> None:
    await left_by_an_outage(tmp_path, 2000)
    one = rig(folder=tmp_path, limits=SMALL, threshold=1, seconds=0.2)
    one.made = 2000

    async with running(one):
        for _ in range(5):
            await asyncio.sleep(1)
            one.offer(3)
        await asyncio.sleep(10)
    await one.spool.close()

    old = [at for at, sent in one.upstream.diary if sent[0] < 2000]
    live = [(at, sent) for at, sent in one.upstream.diary if sent[0] >= 2000]
    assert [at for at, _ in live] == [1, 2, 3, 4, 5], "at once, with the backlog on its way"
    assert len(old) == 20
    assert all(after - before >= 0.25 for before, after in pairwise(old))
    assert sorted(one.upstream.accepted) == list(range(2015))
    assert [n for n in one.upstream.accepted if n < 2000] == list(range(2000)), "in order"


@pytest.mark.looptime
async def test_after_an_outage_what_comes_in_goes_before_what_piled_up(tmp_path: Path) -> None:
    one = rig(None, folder=tmp_path, limits=SMALL, threshold=10)

    async with running(one):
        for _ in range(20):
            one.offer(100)
            await asyncio.sleep(60)
        one.upstream.script[:] = [receipt(200)]
        await asyncio.sleep(60)
        piled_up = one.made
        one.upstream.diary.clear()
        one.offer(10)
        await asyncio.sleep(60)
    await one.spool.close()

    assert one.upstream.batches[0] == list(range(piled_up, piled_up + 10))
    assert sorted(one.upstream.accepted) == list(range(one.made))
    assert len(set(one.upstream.accepted)) == one.made
    assert one.dropped == {}


@pytest.mark.looptime
async def test_in_trouble_one_batch_asks_for_all(tmp_path: Path) -> None:
    await left_by_an_outage(tmp_path, 1000)
    one = rig(None, folder=tmp_path, limits=SMALL, threshold=1, seconds=5.0)
    one.made = 1000

    async with running(one):
        one.offer(50)
        await asyncio.sleep(HOUR)
    await one.spool.close()

    # The first two were on their way when nobody knew of the trouble.
    assert all(after - before >= 5 for before, after in pairwise(one.upstream.times[1:]))


@pytest.mark.looptime
async def test_the_sender_holds_no_more_than_two_batches_whatever_the_backlog(
    tmp_path: Path,
) -> None:
    await left_by_an_outage(tmp_path, 3000)
    one = rig(folder=tmp_path, limits=SMALL, threshold=1, seconds=0.5)
    held = []

    async with running(one):
        for _ in range(100):
            one.offer(1)
            await asyncio.sleep(0.1)
            held.append(len(one.spool.queue("origin").lent()))
    await one.spool.close()

    assert 0 < max(held) <= 2 * SMALL.events


@pytest.mark.looptime
async def test_a_flush_tries_once_and_leaves_the_rest_on_disk(tmp_path: Path) -> None:
    one = rig(None, folder=tmp_path)
    await one.spool.open()
    one.offer(5)
    await one.spool.commit()

    lost = await one.flush(deadline=10.0)

    assert lost == 0
    assert one.dropped == {}
    assert one.upstream.times == [0], "nobody waits for what is safe"
    assert asyncio.get_running_loop().time() == 0
    await one.spool.close()
    again = rig(folder=tmp_path)
    async with running(again):
        await asyncio.sleep(1)
    assert again.upstream.accepted == [0, 1, 2, 3, 4]
    await again.spool.close()


@pytest.mark.looptime
async def test_a_flush_sends_what_is_live_and_leaves_the_backlog(tmp_path: Path) -> None:
    await left_by_an_outage(tmp_path, 500)
    one = rig(folder=tmp_path, limits=SMALL)
    one.made = 500
    await one.spool.open()
    one.offer(150)
    await one.spool.commit()

    assert await one.flush(deadline=10.0) == 0

    assert one.upstream.accepted == list(range(500, 650))
    assert len(one.sender) == 500
    await one.spool.close()


@pytest.mark.looptime
async def test_a_flush_cannot_save_what_no_disk_took(tmp_path: Path) -> None:
    (tmp_path / "events").write_text("in the way")
    one = rig(None, folder=tmp_path / "events")
    one.offer(5)

    assert await one.flush(deadline=10.0) == 5

    assert one.dropped == {"stopped": 5}
    assert one.upstream.times == [0, 1, 3, 7]


@pytest.mark.looptime
async def test_a_crash_before_the_answer_was_taken_sends_the_same_again(tmp_path: Path) -> None:
    one = rig(receipt(200), folder=tmp_path, seconds=HOUR, threshold=5)
    async with running(one):
        one.offer(5)
        await asyncio.sleep(1)
    await one.spool.close()

    again = rig(folder=tmp_path)
    async with running(again):
        await asyncio.sleep(1)
    await again.spool.close()

    assert again.upstream.batches == one.upstream.batches == [[0, 1, 2, 3, 4]]


@pytest.mark.looptime
async def test_a_backlog_that_begins_while_halves_are_looked_for_stops_nobody(
    tmp_path: Path,
) -> None:
    disk = Moody()
    two = Limits(events=2, size=1_000_000)
    one = rig(
        receipt(400),
        receipt(200),
        folder=tmp_path,
        executor=disk,
        limits=two,
        threshold=2,
        seconds=1.0,
        max_kept=0,
    )
    async with running(one):
        one.offer(2)
        await asyncio.sleep(0.5)  # they are on disk, and on their way
        disk.hangs = True
        await asyncio.sleep(1)  # refused, and looked for on disk
        one.offer(10)
        await asyncio.sleep(PATIENCE_SECONDS)
        await disk.release()
        await asyncio.sleep(120)
        assert sorted(one.upstream.accepted) == [*range(12)]
        assert len(one.sender) == 0
    await one.spool.close()


@pytest.mark.looptime
async def test_what_is_taken_while_a_backlog_begins_is_taken_once(tmp_path: Path) -> None:
    disk = Moody()
    two = Limits(events=2, size=1_000_000)
    one = rig(folder=tmp_path, executor=disk, limits=two, threshold=100, max_kept=0)
    await one.spool.open()
    queue = one.sender._queue
    one.offer(1)
    await one.spool.commit()
    one.offer(3)
    early = list(queue.unwritten())[:1]
    queue.lend(early)
    disk.hangs = True
    taking = tasks.start("take", one.spool.take(queue, queue.live, two))
    await asyncio.sleep(1)

    one.offer(8)  # most of it is a backlog now
    one.spool.settle(queue, early)
    await disk.release()

    batches = [early, await taking]
    batches += [await one.spool.take(queue, queue.backlog, two) for _ in range(6)]
    batches += [await one.spool.take(queue, queue.live, two) for _ in range(3)]
    assert sorted(numbers([one.body for batch in batches for one in batch])) == [*range(12)]
    assert (queue.live.count, queue.backlog.count, queue.count) == (0, 0, 11)
    await one.spool.close()


@pytest.mark.looptime
async def test_events_that_come_back_when_their_disk_is_lost_are_not_waited_for(
    tmp_path: Path,
) -> None:
    one = rig(None, folder=tmp_path)
    one.offer(300, size=9000)
    await one.spool.close()
    spoil(tmp_path)

    two = Limits(events=2, size=1_000_000)
    held = receipt(429, HOUR, throttled_events=[0, 1])
    one = rig(held, receipt(200), folder=tmp_path, limits=two)
    one.made = 300
    async with running(one):
        await asyncio.sleep(600)
        status = one.sender.status()
        one.offer(1)
        await asyncio.sleep(30)
    await one.spool.close()

    sent = len(one.upstream.accepted)
    assert 1 < sent < 200
    assert one.dropped == {"damaged": 301 - sent}
    assert one.upstream.accepted[-1] == 300
    assert (status["pending"], status["next_attempt_in_seconds"]) == (0, None)


def spoil(folder: Path) -> None:
    """Leave the first events of a spool whole, and nothing else."""
    path = folder / NAME
    with path.open("r+b") as file:
        file.seek(40 * PAGE_BYTES)
        file.write(os.urandom(path.stat().st_size - 40 * PAGE_BYTES))


@pytest.mark.looptime
async def test_held_events_of_the_backlog_come_when_their_rest_is_over(tmp_path: Path) -> None:
    await left_by_an_outage(tmp_path, 3)
    one = rig(
        receipt(429, throttled_events=[0, 1]), receipt(200), folder=tmp_path, rest_seconds=15.0
    )

    async with running(one):
        await asyncio.sleep(60)
    await one.spool.close()

    assert one.upstream.batches == [[0, 1, 2], [2], [0, 1]]
    assert one.upstream.times[0] == 0
    assert one.upstream.times[2] == pytest.approx(15.0, abs=0.01)


class Picky:
    """Remembers with which options each event came."""

    def __init__(self) -> None:
        self.came: list[tuple[bytes, list[int]]] = []

    async def __call__(self, bodies: Sequence[bytes], options: bytes = SHORT_IDS) -> Receipt:
        self.came.append((options, numbers(bodies)))
        return receipt(200)


@pytest.mark.looptime
@pytest.mark.parametrize("on_disk", [False, True])
async def test_a_request_has_one_set_of_options(tmp_path: Path, on_disk: bool) -> None:
    picky: Any = Picky()
    one = Rig(picky, lambda: 1.0, folder=tmp_path if on_disk else None)

    async with running(one):
        one.offer(2)
        one.offer(1, options=b'{"min_id_length":5}')
        one.offer(2)
        await asyncio.sleep(20)
    await one.spool.close()

    assert picky.came == [(SHORT_IDS, [0, 1, 3, 4]), (b'{"min_id_length":5}', [2])]


@pytest.mark.looptime
async def test_each_kind_has_its_pace_and_its_official_names() -> None:
    one = rig(
        threshold=100,
        period_seconds=10.0,
        paces={EXPOSURE: Pace(threshold=2, period_seconds=3.0)},
    )

    async with running(one):
        one.offer(1)
        one.offer(2, kind=EXPOSURE)
        await asyncio.sleep(1)
        assert one.upstream.batches == [[0, 1, 2]], "who goes takes the others along"
        one.offer(1, kind=EXPOSURE)
        await asyncio.sleep(5)
        one.offer(1, kind="ingest")
        await asyncio.sleep(60)

    assert one.upstream.times == [0, 4, 16]
    assert (official(one, "assignment_send"), official(one, "exposure_send")) == (1, 3)
    assert one.tally.counts()["sent"] == 5


@pytest.mark.looptime
async def test_what_is_written_is_counted_as_spooled(tmp_path: Path) -> None:
    one = rig(None, folder=tmp_path)
    one.offer(7)
    await one.spool.commit()

    assert one.tally.counts()["spooled"] == 7
    assert one.sender.status()["in_memory"] == 0
    labels = {"project": "p", "outcome": "spooled"}
    assert one.metrics.registry.get_sample_value("amplitude_proxy_events_total", labels) == 7
    await one.spool.close()


@pytest.mark.looptime
async def test_what_cannot_be_read_does_not_make_the_sender_run_hot(tmp_path: Path) -> None:
    one = rig(folder=tmp_path)
    one.spool.queue("origin").found(5, 1000, NOW)  # which is not so

    async with running(one):
        await asyncio.sleep(HOUR)  # in virtual time; a hot loop would never let it pass
    await one.spool.close()

    assert one.upstream.diary == []
