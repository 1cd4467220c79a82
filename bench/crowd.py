"""How well-behaved clients fare while others do not: 2,000 slow ones and a flood beside them.

The proxy on one core, with `admission.publicEdge` on; each crowd in a process of its own, on the
other. First the well-behaved clients alone, then with slow clients, with a flood from a few
addresses (which rates stop), and with one from many (which only shedding stops). Exits 1 when
their p99 beside the slow clients and the first flood is more than 50 ms above what it is alone (a
machine that others use is slow by itself), or when memory or an answer is wrong.
"""

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from bench import workload
from bench.server import free_port, running, wait_for

KEY = "client-bench"
SECONDS = 8.0
POLITE, POLITE_ADDRESSES = 20, 10
WORST_P99_MILLIS = 50.0
MOST_MEBIBYTES = 300
DELIBERATE = {"200", "408", "429", "503"}
CROWDS: dict[str, list[tuple[str, int, int]]] = {
    "alone": [],
    "2,000 slow clients": [("slow", 2000, 20)],
    "and a flood of 300 connections from 3 addresses": [("slow", 2000, 20), ("flood", 300, 3)],
    "and a flood of 1,000 connections from 50": [("slow", 2000, 20), ("flood", 1000, 50)],
}
TIMED = tuple(CROWDS)[:3]


@contextlib.contextmanager
def crowd(
    core: int, port: int, seconds: float, role: str, clients: int, addresses: int
) -> Iterator[list[Any]]:
    """Run one crowd while the block runs; what it reports is in the list afterwards."""
    given = [role, str(port), KEY, str(seconds), str(clients), str(addresses)]
    command = ["taskset", "-c", str(core), sys.executable, "-m", "bench.crowd_load", *given]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=dict(os.environ))
    found: list[Any] = []
    try:
        yield found
        said, _ = process.communicate(timeout=seconds + 30)
        found.append(msgspec.json.decode(said))
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def most_memory(pid: int) -> int:
    """Return the most memory that a process had, in MiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) // 1024
    return 0


def busy_seconds(pid: int) -> float:
    """Return how long a process has run."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def config(port: int, operators: int, upstream: int) -> dict[str, Any]:
    url = f"http://127.0.0.1:{upstream}"
    return {
        "projects": [{"apiKey": "bench", "secretKey": "bench", "deploymentKeys": [KEY]}],
        "configuration": {
            "host": "127.0.0.1",
            "port": port,
            "metrics": {"host": "127.0.0.1", "port": operators},
            "serverUrl": url,
            "cohortServerUrl": url,
            "analyticsServerUrl": url,
            "streamUpdates": False,
            "admission": {"publicEdge": True},
            "log": {"level": "ERROR"},
        },
    }


def loop_delays(operators: int) -> Counter[float]:
    """Return how many heartbeats of the proxy were at most so many seconds late."""
    with urllib.request.urlopen(f"http://127.0.0.1:{operators}/metrics") as answer:
        lines = answer.read().decode()
    pattern = r'^amplitude_proxy_event_loop_delay_seconds_bucket{le="(.*)"} (.*)$'
    return Counter(
        {
            float(bound): int(float(count))
            for bound, count in re.findall(pattern, lines, re.MULTILINE)
        }
    )


def p99_millis(before: Counter[float], after: Counter[float]) -> float:
    """Return the bound below which 99 % of the heartbeats between two looks were late."""
    counts = {bound: count - before[bound] for bound, count in after.items()}
    whole = max(counts.values())
    return 1000 * min(bound for bound, count in counts.items() if count >= 0.99 * whole)


def beside(
    others: list[tuple[str, int, int]], seconds: float, core: int, port: int
) -> list[dict[str, Any]]:
    """Return what the well-behaved clients, and each crowd beside them, report."""
    with contextlib.ExitStack() as stack:
        everybody = [*others, ("polite", POLITE, POLITE_ADDRESSES)]
        found = [stack.enter_context(crowd(core, port, seconds, *one)) for one in everybody]
    return [one[0] for one in reversed(found)]


def is_fine(reports: list[dict[str, Any]]) -> bool:
    """Tell whether every answer was one that is meant, and told when to come back."""
    seen = {word for report in reports for word in report if word.isdigit()}
    return seen <= DELIBERATE and not any("without Retry-After" in report for report in reports)


def main(seconds: float = SECONDS) -> int:
    if not shutil.which("taskset"):
        print("bench/crowd.py needs taskset (Debian: apt-get install util-linux)")
        return 2
    cores = sorted(os.sched_getaffinity(0))
    server, load = cores[0], cores[-1]
    port, operators, upstream = (free_port() for _ in range(3))
    is_good, idle = True, 0.0
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        flags, file = Path(folder, "flags.json"), Path(folder, "config.json")
        flags.write_bytes(workload.flags_json(20))
        file.write_bytes(msgspec.json.encode(config(port, operators, upstream)))
        here = [sys.executable, "-u", "-m"]
        stack.enter_context(running(load, *here, "bench.upstream", str(upstream), str(flags)))
        pid = stack.enter_context(running(server, *here, "proxy", "serve", "--config", str(file)))
        wait_for(f"http://127.0.0.1:{operators}/readyz")
        print(f"{POLITE} well-behaved clients from {POLITE_ADDRESSES} addresses, {seconds:.0f} s")
        for name, others in CROWDS.items():
            began, before = busy_seconds(pid), loop_delays(operators)
            mine, *rest = reports = beside(others, seconds, load, port)
            memory, delay = most_memory(pid), p99_millis(before, loop_delays(operators))
            print(
                f"  {name:47} p50 {mine['p50']:6.1f}  p99 {mine['p99']:6.1f}"
                f"  max {mine['max']:6.1f} ms, {mine.get('200', 0)} of {mine['asked']} answered 200"
            )
            print(
                f"    proxy: event loop late by at most {delay:.1f} ms in 99 of 100 cases,"
                f" {busy_seconds(pid) - began:.1f} s of one core, {memory} MiB at most"
            )
            for (role, _, _), report in zip(reversed(others), rest, strict=True):
                print(f"    {role}: {report}")
            is_good &= is_fine(reports) and memory < MOST_MEBIBYTES
            idle = mine["p99"] if not others else idle
            is_good &= name not in TIMED or mine["p99"] <= idle + WORST_P99_MILLIS
    return 0 if is_good else 1


if __name__ == "__main__":
    raise SystemExit(main(*map(float, sys.argv[1:])))
