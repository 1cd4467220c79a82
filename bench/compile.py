"""Compile 1,000 flags: time, memory, the cost of one change, and how long the event loop waits.

The loop's wait is what a task that sleeps for a millisecond oversleeps while a worker thread
compiles. Exits 1 when, in the median run, one change takes 200 ms or makes the loop wait for more
than 20 ms.
"""

import asyncio
import contextlib
import ctypes
import gc
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import uvloop

from bench import workload
from proxy.evaluation import compiler
from proxy.evaluation.deployment import CompiledDeployment, compile_deployment
from proxy.sync.compiling import compile_beside

FLAGS = 1000
ROUNDS = 7
MOST_CHANGE_MILLIS = 200.0
MOST_WAIT_MILLIS = 20.0
NAP_SECONDS = 0.001

MEMORY_OF_ONE = """
import gc, sys
from bench import compile, workload
body = workload.flags_json({flags})
compile.compile_deployment(workload.flags_json(5))
gc.collect()
before = compile.resident()
deployment = compile.compile_deployment(body)
gc.collect()
print(compile.resident() - before, len(gc.get_objects()))
"""


def resident() -> int:
    """Bytes of memory that this process holds, after giving back what it can."""
    with contextlib.suppress(AttributeError):  # a C library without it
        ctypes.CDLL(None).malloc_trim(0)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


def edited(flags: list[workload.Json], number: int) -> bytes:
    """The deployment with one flag's salt and one condition changed."""
    place = number * 137 % len(flags)
    changed = workload.flag(place)
    changed["segments"][0]["conditions"] = workload.targeting(number, random.Random(number))
    changed["segments"][0]["bucket"]["salt"] = f"salt{number}"
    return msgspec.json.encode([*flags[:place], changed, *flags[place + 1 :]])


def millis(body: bytes, previous: CompiledDeployment | None) -> float:
    began = time.perf_counter()
    compile_deployment(body, previous)
    return (time.perf_counter() - began) * 1e3


async def longest_wait(body: bytes, previous: CompiledDeployment | None) -> float:
    """Milliseconds that a task oversleeps at worst while a thread compiles."""
    worst = 0.0
    compiling = asyncio.ensure_future(asyncio.to_thread(compile_beside, body, previous, print))
    while not compiling.done():
        began = time.perf_counter()
        await asyncio.sleep(NAP_SECONDS)
        worst = max(worst, time.perf_counter() - began - NAP_SECONDS)
    await compiling
    return worst * 1e3


def waits(body: bytes, previous: CompiledDeployment | None) -> list[float]:
    found = []
    for _ in range(ROUNDS):
        compiler.forget_shapes()
        found.append(uvloop.run(longest_wait(body, previous)))
    return found


def spread(name: str, found: list[float], unit: str = "ms") -> None:
    print(f"  {name:44} median {statistics.median(found):7.1f} {unit}  worst {max(found):7.1f}")


def main() -> int:
    flags = workload.flags(FLAGS)
    body = workload.flags_json(FLAGS)
    print(f"{FLAGS} flags, {len(body) / 1e6:.1f} MB of JSON")

    full = []
    for _ in range(ROUNDS):
        compiler.forget_shapes()
        full.append(millis(body, None))
    spread("compile all", full)

    ran = subprocess.run(
        [sys.executable, "-c", MEMORY_OF_ONE.format(flags=FLAGS)],
        capture_output=True,
        check=True,
        cwd=Path(__file__).parent.parent,
    )
    grown, objects = map(int, ran.stdout.split())
    print(f"  memory {grown / 1e6:.1f} MB; objects the garbage collector sees {objects}")

    deployment = compile_deployment(body)
    began = time.perf_counter()
    gc.collect()
    print(f"  a full garbage collection {(time.perf_counter() - began) * 1e3:.1f} ms")

    changes = [millis(edited(flags, number), deployment) for number in range(3 * ROUNDS)]
    spread("one flag changed", changes)
    spread("loop waits, all compiled in a thread", waits(body, None))
    change_waits = waits(edited(flags, 1), deployment)
    spread("loop waits, one flag changed", change_waits)
    slow = statistics.median(changes) >= MOST_CHANGE_MILLIS
    stalling = statistics.median(change_waits) > MOST_WAIT_MILLIS
    return 1 if slow or stalling else 0


if __name__ == "__main__":
    sys.exit(main())
