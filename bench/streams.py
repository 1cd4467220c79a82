"""Ten thousand streams: their memory, how fast a change reaches all, evaluation meanwhile.

The proxy has one core; upstream, the streaming clients and a program that evaluates a user every
millisecond share the other. Time that the proxy or the asking program only waited for its core is
left out of the answers' times. Usage: streams.py [CONNECTIONS] [FLAGS]
"""

import asyncio
import contextlib
import os
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from bench import workload
from bench.cohorts_live import Asker
from bench.server import free_port, running, wait_for

KEY = "server-bench"
PATIENCE = 1.5
"""So long, in seconds, do the SDKs wait for the first message."""
CHANGES = 5
AT_ONCE = 200
CONFIG = """
projects: [{{apiKey: bench, secretKey: bench, deploymentKeys: [{key}]}}]
configuration:
  host: 127.0.0.1
  port: {port}
  metrics: {{host: 127.0.0.1, port: {operators}}}
  serverUrl: http://127.0.0.1:{upstream}
  cohortServerUrl: http://127.0.0.1:{upstream}
  streamServerUrl: http://127.0.0.1:{upstream}
  analyticsServerUrl: http://127.0.0.1:{upstream}
  assignment: {{enabled: false}}
  log: {{level: CRITICAL}}
"""
REQUEST = (
    f"GET /sdk/stream/v1/flags HTTP/1.1\r\nHost: proxy\r\nAuthorization: Api-Key {KEY}\r\n"
    "Content-Type: application/json;charset=utf-8\r\nAccept-Encoding: identity\r\n"
    "X-Amp-Exp-Library: experiment-python-server/1.13.0\r\n\r\n"
).encode()
END = b"\n\n\r\n"


class Client(asyncio.Protocol):
    """One streaming client: when it began, and when its last message but keep-alives ended."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.status = 0
        self.heard = 0.0
        self.left = 0.0
        self.messages = 0
        self.pending = 0
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        transport.write(REQUEST)

    def data_received(self, data: bytes) -> None:
        if not self.status:
            self.status = int(data[9:12])
        self.pending += len(data)
        if data.endswith(END):
            if self.pending > 100:
                self.heard = time.monotonic()
                self.messages += 1
            self.pending = 0

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self.left = time.monotonic()


class Crowd:
    def __init__(self, port: int) -> None:
        self.port = port
        self.clients: list[Client] = []

    async def one(self) -> None:
        client = Client()
        self.clients.append(client)
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(10):
                await loop.create_connection(lambda: client, "127.0.0.1", self.port)

    async def come(self, count: int, at_once: int) -> None:
        for begun in range(0, count, at_once):
            await asyncio.gather(*(self.one() for _ in range(min(at_once, count - begun))))

    async def all_heard(self, since: float, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while any(client.heard < since for client in self.clients if client.transport):
            if time.monotonic() > deadline:
                return
            await asyncio.sleep(0.005)

    def leave(self) -> None:
        for client in self.clients:
            if client.transport is not None:
                client.transport.abort()
        self.clients = []


class Evaluations(Asker):
    """Evaluates a user every millisecond, in a thread of a process of its own."""

    def __init__(self, port: int, pid: int) -> None:
        super().__init__(port, pid)
        user = msgspec.json.encode(workload.user(1))
        head = f"POST /sdk/v2/vardata HTTP/1.1\r\nHost: x\r\nAuthorization: Api-Key {KEY}\r\n"
        self.request = f"{head}Content-Length: {len(user)}\r\n\r\n".encode() + user

    def ping(self) -> None:
        waited = self.waited_for_core()
        began = time.perf_counter()
        self.wire.sendall(self.request)
        assert self.wire.recv(262_144).startswith(b"HTTP/1.1 200")
        took = time.perf_counter() - began
        self.took.append(max(0.0, took - (self.waited_for_core() - waited)))


def evaluate_for_ever(port: int, pid: int) -> None:
    """Answer each line on standard input with what was measured since the last one."""
    asker = Evaluations(port, pid)

    def ask() -> None:
        while True:
            asker.ping()
            time.sleep(0.001)

    threading.Thread(target=ask, daemon=True).start()
    for _ in sys.stdin:
        print(asker.millis() if len(asker.took) > 1 else "none", flush=True)
        asker.forget()


class Evaluator:
    def __init__(self, port: int, pid: int) -> None:
        command = [sys.executable, "-m", "bench.streams", "evaluate", str(port), str(pid)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def said(self) -> str:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()


def memory(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS"))


def processor_seconds(pid: int) -> float:
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def millis(seconds: list[float]) -> str:
    cuts = statistics.quantiles(seconds, n=100)
    return (
        f"median {cuts[49] * 1e3:,.0f} ms, p99 {cuts[98] * 1e3:,.0f} ms,"
        f" last {max(seconds) * 1e3:,.0f} ms"
    )


def change(upstream: int) -> float:
    request = urllib.request.Request(f"http://127.0.0.1:{upstream}/change", method="POST")
    with urllib.request.urlopen(request) as answer:
        return float(answer.read())


async def measure(ports: tuple[int, int], pid: int, count: int, evaluator: Evaluator) -> None:
    port, upstream = ports
    loop = asyncio.get_running_loop()
    evaluator.said()
    await asyncio.sleep(3)
    print(f"  nobody streams   evaluations {evaluator.said()}")
    before, crowd = memory(pid), Crowd(port)
    began = time.monotonic()
    await crowd.come(count, AT_ONCE)
    await crowd.all_heard(began, 20)
    there = sum(client.messages > 0 for client in crowd.clients)
    print(f"  {there:,} came one after the other in {time.monotonic() - began:.1f} s")
    print(f"                   evaluations {evaluator.said()}")
    print(f"  memory           {(memory(pid) - before) / there:,.0f} bytes for each stream")
    for _ in range(CHANGES):
        await asyncio.sleep(1)
        evaluator.said()
        changed_at = await loop.run_in_executor(None, change, upstream)
        await crowd.all_heard(changed_at, 20)
        took = [client.heard - changed_at for client in crowd.clients if client.transport]
        print(f"  a change         {millis(took)} after it; evaluations {evaluator.said()}")
    spent = processor_seconds(pid)
    evaluator.said()
    await asyncio.sleep(15)
    spent = (processor_seconds(pid) - spent) / 15
    print(f"  keep-alives only evaluations {evaluator.said()}")
    print(f"                   the proxy uses {spent:.0%} of its core with those evaluations")
    crowd.leave()
    await asyncio.sleep(2)
    evaluator.said()
    began, spent = time.monotonic(), processor_seconds(pid)
    await crowd.come(count, count)
    await crowd.all_heard(began, 5)
    seconds, spent = time.monotonic() - began, processor_seconds(pid) - spent
    print(f"  all come at once within {seconds:.1f} s, in which the proxy works {spent:.1f} s")
    report(crowd)
    print(f"                   evaluations {evaluator.said()}")
    evaluator.process.kill()
    began, count = time.monotonic(), sum(client.transport is not None for client in crowd.clients)
    os.kill(pid, signal.SIGTERM)
    while any(client.transport for client in crowd.clients):
        await asyncio.sleep(0.01)
    left = [client.left - began for client in crowd.clients if client.left > began]
    print(f"  a stop           {count:,} streams end, {millis(left)} after it")


def report(crowd: Crowd) -> None:
    heard = [client.heard - client.began for client in crowd.clients if client.messages]
    in_time = sum(seconds <= PATIENCE for seconds in heard)
    refused = sum(client.status == 503 for client in crowd.clients)
    print(f"                   {in_time:,} heard flags within {PATIENCE} s of connecting,")
    print(f"                   {len(heard) - in_time:,} later, {refused:,} were told 503,", end=" ")
    print(f"{len(crowd.clients) - len(heard) - refused:,} nothing")
    if len(heard) > 1:
        print(f"                   {millis(heard)}")


@contextlib.contextmanager
def proxy(count: int) -> Iterator[tuple[int, int, int]]:
    """Run upstream and the proxy; yield the clients' port, upstream's port, the process id."""
    cores = sorted(os.sched_getaffinity(0))
    port, operators, upstream = free_port(), free_port(), free_port()
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        config = Path(name, "config.yaml")
        config.write_text(CONFIG.format(key=KEY, port=port, operators=operators, upstream=upstream))
        here = [sys.executable, "-m"]
        streaming = [*here, "bench.streams_upstream", str(upstream), str(count)]
        stack.enter_context(running(cores[-1], *streaming))
        serving = [*here, "proxy", "serve", "--config", str(config)]
        pid = stack.enter_context(running(cores[0], *serving))
        os.sched_setaffinity(0, {cores[-1]})
        wait_for(f"http://127.0.0.1:{operators}/readyz")
        yield port, upstream, pid
        os.sched_setaffinity(0, set(cores))


def main() -> None:
    if sys.argv[1:2] == ["evaluate"]:
        evaluate_for_ever(int(sys.argv[2]), int(sys.argv[3]))
        return
    count, flags = (int(word) for word in [*sys.argv[1:], *["10000", "20"][len(sys.argv) - 1 :]])
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    size = len(workload.flags_json(flags))
    with proxy(flags) as (port, upstream, pid):
        print(f"{count:,} streams of {flags} flags, {size:,} bytes a message, proxy on one core")
        evaluator = Evaluator(port, pid)
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(measure((port, upstream), pid, count, evaluator))
        finally:
            evaluator.process.kill()


if __name__ == "__main__":
    main()
