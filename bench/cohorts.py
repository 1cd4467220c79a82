"""Building cohorts and looking members up: members per second, memory, microseconds.

Bodies of generated ids (16 to 36 characters) as upstream would send them, gzipped. The building
process and its parent share one core. Everything lies in the system's folder for temporary files
(TMPDIR), which should be on a disk. Usage: cohorts.py [--many] [members ...]
"""

import contextlib
import gc
import os
import random
import re
import statistics
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import uvloop

from proxy.cohorts.builder import Builder
from proxy.cohorts.index import Index
from proxy.cohorts.jobs import Built, Job
from proxy.cohorts.names import digest

LOT = 20_000
SHORTEST, LONGEST = 16, 36
SAMPLES = 200_000
MANY, FEW = 1_000, 10_000
CORE = max(os.sched_getaffinity(0))


def lots(members: int) -> Iterator[list[bytes]]:
    """Yield distinct ids, some at a time."""
    for start in range(0, members, LOT):
        count = min(LOT, members - start)
        text = os.urandom(count * LONGEST // 2).hex().encode()
        spread = LONGEST - SHORTEST + 1
        starts = enumerate(range(0, LONGEST * count, LONGEST))
        yield [text[at : at + SHORTEST + n % spread] for n, at in starts]


def write_body(path: Path, cohort_id: str, members: int) -> list[str]:
    """Write a gzipped body; return some of its members."""
    squeezer = zlib.compressobj(1, zlib.DEFLATED, 31)
    start = f'{{"cohortId":"{cohort_id}","groupType":"User","lastModified":1700000000000,'
    samples: list[str] = []
    each = max(1, members // SAMPLES)
    with path.open("wb") as file:
        file.write(squeezer.compress(f'{start}"size":{members},"memberIds":["'.encode()))
        between = b""
        for ids in lots(members):
            file.write(squeezer.compress(between + b'","'.join(ids)))
            samples.extend(name.decode() for name in ids[::each])
            between = b'","'
        file.write(squeezer.compress(b'"]}') + squeezer.flush())
    return samples


def memory_of(pid: str, field: str) -> float:
    """Return a field of /proc/<pid>/status in MiB."""
    found = re.search(
        rf"^{field}:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE
    )
    assert found, field
    return int(found[1]) / 1024


def child_peak() -> float:
    """Return the most memory that the building process ever had, in MiB."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return max(memory_of(pid, "VmHWM") for pid in children)


@contextlib.contextmanager
def one_core() -> Iterator[None]:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {CORE})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def times_of(index: Index, names: list[str], *, held: bool) -> str:
    """Look names up in random order, hashing included; return median and 99th percentile."""
    random.shuffle(names)
    for name in names:
        assert index.holds(digest(name)) == held
    random.shuffle(names)
    now, took = time.perf_counter_ns, []
    for name in names:
        began = now()
        index.holds(digest(name))
        took.append(now() - began)
    cuts = statistics.quantiles(took, n=100)
    return f"{cuts[49] / 1000:.2f} us, p99 {cuts[98] / 1000:.2f} us"


async def build(builder: Builder, job: Job) -> tuple[Built, float]:
    began = time.monotonic()
    built = await builder.build(job, lambda _: None)
    return built, time.monotonic() - began


async def one(members: int) -> None:
    """Build one cohort, and look its members up."""
    with tempfile.TemporaryDirectory() as folder:
        body = Path(folder, "body")
        samples = write_body(body, "one", members)
        job = Job(body=str(body), gzip=True, folder=folder, cohort_id="one")
        builder = Builder()
        with one_core():
            built, seconds = await build(builder, job)
        peak = child_peak()
        await builder.close()
        assert built.size == members, built.size
        gc.collect()
        before = memory_of("self", "RssAnon")
        index = Index.open(Path(folder, built.index.name))
        strangers = [name.decode() for ids in lots(len(samples)) for name in ids]
        own = len(samples) + len(strangers)
        print(f"{members:,} members, body {built.packed.size / 1e6:.0f} MB packed")
        print(f"  build     {members / seconds / 1e6:.2f} M members/s on one core, {seconds:.1f} s")
        print(f"  memory    building process at most {peak:.0f} MiB")
        print(f"  index     {built.index.size / 1e6:.0f} MB on disk")
        print(f"  member    {times_of(index, samples, held=True)}")
        print(f"  stranger  {times_of(index, strangers, held=False)}")
        grown = memory_of("self", "RssAnon") - before
        mapped = memory_of("self", "RssFile")
        print(f"  looking   {grown:.0f} MiB private ({own:,} names included), {mapped:.0f} mapped")
        began = time.perf_counter()
        index.close()
        print(f"  unmapping {(time.perf_counter() - began) * 1000:.1f} ms", flush=True)


async def many() -> None:
    """Build a thousand small cohorts, one after the other, and keep them all open."""
    with tempfile.TemporaryDirectory() as folder:
        bodies = [Path(folder, f"body-{n}") for n in range(MANY)]
        for n, body in enumerate(bodies):
            write_body(body, f"c{n}", FEW)
        builder = Builder()
        names: list[str] = []
        with one_core():
            began = time.monotonic()
            for n, body in enumerate(bodies):
                job = Job(body=str(body), gzip=True, folder=folder, cohort_id=f"c{n}")
                names.append((await build(builder, job))[0].index.name)
            seconds = time.monotonic() - began
        peak = child_peak()
        await builder.close()
        gc.collect()
        before = memory_of("self", "RssAnon")
        began = time.monotonic()
        indices = [Index.open(Path(folder, name)) for name in names]
        opened = time.monotonic() - began
        stranger = digest("nobody")
        assert not any(index.holds(stranger) for index in indices)
        began = time.monotonic()
        assert not any(index.holds(stranger) for index in indices)
        took = time.monotonic() - began
        print(f"{MANY:,} cohorts of {FEW:,}")
        print(
            f"  build     {seconds / MANY * 1000:.1f} ms each, {MANY * FEW / seconds / 1e6:.2f} M/s"
        )
        print(f"  memory    building process at most {peak:.0f} MiB")
        print(f"  opening   {opened / MANY * 1e6:.0f} us each")
        print(f"  held      {memory_of('self', 'RssAnon') - before:.1f} MiB private for all")
        print(f"  look-up   {took / MANY * 1e6:.2f} us in each of all", flush=True)


async def main() -> int:
    words = sys.argv[1:]
    sizes = [int(word.replace("_", "")) for word in words if word != "--many"]
    for members in sizes or ([] if "--many" in words else [1_000_000]):
        await one(members)
    if "--many" in words:
        await many()
    return 0


if __name__ == "__main__":
    sys.exit(uvloop.run(main()))
