import asyncio
import contextlib
import functools
import gzip
import io
import json
import os
import resource
import signal
import socket
import stat
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import uvloop

from proxy.cohorts.builder import Builder
from proxy.cohorts.jobs import Built, Job, Progress
from proxy.errors import BodyBroken, BuilderDied, NoRoom
from tests.cohorts.bodies import fields, held, served, text_of
from tests.cohorts.test_worker import gone, wait_until

Scenario = Callable[[Path], Awaitable[None]]
NAMES = [f"user-{number}" for number in range(1000)]


def on_both_loops(scenario: Scenario) -> Callable[..., None]:
    """Make a test of a scenario, to be played on asyncio's own loop and on uvloop."""

    @pytest.mark.parametrize(
        "factory", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
    )
    def play(factory: Callable[[], asyncio.AbstractEventLoop], tmp_path: Path) -> None:
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(scenario(tmp_path))  # type: ignore[arg-type]

    play.__name__ = getattr(scenario, "__name__", "play")
    return play


def job_of(folder: Path, data: bytes = b"", cohort_id: str = "c1", name: str = "body") -> Job:
    body = folder / name
    body.write_bytes(data or gzip.compress(text_of(NAMES)))
    return Job(body=str(body), gzip=True, folder=str(folder), cohort_id=cohort_id)


def endless_job(folder: Path) -> Job:
    """Return a job that takes for ever: its body is a pipe that nobody writes to."""
    os.mkfifo(folder / "endless")
    return Job(body=str(folder / "endless"), gzip=True, folder=str(folder), cohort_id="c1")


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def files_of(pid: int) -> list[str]:
    return [str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir()]


def expendability(pid: int) -> int:
    return int(Path(f"/proc/{pid}/oom_score_adj").read_text())


def quiet(_: Progress) -> None:
    pass


def pid_of(builder: Builder) -> int:
    assert builder._child is not None
    return builder._child._process.pid


@contextlib.asynccontextmanager
async def builder_of(builder: Builder) -> AsyncIterator[Builder]:
    try:
        yield builder
    finally:
        await builder.close()


def speaking(program: str) -> Builder:
    """Return a builder whose process does as `program` says, an order from standard input."""
    return Builder(command=(sys.executable, "-S", "-c", program))


async def wait_until_busy(builder: Builder) -> int:
    await wait_until(lambda: builder._child is not None)
    pid = pid_of(builder)
    await wait_until(lambda: b"worker" in Path(f"/proc/{pid}/cmdline").read_bytes())
    return pid


@on_both_loops
async def test_a_cohort_is_built_in_another_process(tmp_path: Path) -> None:
    told: list[Progress] = []
    async with builder_of(Builder()) as builder:
        built = await builder.build(job_of(tmp_path), told.append)
        pid = pid_of(builder)
        assert pid != os.getpid()
    assert gone(pid)
    assert built.size == 1000
    assert held(tmp_path, built, [*NAMES, "nobody"]) == NAMES
    assert served(tmp_path, built) == fields(NAMES)
    assert told[0].members <= told[-1].members <= 1000
    names = set(names_in(tmp_path))
    assert names == {"body", built.index.name, built.packed.name}
    for name in names - {"body"}:
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600


@on_both_loops
async def test_jobs_take_turns_in_one_process(tmp_path: Path) -> None:
    async with builder_of(Builder()) as builder:
        pids: set[int] = set()

        async def build(number: int) -> Built:
            text = text_of(NAMES[: number * 10], cohortId=str(number))
            data = gzip.compress(text)
            job = job_of(tmp_path, data, cohort_id=str(number), name=f"body-{number}")
            return await builder.build(job, lambda _: pids.add(pid_of(builder)))

        built = await asyncio.gather(*(build(number) for number in range(10)))
        assert [one.size for one in built] == [number * 10 for number in range(10)]
        assert len(pids) == 1
        assert len({file.name for one in built for file in (one.index, one.packed)}) == 20


@on_both_loops
async def test_a_broken_body_costs_nothing_but_itself(tmp_path: Path) -> None:
    async with builder_of(Builder()) as builder:
        with pytest.raises(BodyBroken, match="gzip stream is broken"):
            await builder.build(job_of(tmp_path, b"no gzip"), quiet)
        pid = pid_of(builder)
        with pytest.raises(BodyBroken, match="cohort that was asked for"):
            await builder.build(job_of(tmp_path, cohort_id="other"), quiet)
        assert names_in(tmp_path) == ["body"]
        await builder.build(job_of(tmp_path), quiet)
        assert pid_of(builder) == pid


@on_both_loops
async def test_an_id_that_is_no_text_is_refused(tmp_path: Path) -> None:
    async with builder_of(Builder()) as builder:
        with pytest.raises(BodyBroken, match="not text"):
            await builder.build(job_of(tmp_path, cohort_id="\ud800"), quiet)


@on_both_loops
async def test_a_disk_that_takes_no_more_is_told(tmp_path: Path) -> None:
    async with builder_of(Builder()) as builder:
        job = job_of(tmp_path)
        await builder.build(job, quiet)
        before = names_in(tmp_path)
        limits = resource.prlimit(pid_of(builder), resource.RLIMIT_FSIZE)
        resource.prlimit(pid_of(builder), resource.RLIMIT_FSIZE, (1000, limits[1]))
        with pytest.raises(NoRoom, match="File too large"):
            await builder.build(job, quiet)
        assert names_in(tmp_path) == before
        resource.prlimit(pid_of(builder), resource.RLIMIT_FSIZE, limits)
        await builder.build(job, quiet)


@on_both_loops
async def test_a_folder_that_is_gone_is_no_room(tmp_path: Path) -> None:
    job = job_of(tmp_path)
    gone_job = Job(body=job.body, gzip=True, folder=str(tmp_path / "gone"), cohort_id="c1")
    async with builder_of(Builder()) as builder:
        with pytest.raises(NoRoom, match="No such file"):
            await builder.build(gone_job, quiet)


@on_both_loops
async def test_a_process_that_is_killed_fails_its_job_alone(tmp_path: Path) -> None:
    async with builder_of(Builder()) as builder:
        building = asyncio.ensure_future(builder.build(endless_job(tmp_path), quiet))
        waiting = asyncio.ensure_future(builder.build(job_of(tmp_path), quiet))
        pid = await wait_until_busy(builder)
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(BuilderDied, match="code -9"):
            await building
        assert (await waiting).size == 1000
        assert pid_of(builder) != pid


@on_both_loops
async def test_a_process_that_died_while_idle_is_replaced(tmp_path: Path) -> None:
    async with builder_of(Builder()) as builder:
        await builder.build(job_of(tmp_path), quiet)
        assert builder._child is not None
        child = builder._child
        os.kill(pid_of(builder), signal.SIGKILL)
        await wait_until(lambda: not child.alive)
        assert (await builder.build(job_of(tmp_path), quiet)).size == 1000


LITTERING = """
import json, pathlib, sys, time
order = json.loads(sys.stdin.readline())
for name in (order["index"], order["packed"]):
    pathlib.Path(order["job"]["folder"], name).write_text("half")
print(json.dumps({"progress": {"read_bytes": 1, "members": 1}}), flush=True)
time.sleep(600)
"""


@on_both_loops
async def test_a_cancelled_job_ends_the_process_and_leaves_nothing(tmp_path: Path) -> None:
    async with builder_of(speaking(LITTERING)) as builder:
        job = job_of(tmp_path)
        told: list[Progress] = []
        building = asyncio.ensure_future(builder.build(job, told.append))
        await wait_until(lambda: bool(told))
        pid = pid_of(builder)
        assert len(names_in(tmp_path)) == 3
        building.cancel()
        with pytest.raises(asyncio.CancelledError):
            await building
        assert gone(pid)
        assert names_in(tmp_path) == ["body"]


@on_both_loops
async def test_a_listener_that_fails_fails_the_job(tmp_path: Path) -> None:
    def fail(_: Progress) -> None:
        raise LookupError("nobody listens")

    async with builder_of(speaking(LITTERING)) as builder:
        with pytest.raises(LookupError):
            await builder.build(job_of(tmp_path), fail)
        assert names_in(tmp_path) == ["body"]


@on_both_loops
async def test_a_process_that_falls_silent_is_given_up(tmp_path: Path) -> None:
    async with builder_of(Builder(silence_seconds=0.3)) as builder:
        with pytest.raises(BuilderDied, match="silent for"):
            await builder.build(endless_job(tmp_path), quiet)
        assert builder._child is None


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("import sys; sys.stdin.readline(); print('hello')", "spoke nonsense"),
        ("import sys; sys.stdin.readline(); print('{', end='')", "ended with code 0$"),
        ("import sys; sys.stdin.readline(); sys.exit('one\\ntwo')", "ended with code 1: two"),
        ("import sys; sys.exit('x' * 10_000)", "ended with code 1: x{200}$"),
        ("import sys; sys.stdin.readline(); print('{}')", "spoke nonsense"),
        ("print('x' * 2_000_000); input()", "spoke nonsense"),
        (
            """print('{"trouble": {"error": "died", "reason": "MemoryError at x:1"}}')""",
            "MemoryError at x:1",
        ),
    ],
)
async def test_a_process_that_ends_or_errs_is_told_of(
    tmp_path: Path, program: str, reason: str
) -> None:
    async with builder_of(speaking(program)) as builder:
        with pytest.raises(BuilderDied, match=reason):
            await builder.build(job_of(tmp_path), quiet)


async def test_a_process_that_says_no_more_and_will_not_end_is_killed(tmp_path: Path) -> None:
    deaf = "import os, time; os.close(1); time.sleep(600)"
    async with builder_of(speaking(deaf)) as builder:
        with pytest.raises(BuilderDied, match="code -9"):
            await builder.build(job_of(tmp_path), quiet)


@on_both_loops
async def test_a_system_that_starts_no_process_is_told(tmp_path: Path) -> None:
    builder = Builder(command=("/no/such/program",))
    with pytest.raises(BuilderDied, match="cannot start the building process: No such file"):
        await builder.build(job_of(tmp_path), quiet)
    await builder.close()


@on_both_loops
async def test_an_idle_builder_has_no_process(tmp_path: Path) -> None:
    async with builder_of(Builder(idle_seconds=0.05)) as builder:
        told: list[int] = []
        await builder.build(job_of(tmp_path), lambda _: told.append(pid_of(builder)))
        await wait_until(lambda: builder._child is None and not builder._farewells)
        assert gone(told[0])
        assert (await builder.build(job_of(tmp_path), quiet)).size == 1000


@on_both_loops
async def test_closing_ends_the_job_under_way_and_those_that_wait(tmp_path: Path) -> None:
    builder = Builder()
    building = asyncio.ensure_future(builder.build(endless_job(tmp_path), quiet))
    waiting = asyncio.ensure_future(builder.build(job_of(tmp_path), quiet))
    pid = await wait_until_busy(builder)
    await builder.close()
    assert gone(pid)
    for one in (building, waiting):
        with pytest.raises(BuilderDied):
            await one
    with pytest.raises(BuilderDied, match="closed"):
        await builder.build(job_of(tmp_path), quiet)
    await builder.close()


@on_both_loops
async def test_closing_ends_a_process_that_is_just_starting(tmp_path: Path) -> None:
    builder = Builder()
    building = asyncio.ensure_future(builder.build(endless_job(tmp_path), quiet))
    await asyncio.sleep(0)
    assert builder._child is None
    await builder.close()
    with pytest.raises(BuilderDied, match="closed"):
        await building
    assert builder._child is None


async def test_a_builder_that_never_built_closes() -> None:
    await Builder().close()


async def test_remarks_of_a_process_that_did_its_work_are_logged(
    tmp_path: Path, log_lines: io.StringIO
) -> None:
    built = {
        "cohort_id": "c1",
        "group_type": "User",
        "last_modified": 1,
        "size": 0,
        "index": {"name": "i", "size": 0, "sha256": ""},
        "packed": {"name": "p", "size": 0, "sha256": ""},
        "plain_bytes": 0,
    }
    program = (
        "import sys; sys.stdin.readline(); print('first', file=sys.stderr); "
        f"print('last', file=sys.stderr); print({json.dumps({'built': built})!r}, flush=True); "
        "sys.stdin.read()"
    )
    builder = speaking(program)
    await builder.build(job_of(tmp_path), quiet)
    await builder.close()
    (line,) = log_lines.getvalue().splitlines()
    assert json.loads(line)["remark"] == "last"


@on_both_loops
async def test_the_process_stands_back_and_holds_nothing_of_its_parents(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.set_inheritable(True)
        async with builder_of(Builder()) as builder:
            await builder.build(job_of(tmp_path), quiet)
            pid = pid_of(builder)
            own = f"socket:[{os.fstat(server.fileno()).st_ino}]"
            assert own not in files_of(pid)
            nice = os.getpriority(os.PRIO_PROCESS, pid) - os.getpriority(os.PRIO_PROCESS, 0)
            assert nice >= min(5, 19 - os.getpriority(os.PRIO_PROCESS, 0))
            assert expendability(pid) > expendability(os.getpid())
            # Ctrl-C at the terminal goes to every process of the session in front.
            assert os.getsid(pid) == pid
            os.kill(pid, signal.SIGINT)
            assert (await builder.build(job_of(tmp_path), quiet)).size == 1000
            assert pid_of(builder) == pid


@on_both_loops
async def test_paths_may_be_relative(tmp_path: Path) -> None:
    relative = functools.partial(os.path.relpath, start=Path.cwd())
    job = job_of(tmp_path)
    job = Job(body=relative(job.body), gzip=True, folder=relative(job.folder), cohort_id="c1")
    async with builder_of(Builder()) as builder:
        built = await builder.build(job, quiet)
        assert (tmp_path / built.index.name).exists()
