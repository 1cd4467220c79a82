"""Requests per second of the whole server against a bare aiohttp hello world, in one run.

One pinned core for the server, the load (wrk) on another, 32 keep-alive connections, 20 flags,
10,000 distinct users, tracking on. Rounds alternate, so that a noisy machine hits both alike.
Exits 1 when the median ratio is below the floor.
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
FLOOR = 0.45
ROUNDS = 5
SECONDS = 4
USERS = 10_000
CONNECTIONS = 32
KEY = "server-bench"
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
    hello_port, proxy_port, operators_port, upstream_port = (free_port() for _ in range(4))
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
        config = Path(folder, "config.yaml")
        config.write_text(
            f"""
projects: [{{apiKey: bench, secretKey: bench, deploymentKeys: [{KEY}]}}]
configuration:
  host: 127.0.0.1
  port: {proxy_port}
  metrics: {{host: 127.0.0.1, port: {operators_port}}}
  serverUrl: http://127.0.0.1:{upstream_port}
  cohortServerUrl: http://127.0.0.1:{upstream_port}
  analyticsServerUrl: http://127.0.0.1:{upstream_port}
  streamUpdates: false
  log: {{level: WARNING}}
"""
        )
        here = [sys.executable, "-u"]
        stack.enter_context(
            running(load_core, *here, "-m", "bench.upstream", str(upstream_port), str(flags))
        )
        stack.enter_context(running(server_core, *here, str(HERE / "hello.py"), str(hello_port)))
        stack.enter_context(
            running(server_core, *here, "-m", "proxy", "serve", "--config", str(config))
        )
        wait_for(f"http://127.0.0.1:{hello_port}/")
        wait_for(f"http://127.0.0.1:{operators_port}/readyz")
        hello: list[float] = []
        proxy: list[float] = []
        said = ""
        for _ in range(ROUNDS):
            hello.append(drive(load_core, f"http://127.0.0.1:{hello_port}/", None)[0])
            rate, said = drive(load_core, f"http://127.0.0.1:{proxy_port}", script)
            proxy.append(rate)
    ratio = statistics.median(p / h for p, h in zip(proxy, hello, strict=True))
    print("whole server, one core, 20 flags, 10,000 users, tracking on, 32 connections")
    print(f"  bare aiohttp hello world   {statistics.median(hello):10,.0f} requests/s")
    print(
        f"  evaluation proxy           {statistics.median(proxy):10,.0f} requests/s  ({said}, us)"
    )
    print(f"  ratio                      {ratio:10.2f}  (floor {FLOOR})")
    return 0 if ratio >= FLOOR else 1


if __name__ == "__main__":
    raise SystemExit(main())
