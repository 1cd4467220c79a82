import asyncio
import contextlib
import gzip
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from proxy.cohorts.jobs import Job, Order, Progress, Said, Trouble
from proxy.cohorts.worker import PACE_SECONDS, paced, serve
from tests.cohorts.bodies import order, text_of

GOOD = gzip.compress(text_of(["a", "b"]))
WORKER = (sys.executable, "-m", "proxy.cohorts.worker")


def answers(*orders: Order) -> list[Said]:
    said: list[Said] = []
    serve(map(msgspec.json.encode, orders), said.append)
    return [one for one in said if one.progress is None]


def named(made: Order, number: int) -> Order:
    return Order(job=made.job, index=f"i{number}", packed=f"p{number}")


def test_orders_are_carried_out_one_after_the_other(tmp_path: Path) -> None:
    made = order(tmp_path, GOOD)
    first, second = answers(named(made, 1), named(made, 2))
    assert first.built is not None
    assert second.built is not None
    assert (first.built.index.name, second.built.packed.name) == ("i1", "p2")


def test_a_broken_body_is_answered_with_the_reason(tmp_path: Path) -> None:
    (said,) = answers(order(tmp_path, GOOD, cohort_id="other"))
    reason = "the body is not of the cohort that was asked for"
    assert said == Said(trouble=Trouble(error="broken", reason=reason))


def test_trouble_with_the_disk_is_answered_in_the_systems_words(tmp_path: Path) -> None:
    made = order(tmp_path, GOOD)
    job = Job(body=made.job.body, gzip=True, folder="/dev/null", cohort_id="c1")
    (said,) = answers(Order(job=job, index="i", packed="p"))
    assert said == Said(trouble=Trouble(error="no room", reason="Not a directory"))


def test_what_nobody_foresaw_is_told_by_kind_and_place_and_ends_the_process(
    tmp_path: Path,
) -> None:
    made = order(tmp_path, GOOD)
    job = Job(body="secret\0name", gzip=True, folder=made.job.folder, cohort_id="c1")
    said: list[Said] = []
    lines = [msgspec.json.encode(Order(job=job, index="i", packed="p"))] * 2
    with pytest.raises(SystemExit):
        serve(lines, said.append)
    (one,) = said
    assert one.trouble is not None
    assert one.trouble.error == "died"
    assert one.trouble.reason.startswith("ValueError at ")
    assert "secret" not in one.trouble.reason


def test_progress_is_told_at_a_pace() -> None:
    time = 0.0
    said: list[Said] = []
    tell = paced(said.append, lambda: time)
    for step in range(100):
        time = step * PACE_SECONDS / 10
        tell(Progress(read_bytes=step, members=step))
    assert [one.progress.members for one in said if one.progress] == list(range(0, 100, 10))


async def wait_until(condition: Callable[[], bool], seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


def gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state == "Z"


@contextlib.contextmanager
def worker(parent: int) -> Iterator[subprocess.Popen[bytes]]:
    pipe = subprocess.PIPE
    with subprocess.Popen([*WORKER, str(parent)], stdin=pipe, stdout=pipe, stderr=pipe) as process:
        try:
            yield process
        finally:
            process.kill()


def test_the_process_ends_with_its_orders(tmp_path: Path) -> None:
    with worker(os.getpid()) as process:
        out, err = process.communicate(msgspec.json.encode(order(tmp_path, GOOD)) + b"\n")
    assert process.returncode == 0
    last = msgspec.json.decode(out.splitlines()[-1], type=Said)
    assert last.built is not None
    assert err == b""


def test_the_process_ends_when_nobody_listens(tmp_path: Path) -> None:
    with worker(os.getpid()) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.close()
        process.stdin.write(msgspec.json.encode(order(tmp_path, GOOD)) + b"\n")
        process.stdin.flush()
        assert process.wait(20) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["body"]


def test_an_orphan_ends_at_once() -> None:
    with worker(os.getppid()) as process:
        assert process.wait(20) == 0


PARENT = """
import asyncio, os, sys
from proxy.cohorts.builder import Builder
from proxy.cohorts.jobs import Job
async def main():
    job = Job(body=sys.argv[1], gzip=True, folder=sys.argv[2], cohort_id="c1")
    builder = Builder()
    building = asyncio.ensure_future(builder.build(job, print))
    while builder._child is None:
        await asyncio.sleep(0.01)
    print(builder._child._process.pid, flush=True)
    await building
asyncio.run(main())
"""


@contextlib.contextmanager
def parent_of_a_busy_process(folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Start a process whose building process reads a pipe that nobody writes to, for ever."""
    os.mkfifo(folder / "body")
    command = [sys.executable, "-c", PARENT, str(folder / "body"), str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        yield parent, int(parent.stdout.readline())


@pytest.mark.skipif(sys.platform != "linux", reason="a busy process outlives its parent elsewhere")
async def test_a_busy_process_dies_with_its_parent(tmp_path: Path) -> None:
    with parent_of_a_busy_process(tmp_path) as (parent, pid):
        await wait_until(lambda: b"worker" in Path(f"/proc/{pid}/cmdline").read_bytes())
        assert not gone(pid)
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()
        await wait_until(lambda: gone(pid))
