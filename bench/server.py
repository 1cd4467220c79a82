"""Requests per second of the whole server against a bare aiohttp hello world, in one run.

One pinned core for the server, the load (wrk) on another, 32 keep-alive connections, 20 flags,
10,000 distinct users, tracking on; with answers kept, and with every user evaluated each time.
Rounds alternate, so that a noisy machine hits all alike. Exits 1 when a median ratio is below its
floor.
"""

import base64
import contextlib
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import msgspec

from bench import workload

HERE = Path(__file__).parent
KINDS = {
    "evaluating each time": (0, 0.45),  # bytes of answers kept, floor
    "answers kept": (64 << 20, 0.8),
}
ROUNDS = 5
SECONDS = 4
USERS = 10_000
CONNECTIONS = 32
KEY = "server-bench"
CONFIG = """
projects: [{{apiKey: bench, secretKey: bench, deploymentKeys: [{key}]}}]
configuration:
  host: 127.0.0.1
  port: {port}
  metrics: {{host: 127.0.0.1, port: {operators_port}}}
  serverUrl: {upstream}
  cohortServerUrl: {upstream}
  analyticsServerUrl: {upstream}
  streamUpdates: false
  answerCache: {{maxBytes: {kept_bytes}}}
  log: {{level: WARNING}}
"""
WRK_SCRIPT = """
local users = {}
for line in io.lines("%s") do users[#users + 1] = line end
local n = 0
local headers = {}
request = function()
  n = n %% #users + 1
  headers["Authorization"] = "Api-Key %s"
  headers["X-Amp-Exp-User"] = users[n]
  return wrk.format("GET", "/sdk/v2/vardata?v=0", headers)
end
done = function(summary, latency)
  io.write(string.format("failed %%d p50 %%.0f p99 %%.0f\\n",
    summary.errors.status + summary.errors.connect + summary.errors.read +
    summary.errors.write + summary.errors.timeout, latency:percentile(50), latency:percentile(99)))
end
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def running(core: int, *command: str, env: dict[str, str] | None = None) -> Iterator[int]:
    """Run a command on one core until the block is left; yield its process id."""

    def pin() -> None:
        os.sched_setaffinity(0, {core})

    process = subprocess.Popen(command, env={**os.environ, **(env or {})}, preexec_fn=pin)
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait(20)


def wait_for(url: str, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(url, timeout=1) as answer:
                answer.read()
                return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def drive(core: int, url: str, script: Path | None) -> tuple[float, str]:
    """Run wrk for some seconds; return requests per second and the line of its script."""
    command = ["taskset", "-c", str(core), "wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s"]
    if script:
        command += ["-s", str(script)]
    said = subprocess.run([*command, url], check=True, capture_output=True, text=True).stdout
    rate = re.search(r"Requests/sec:\s+([\d.]+)", said)
    failed = re.search(r"failed .*", said)
    assert rate, said
    if "Non-2xx" in said:
        raise SystemExit(f"some answers were not 2xx:\n{said}")
    return float(rate[1]), failed[0] if failed else ""


def main() -> int:
    for tool in ("wrk", "taskset"):
        if not shutil.which(tool):
            print(f"bench/server.py needs {tool} (Debian: apt-get install wrk util-linux)")
            return 2
    cores = sorted(os.sched_getaffinity(0))
    server_core, load_core = cores[0], cores[-1]
    if server_core == load_core:
        print("one core only: the load shares it with the server, the ratio says little")
    hello_port, upstream_port = free_port(), free_port()
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        flags = Path(folder, "flags.json")
        flags.write_bytes(workload.flags_json(20))
        users = Path(folder, "users.txt")
        users.write_text(
            "\n".join(
                base64.urlsafe_b64encode(msgspec.json.encode(user)).decode().rstrip("=")
                for user in workload.users(USERS)
            )
        )
        script = Path(folder, "load.lua")
        script.write_text(WRK_SCRIPT % (users, KEY))
        here = [sys.executable, "-u"]
        stack.enter_context(
            running(load_core, *here, "-m", "bench.upstream", str(upstream_port), str(flags))
        )
        stack.enter_context(running(server_core, *here, str(HERE / "hello.py"), str(hello_port)))
        urls = {}
        for number, (kind, (kept_bytes, _)) in enumerate(KINDS.items()):
            proxy_port, operators_port = free_port(), free_port()
            config = Path(folder, f"config-{number}.yaml")
            config.write_text(
                CONFIG.format(
                    key=KEY,
                    port=proxy_port,
                    operators_port=operators_port,
                    upstream=f"http://127.0.0.1:{upstream_port}",
                    kept_bytes=kept_bytes,
                )
            )
            stack.enter_context(
                running(server_core, *here, "-m", "proxy", "serve", "--config", str(config))
            )
            wait_for(f"http://127.0.0.1:{operators_port}/readyz")
            urls[kind] = f"http://127.0.0.1:{proxy_port}"
        wait_for(f"http://127.0.0.1:{hello_port}/")
        hello: list[float] = []
        rates: dict[str, list[float]] = {kind: [] for kind in urls}
        said = dict.fromkeys(urls, "")
        for number in range(ROUNDS + 1):
            pace = drive(load_core, f"http://127.0.0.1:{hello_port}/", None)[0]
            measured = {kind: drive(load_core, url, script) for kind, url in urls.items()}
            if not number:  # users become known
                continue
            hello.append(pace)
            for kind, (rate, line) in measured.items():
                rates[kind].append(rate)
                said[kind] = line
    return report(hello, rates, said)


def report(hello: list[float], rates: dict[str, list[float]], said: dict[str, str]) -> int:
    print("whole server, one core, 20 flags, 10,000 users, tracking on, 32 connections")
    print(f"  bare aiohttp hello world   {statistics.median(hello):10,.0f} requests/s")
    is_slow = False
    for kind, (_, floor) in KINDS.items():
        ratio = statistics.median(p / h for p, h in zip(rates[kind], hello, strict=True))
        print(f"  {kind:26} {statistics.median(rates[kind]):10,.0f} requests/s  ({said[kind]}, us)")
        print(f"    ratio                    {ratio:10.2f}  (floor {floor})")
        is_slow |= ratio < floor
    return int(is_slow)


if __name__ == "__main__":
    raise SystemExit(main())
