"""What is offered is safe, whatever happens to the disk, the process or the loop."""

import asyncio
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from proxy import tasks
from proxy.events.event import RECORD_BYTES, Event, Slip
from proxy.events.queue import Queue
from proxy.events.spool import Spool
from proxy.events.spool_folder import DAMAGED_NAME, NAME
from proxy.metrics import Metrics
from proxy.upstream.analytics import Limits
from tests.events.builders import NOW, AtOnce, event, numbers, spool_in

WIDE = Limits(events=100_000, size=2**30)
MEBIBYTE = 1_048_576
ROOT = Path(__file__).parent.parent.parent
Result = TypeVar("Result")


def fixed() -> float:
    return NOW


def draft(number: int, size: int = 40, at: float = NOW) -> Event:
    return Event(0, event(number, size), at, number)


class Lost:
    """What a queue told of."""

    def __init__(self) -> None:
        self.by_reason: dict[str, list[int]] = {}

    def __call__(self, reason: str, slips: Sequence[Slip]) -> None:
        self.by_reason.setdefault(reason, []).extend(slip.key for slip in slips)


async def opened(folder: Path | None, **given: Any) -> tuple[Spool, Queue, Lost]:
    lost = Lost()
    spool = spool_in(folder, **{"wall": fixed, **given})
    queue = spool.queue("p", lost)
    await spool.open()
    return spool, queue, lost


async def take(spool: Spool, queue: Queue, limits: Limits = WIDE) -> Sequence[Event]:
    """Take from the backlog, then from what is live."""
    return await spool.take(queue, queue.backlog, limits) or await spool.take(
        queue, queue.live, limits
    )


async def everything(folder: Path) -> list[int]:
    """Look into a copy of a spool, as the next process would."""
    copy = folder.with_name(f"{folder.name}-copy")
    shutil.copytree(folder, copy)
    spool, queue, _ = await opened(copy)
    found = await take(spool, queue)
    assert queue.count == len(found)
    await spool.close()
    shutil.rmtree(copy)
    return numbers([one.body for one in found])


async def test_what_was_committed_and_not_acknowledged_is_found_by_the_next_process(
    tmp_path: Path,
) -> None:
    spool, queue, _ = await opened(tmp_path)
    for number in range(5):
        spool.offer(queue, draft(number))
    await spool.commit()
    batch = await take(spool, queue)
    spool.settle(queue, batch[1:3])
    spool.offer(queue, draft(5))
    await spool.close()

    again, queue, _ = await opened(tmp_path)

    assert (queue.count, queue.size) == (4, 4 * (40 + RECORD_BYTES))
    assert queue.backlog.count == 4
    assert queue.oldest_at() == NOW
    assert numbers([one.body for one in await take(again, queue)]) == [0, 3, 4, 5]
    await again.close()


async def test_nothing_is_written_without_a_directory() -> None:
    spool, queue, _ = await opened(None)
    spool.offer(queue, draft(1))

    await spool.commit()

    assert spool.committed() is None
    assert spool.status()["place"] == "memory"
    assert spool.status()["why"] == "no data directory is configured"
    assert numbers([one.body for one in await take(spool, queue)]) == [1]
    await spool.close()


async def test_events_of_other_options_wait_for_their_turn_in_memory_and_on_disk(
    tmp_path: Path,
) -> None:
    spool, queue, _ = await opened(tmp_path)
    for number in range(6):
        options = b"{}" if number % 2 else b'{"min_id_length":3}'
        spool.offer(queue, msgspec.structs.replace(draft(number), options=options))
        if number == 3:
            await spool.commit()

    first, second = await take(spool, queue), await take(spool, queue)

    assert numbers([one.body for one in first]) == [0, 2, 4]
    assert numbers([one.body for one in second]) == [1, 3, 5]
    await spool.close()


async def test_a_commit_is_awaited_by_whoever_asks(tmp_path: Path) -> None:
    spool, queue, _ = await opened(
        tmp_path, commit_seconds=0.0, executor=ThreadPoolExecutor(1), wall=fixed
    )
    running = tasks.start("spool", spool.run())
    assert spool.committed() is None, "there is nothing to wait for"

    spool.offer(queue, draft(1))
    done = spool.committed()

    assert done is not None
    assert await done
    assert await everything(tmp_path) == [1]
    await tasks.stop(running)
    await spool.close()


async def test_what_comes_while_a_commit_begins_is_not_said_to_be_safe_too_early(
    tmp_path: Path,
) -> None:
    spool, queue, _ = await opened(tmp_path, executor=ThreadPoolExecutor(1))
    spool.offer(queue, draft(1))
    begun = tasks.start("commit", spool.commit())
    await asyncio.sleep(0)

    spool.offer(queue, draft(2))
    done = spool.committed()

    assert done is not None
    assert await done
    assert await everything(tmp_path) == [1, 2]
    await begun
    await spool.close()


async def test_many_events_are_committed_in_one_go_after_a_moment(tmp_path: Path) -> None:
    spool, queue, _ = await opened(tmp_path, commit_seconds=0.005, executor=ThreadPoolExecutor(1))
    written: list[int] = []
    queue.on_written = written.append
    running = tasks.start("spool", spool.run())

    for number in range(5000):
        spool.offer(queue, draft(number))
    done = spool.committed()
    assert done is not None
    assert await done

    assert sum(written) == 5000
    assert len([count for count in written if count]) == 3, "in chunks"
    await tasks.stop(running)
    await spool.close()


async def test_a_commit_that_was_begun_is_ended_though_nobody_waits_any_more(
    tmp_path: Path,
) -> None:
    spool, queue, _ = await opened(tmp_path, executor=ThreadPoolExecutor(1))
    spool.offer(queue, draft(1))

    begun = tasks.start("commit", spool.commit())
    await asyncio.sleep(0)
    await tasks.stop(begun)
    await spool.commit()

    assert queue.in_memory() == 0
    assert await everything(tmp_path) == [1]
    await spool.close()


async def test_the_oldest_give_way_on_disk(tmp_path: Path) -> None:
    spool, queue, lost = await opened(tmp_path, max_bytes=MEBIBYTE)
    for number in range(300):
        spool.offer(queue, draft(number, size=5000))
        if number % 10 == 0:
            await spool.commit()
    await spool.commit()

    gone = lost.by_reason["full"]
    assert gone == list(range(len(gone)))
    assert await everything(tmp_path) == list(range(len(gone), 300))
    assert queue.count == 300 - len(gone)
    assert spool.status()["used_bytes"] <= MEBIBYTE
    assert spool.has_room(queue, 0)
    assert not spool.has_room(queue, 200_000)
    await spool.close()


async def test_room_in_memory_is_a_projects_own() -> None:
    spool, queue, _ = await opened(None, max_memory=1000)
    other = spool.queue("other")
    spool.offer(other, draft(1, size=500))

    assert spool.has_room(queue, 1000)
    assert not spool.has_room(other, 1000)


async def test_what_is_too_old_goes_wherever_it_is(tmp_path: Path) -> None:
    spool, queue, _ = await opened(tmp_path)
    for number, age in enumerate([200, 100, 99]):
        spool.offer(queue, draft(number, at=NOW - age))
    stray = spool.queue("of a project that is gone")
    spool.offer(stray, draft(9, at=NOW - 200))
    await spool.close()

    metrics = Metrics()
    again = spool_in(tmp_path, metrics, wall=fixed, max_age_seconds=99.5)
    lost = Lost()
    queue = again.queue("p", lost)
    await again.open()

    assert lost.by_reason == {"too_old": [0, 1]}
    assert again.status()["pending"] == {"p": 1, "of a project that is gone": 0}
    labels = {"project": "of a project that is gone", "reason": "too_old"}
    assert metrics.registry.get_sample_value("amplitude_proxy_events_dropped_total", labels) == 1
    await again.close()


@pytest.mark.looptime
async def test_a_clock_that_is_put_forward_costs_no_event(tmp_path: Path) -> None:
    ahead = 0.0

    def wall() -> float:
        return NOW + asyncio.get_running_loop().time() + ahead

    spool, queue, lost = await opened(tmp_path, wall=wall)
    running = tasks.start("spool", spool.run())
    spool.offer(queue, draft(1, at=wall()))
    await asyncio.sleep(1)

    ahead = 10 * 86_400.0
    spool.offer(queue, draft(2, at=wall()))
    await asyncio.sleep(600)
    ahead = -86_400.0
    spool.offer(queue, draft(3, at=wall()))
    await asyncio.sleep(600)

    assert lost.by_reason == {}
    assert queue.count == 3
    await tasks.stop(running)
    await spool.close()


async def test_events_of_a_project_that_is_not_configured_stay(tmp_path: Path) -> None:
    spool, queue, _ = await opened(tmp_path)
    spool.offer(queue, draft(1))
    await spool.close()

    for label, found in (("other", 0), ("p", 1)):
        spool = spool_in(tmp_path, wall=fixed)
        await spool.open()
        assert spool.status()["pending"]["p"] == 1
        assert len(await take(spool, spool.queue(label))) == found
        await spool.close()


async def test_a_file_that_is_garbage_is_set_aside_and_alarms(
    tmp_path: Path, log_lines: list[dict[str, Any]]
) -> None:
    (tmp_path / NAME).write_bytes(b"garbage" * 5000)
    metrics = Metrics()

    spool, queue, _ = await opened(tmp_path, metrics=metrics)
    spool.offer(queue, draft(1))
    await spool.commit()

    assert (tmp_path / DAMAGED_NAME).read_bytes().startswith(b"garbage")
    assert await everything(tmp_path) == [1]
    assert spool.status()["place"] == "disk"
    failed = metrics.registry.get_sample_value(
        "amplitude_proxy_spool_failures_total", {"reason": "damaged"}
    )
    assert failed == 1
    assert any(line["log_level"] == "error" for line in log_lines)
    await spool.close()


async def test_a_file_that_cannot_be_set_aside_leaves_events_in_memory(
    tmp_path: Path, log_lines: list[dict[str, Any]]
) -> None:
    (tmp_path / NAME).write_bytes(b"garbage" * 5000)
    (tmp_path / DAMAGED_NAME).mkdir()

    spool, queue, _ = await opened(tmp_path)
    spool.offer(queue, draft(1))
    await spool.commit()

    assert spool.status()["place"] == "memory"
    assert queue.in_memory() == 1
    assert any(line["event"] == "the damaged spool cannot be set aside" for line in log_lines)
    await spool.close()


@pytest.mark.looptime
async def test_a_disk_that_spoils_each_new_file_is_not_asked_without_end(tmp_path: Path) -> None:
    class Spoiling(AtOnce):
        asked = 0

        def submit(self, job: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
            self.asked += 1
            (tmp_path / NAME).write_bytes(b"garbage" * 5000)
            return super().submit(job, *args, **kwargs)

    spoiling = Spoiling()
    spool, queue, _ = await opened(tmp_path, executor=spoiling, commit_seconds=0.0)
    running = tasks.start("spool", spool.run())
    spool.offer(queue, draft(1))

    await asyncio.sleep(300)

    assert spoiling.asked < 100
    assert queue.in_memory() == 1
    await tasks.stop(running)
    await spool.close()


async def test_what_waits_for_nobody_is_seen_all_the_same(
    tmp_path: Path, log_lines: list[dict[str, Any]]
) -> None:
    spool, queue, _ = await opened(tmp_path)
    for number in range(3):
        spool.offer(queue, draft(number))
    await spool.close()
    metrics = Metrics()
    again = spool_in(tmp_path, metrics, wall=fixed)
    await again.open()
    again.queue("other", Lost())

    again.measure()
    again.measure()

    told = [line for line in log_lines if "not configured" in line["event"]]
    assert [(line["project"], line["events"]) for line in told] == [("p", 3)]
    pending = "amplitude_proxy_events_pending"
    assert metrics.registry.get_sample_value(pending, {"project": "p"}) == 3
    assert metrics.registry.get_sample_value(pending, {"project": "other"}) is None
    await again.close()


async def test_losses_of_strangers_are_told_once_a_minute(
    tmp_path: Path, log_lines: list[dict[str, Any]]
) -> None:
    spool, _, _ = await opened(None, max_memory=1000)
    stranger = spool.queue("of a project that is gone")
    for number in range(100):
        spool.offer(stranger, draft(number, size=500))
        spool.measure()

    told = [line for line in log_lines if line["event"] == "events lost"]
    assert [(line["project"], line["full"]) for line in told] == [(stranger.label, 1)]
    await spool.close()
    told = [line for line in log_lines if line["event"] == "events lost"]
    assert sum(line["full"] for line in told) == 99


async def test_a_file_that_goes_bad_costs_what_was_in_it_and_no_more(tmp_path: Path) -> None:
    first, queue, _ = await opened(tmp_path)
    for number in range(300):
        first.offer(queue, draft(number, size=9000))
    await first.close()
    with (tmp_path / NAME).open("r+b") as raw:
        raw.seek(10 * 16_384)
        raw.write(os.urandom(100 * 16_384))

    spool, queue, lost = await opened(tmp_path)
    spool.offer(queue, draft(1000))
    left = await take(spool, queue)

    assert numbers([one.body for one in left]) == [1000]
    assert len(lost.by_reason["damaged"]) == 300
    assert queue.count == 1
    queue.release([left[0].number])
    await spool.commit()
    assert spool.status()["place"] == "disk"
    assert await everything(tmp_path) == [1000]
    await spool.close()


@pytest.mark.looptime
async def test_where_no_directory_can_be_made_events_stay_in_memory_and_the_disk_is_tried_again(
    tmp_path: Path,
) -> None:
    (tmp_path / "data").write_text("in the way")
    folder = tmp_path / "data" / "events"
    spool, queue, lost = await opened(folder)
    spool.offer(queue, draft(1))
    done = spool.committed()
    running = tasks.start("spool", spool.run())
    assert done is not None
    assert not await done, "it is not safe, and nobody waits for ever"
    assert spool.status()["place"] == "memory"
    assert spool.status()["why"] == "Not a directory"
    [sent] = await take(spool, queue)
    spool.settle(queue, [sent])
    spool.offer(queue, draft(2))

    (tmp_path / "data").unlink()
    await asyncio.sleep(60)

    assert spool.status()["place"] == "disk"
    assert await everything(folder) == [2]
    assert lost.by_reason == {}
    await tasks.stop(running)
    await spool.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    if (
        not shutil.which("mount")
        or subprocess.run(mount, check=False, capture_output=True).returncode
    ):
        pytest.skip("needs mount, and the right to use it")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.needs("mount")
async def test_a_full_disk_costs_nothing_while_memory_has_room(small_disk: Path) -> None:
    spool, queue, lost = await opened(small_disk / "events")
    for number in range(50):
        spool.offer(queue, draft(number, size=5000))
    await spool.commit()
    filler = small_disk / "filler"
    fill(filler)

    for number in range(50, 300):
        spool.offer(queue, draft(number, size=5000))
        if number % 50 == 0:
            await spool.commit(at_once=True)
    await spool.commit(at_once=True)
    assert spool.status()["why"] == "the disk is full"
    assert queue.in_memory() > 0
    early = await take(spool, queue, Limits(events=30, size=2**30))
    assert numbers([one.body for one in early]) == list(range(30)), "what is on disk is readable"
    spool.settle(queue, early)
    filler.unlink()
    await spool.commit(at_once=True)

    assert spool.status()["place"] == "disk"
    assert lost.by_reason == {}
    assert queue.count == 270
    rest = await take(spool, queue)
    assert numbers([one.body for one in rest]) == list(range(30, 300))
    await spool.close()


@pytest.mark.needs("mount")
async def test_what_a_killed_process_left_is_sent_though_the_disk_is_full(
    small_disk: Path, tmp_path: Path
) -> None:
    killed, its_queue, _ = await opened(tmp_path / "events")
    for number in range(50):
        killed.offer(its_queue, draft(number))
    await killed.commit()
    shutil.copytree(tmp_path / "events", small_disk / "events", ignore=lambda *_: [f"{NAME}-shm"])
    fill(small_disk / "filler")

    spool, queue, lost = await opened(small_disk / "events")
    found = await take(spool, queue)
    assert numbers([one.body for one in found]) == list(range(50))
    spool.settle(queue, found)
    spool.offer(queue, draft(50, size=100_000))
    await spool.commit(at_once=True)
    assert spool.status()["why"] == "the disk is full"
    (small_disk / "filler").unlink()
    await spool.commit(at_once=True)

    assert await everything(small_disk / "events") == [50]
    assert lost.by_reason == {}
    await spool.close()
    await killed.close()


def remount(folder: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", str(folder)], check=True)


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        try:
            while file.write(b"x" * 4096):
                pass
        except OSError:
            pass


@pytest.mark.needs("mount")
async def test_a_disk_that_turns_read_only_costs_nothing(small_disk: Path) -> None:
    spool, queue, lost = await opened(small_disk / "events")
    spool.offer(queue, draft(1))
    await spool.close()
    remount(small_disk, "ro")

    spool, queue, lost = await opened(small_disk / "events")
    spool.offer(queue, draft(2))
    await spool.commit(at_once=True)
    assert spool.status()["place"] == "memory"
    remount(small_disk, "rw")
    await spool.commit(at_once=True)

    assert await everything(small_disk / "events") == [1, 2]
    assert lost.by_reason == {}
    await spool.close()


def started(program: str, *arguments: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", textwrap.dedent(program), *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def kill_after(chance: random.Random, process: subprocess.Popen[bytes]) -> list[bytes]:
    """Kill it after some lines and a random moment; return all that it said."""
    with process as victim:
        assert victim.stdout is not None
        lines = [victim.stdout.readline() for _ in range(chance.randrange(1, 60))]
        until = time.monotonic() + chance.uniform(0, 0.01)
        while time.monotonic() < until:
            pass
        victim.send_signal(signal.SIGKILL)
        return lines + victim.stdout.readlines()


HOLDER = """
    import asyncio, sys
    from pathlib import Path
    from proxy import logs
    from tests.events.builders import event, spool_in
    from proxy.events.event import Event

    logs.configure(level="error", style="json")

    async def main():
        spool = spool_in(Path(sys.argv[1]), wall=lambda: 1_700_000_000.0)
        await spool.open()
        queue = spool.queue("p")
        spool.offer(queue, Event(0, event(1), 1_700_000_000.0))
        await spool.commit()
        print(spool.status()["place"], flush=True)
        sys.stdin.readline()

    asyncio.run(main())
"""


async def test_a_second_process_keeps_its_own_in_memory_until_the_first_has_ended(
    tmp_path: Path,
) -> None:
    with started(HOLDER, tmp_path) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"disk\n"
        spool, queue, _ = await opened(tmp_path)
        spool.offer(queue, draft(2))
        await spool.commit(at_once=True)
        assert spool.status()["why"] == "another process has it"
        holder.kill()
    await spool.commit(at_once=True)

    assert spool.status()["place"] == "disk"
    assert await everything(tmp_path) == [1, 2]
    assert (queue.backlog.count, queue.live.count) == (1, 1)
    await spool.close()


VICTIM = """
    import asyncio, os, random, sys
    from concurrent.futures import ThreadPoolExecutor
    from pathlib import Path
    import msgspec
    from proxy import logs
    from tests.events.builders import event, numbers, spool_in
    from proxy.events.event import Event
    from proxy.upstream.analytics import Limits

    def say(word, some):
        os.write(1, b"%s %s\\n" % (word, b",".join(b"%d" % one for one in some)))

    logs.configure(level="error", style="json")

    async def main():
        folder, first = Path(sys.argv[1]), int(sys.argv[2])
        spool = spool_in(folder, executor=ThreadPoolExecutor(1), wall=lambda: 1_700_000_000.0)
        queue = spool.queue("p")
        await spool.open()
        settled = []
        while True:
            some = range(first, first + random.randrange(1, 40))
            first = some.stop
            for number in some:
                size = random.choice([40, 400, 9000])
                spool.offer(queue, Event(0, event(number, size), 1_700_000_000.0))
            lane = random.choice([queue.live, queue.backlog])
            batch = await spool.take(queue, lane, Limits(events=30, size=1_000_000))
            done = random.sample(list(batch), len(batch) * 3 // 4)
            kept = [one.number for one in batch if one not in done]
            say(b"offered", some)
            say(b"settling", numbers([one.body for one in done]))
            spool.settle(queue, done)
            queue.release(kept)
            await spool.commit()
            say(b"committed", some)
            say(b"settled", numbers([one.body for one in done]))

    asyncio.run(main())
"""


@pytest.mark.system
async def test_after_kill_9_at_any_moment_what_was_committed_is_there_exactly_once(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "events"
    chance = random.Random(9)
    said: dict[str, set[int]] = {
        word: set() for word in ("offered", "settling", "committed", "settled")
    }
    for _ in range(12):
        first = max(said["offered"], default=-1) + 1
        lines = kill_after(chance, started(VICTIM, folder, first))
        for line in lines:
            word, _, some = line.decode().strip().partition(" ")
            said[word] |= set(map(int, filter(None, some.split(","))))

        there = await everything(folder)

        assert len(there) == len(set(there)), "exactly once"
        assert set(there) >= said["committed"] - said["settling"], "nothing is missing"
        assert not set(there) & said["settled"], "nothing comes back"
        assert set(there) <= said["offered"]
    assert len(said["committed"]) > 300
    assert len(said["settled"]) > 300


class Life(RuleBasedStateMachine):
    """A spool on disk, beside the plainest model of it; now and then the process dies."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.base = Path(tempfile.mkdtemp(prefix="spool-"))
        self.lives = 0
        self.made = 0
        self.pending: set[int] = set()  # offered and not settled
        self.safe: set[int] = set()  # what a crash now would leave
        self.batches: list[Sequence[Event]] = []
        self.start()

    def do(self, work: Any) -> Any:
        return self.loop.run_until_complete(work)

    def start(self) -> None:
        self.spool, self.queue, self.lost = self.do(opened(self.base / str(self.lives)))
        self.batches = []

    def ids(self, events: Collection[Event]) -> list[int]:
        return numbers([one.body for one in events])

    @rule(count=st.integers(1, 30), size=st.sampled_from([40, 3000, 20_000]))
    def offer(self, count: int, size: int) -> None:
        for _ in range(count):
            self.made += 1
            self.spool.offer(self.queue, draft(self.made, size))
            self.pending.add(self.made)

    @rule()
    def commit(self) -> None:
        self.do(self.spool.commit())
        self.safe = set(self.pending)

    @rule(most=st.integers(0, 10))
    def set_back(self, most: int) -> None:
        self.queue.set_back(1, Limits(events=most, size=2**30))

    @precondition(lambda self: len(self.batches) < 3)
    @rule(live=st.booleans(), most=st.integers(1, 40))
    def take(self, live: bool, most: int) -> None:
        lane = self.queue.live if live else self.queue.backlog
        waiting = lane.count
        batch = self.do(self.spool.take(self.queue, lane, Limits(events=most, size=100_000)))
        taken = self.ids(batch)
        out = {number for one in self.batches for number in self.ids(one)}
        assert taken == sorted(taken), "in order"
        assert set(taken) <= self.pending - out
        assert bool(taken) == bool(waiting)
        assert len(taken) <= most
        if batch:
            self.batches.append(batch)

    @precondition(lambda self: self.batches)
    @rule(chances=st.lists(st.booleans(), min_size=40, max_size=40))
    def settle(self, chances: list[bool]) -> None:
        batch = self.batches.pop(0)
        done = [one for one, is_done in zip(batch, chances, strict=False) if is_done]
        self.spool.settle(self.queue, done)
        self.queue.release(one.number for one in batch if one not in done)
        self.pending -= set(self.ids(done))

    @rule()
    def crash(self) -> None:
        """Leave the files as they are; the next process opens a copy of them."""
        before = self.base / str(self.lives)
        self.lives += 1
        shutil.copytree(before, self.base / str(self.lives))
        self.do(self.spool.close())
        self.pending = set(self.safe)
        self.start()
        assert self.queue.backlog.count == len(self.safe)

    @invariant()
    def all_are_counted(self) -> None:
        assert self.queue.count == len(self.pending)
        lent = sum(map(len, self.batches))
        assert self.queue.live.count + self.queue.backlog.count == len(self.pending) - lent

    def teardown(self) -> None:
        for batch in self.batches:
            self.queue.release(one.number for one in batch)
        found: list[int] = []
        while batch := self.do(take(self.spool, self.queue)):
            found += self.ids(batch)
        assert sorted(found) == sorted(self.pending), "nothing is lost, nothing is there twice"
        self.do(self.spool.close())
        self.loop.close()
        shutil.rmtree(self.base)


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
