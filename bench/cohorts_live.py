"""A whole proxy while it loads cohorts: memory of all its processes, stalls of its event loop.

The proxy and the process that it builds in share one core; upstream and this program have the
other. A request is asked every millisecond over one connection: the longest wait for an answer
bounds how long the event loop ever stood still. Usage: cohorts_live.py MEMBERS[xCOHORTS] ...
"""

import contextlib
import os
import socket
import statistics
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from bench.cohorts import memory_of, write_body
from bench.server import free_port, wait_for

KEY = "server-bench"
CONFIG = """
projects: [{{apiKey: bench, secretKey: bench, deploymentKeys: [{key}]}}]
configuration:
  host: 127.0.0.1
  port: {port}
  metrics: {{host: 127.0.0.1, port: {operators}}}
  serverUrl: http://127.0.0.1:{upstream}
  cohortServerUrl: http://127.0.0.1:{upstream}
  analyticsServerUrl: http://127.0.0.1:{upstream}
  streamUpdates: false
  flagSyncIntervalMillis: 200
  cohortWaitMillis: 3600000
  dataDir: {data}
  assignment: {{enabled: false}}
  log: {{level: CRITICAL}}
"""


def flag(cohorts: list[str]) -> dict[str, Any]:
    asks = {"selector": ["context", "user", "cohort_ids"], "op": "set contains any"}
    return {
        "key": "targeted",
        "variants": {"on": {"key": "on", "value": "on"}, "off": {"key": "off"}},
        "segments": [
            {"conditions": [[{**asks, "values": cohorts}]], "variant": "on"},
            {"variant": "off"},
        ],
    }


@contextlib.contextmanager
def running(core: int, *command: str) -> Iterator[int]:
    pid = os.posix_spawn(command[0], command, dict(os.environ))
    os.sched_setaffinity(pid, {core})
    try:
        yield pid
    finally:
        os.kill(pid, 15)
        os.waitpid(pid, 0)


class Watch:
    """Samples what the proxy and its children hold."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.peak = self.peak_private = 0.0
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def sample(self, field: str) -> float:
        total = memory_of(str(self.pid), field)
        for child in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split():
            with contextlib.suppress(OSError, AssertionError):  # it has just ended
                total += memory_of(child, field)
        return total

    def run(self) -> None:
        while not self.over.wait(0.02):
            self.peak = max(self.peak, self.sample("VmRSS"))
            self.peak_private = max(self.peak_private, self.sample("RssAnon"))


class Asker:
    """Asks for the liveness of the proxy, and for a user's variant, over one connection."""

    def __init__(self, port: int, pid: int) -> None:
        self.port = port
        self.clocks = Path(f"/proc/{pid}/schedstat"), Path("/proc/thread-self/schedstat")
        self.wire = socket.create_connection(("127.0.0.1", port))
        self.wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.took: list[float] = []
        self.began: list[float] = []
        self.ousted: list[float] = []
        """How long the event loop, or this program, only waited for its core."""

    def waited_for_core(self) -> float:
        return sum(int(clock.read_bytes().split()[1]) for clock in self.clocks) / 1e9

    def ping(self) -> None:
        waited = self.waited_for_core()
        began = time.perf_counter()
        self.began.append(began)
        self.wire.sendall(b"GET /status HTTP/1.1\r\nHost: x\r\n\r\n")
        assert self.wire.recv(65536).startswith(b"HTTP/1.1 200")
        self.took.append(time.perf_counter() - began)
        self.ousted.append(self.waited_for_core() - waited)

    def variant(self, user_id: str) -> str | None:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/sdk/v2/vardata",
            data=msgspec.json.encode({"user_id": user_id}),
            headers={"Authorization": f"Api-Key {KEY}"},
        )
        with urllib.request.urlopen(request) as answer:
            found = msgspec.json.decode(answer.read()).get("targeted")
            return None if found is None else found["key"]

    def millis(self) -> str:
        cuts = statistics.quantiles(self.took, n=1000)
        rest = f"p99 {cuts[989] * 1e3:.2f}, p99.9 {cuts[998] * 1e3:.2f}"
        return f"median {cuts[499] * 1e3:.2f}, {rest}, longest {max(self.took) * 1e3:.1f} ms"

    def forget(self) -> None:
        for noted in (self.took, self.began, self.ousted):
            noted.clear()

    def longest(self) -> str:
        took, began, ousted = max(zip(self.took, self.began, self.ousted, strict=True))
        own = max(t - o for t, o in zip(self.took, self.ousted, strict=True))
        return (
            f"the longest ({took * 1e3:.1f} ms, {ousted * 1e3:.1f} of them for the core) began"
            f" after {began - self.began[0]:.1f} s; the longest without the core {own * 1e3:.1f} ms"
        )

    def for_seconds(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.ping()
            time.sleep(0.001)


def load(members: int, count: int) -> None:
    cores = sorted(os.sched_getaffinity(0))
    port, operators, upstream = free_port(), free_port(), free_port()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cohorts = [f"c{number}" for number in range(count)]
        known = [write_body(folder / f"{one}.body", one, members)[-1] for one in cohorts][-1]
        (folder / "flags.json").write_bytes(msgspec.json.encode([flag([])]))
        config = folder / "config.yaml"
        config.write_text(
            CONFIG.format(
                key=KEY, port=port, operators=operators, upstream=upstream, data=folder / "data"
            )
        )
        os.sched_setaffinity(0, {cores[-1]})
        serve = [sys.executable, "-m", "proxy", "serve", "--config", str(config)]
        script = str(Path(__file__).with_name("cohorts_upstream.py"))
        with (
            running(cores[-1], sys.executable, script, str(upstream), name),
            running(cores[0], *serve) as pid,
        ):
            wait_for(f"http://127.0.0.1:{operators}/readyz")
            report(folder, Watch(pid), Asker(port, pid), (members, cohorts, known))
        os.sched_setaffinity(0, set(cores))


def report(folder: Path, watch: Watch, asker: Asker, asked: tuple[int, list[str], str]) -> None:
    members, cohorts, known = asked
    asker.for_seconds(3)
    print(f"{len(cohorts):,} x {members:,} members, proxy and builder on one core", flush=True)
    print(f"  before   answers {asker.millis()}")
    before = memory_of(str(watch.pid), "RssAnon")
    asker.forget()
    watch.thread.start()
    (folder / "flags.json").write_bytes(msgspec.json.encode([flag(cohorts)]))
    began = time.monotonic()
    asked_at = began
    while True:
        asker.ping()
        time.sleep(0.001)
        if time.monotonic() - asked_at > 0.5:
            asked_at = time.monotonic()
            if asker.variant(known) == "on":
                break
    seconds = time.monotonic() - began
    asker.for_seconds(2)
    watch.over.set()
    watch.thread.join()
    print(f"  loading  answers {asker.millis()}")
    print(f"           {asker.longest()}")
    rate = members * len(cohorts) / seconds / 1e6
    print(f"  loaded   in {seconds:.1f} s, {rate:.2f} M members/s with download and commit")
    print(f"  peak     {watch.peak:.0f} MiB resident, {watch.peak_private:.0f} private")
    assert asker.variant("nobody-at-all") == "off"
    wait_for_children(watch.pid)
    after = memory_of(str(watch.pid), "RssAnon")
    print(f"  after    {after - before:.0f} MiB private above {before:.0f} of the empty proxy")
    print(f"           {memory_of(str(watch.pid), 'RssFile'):.0f} MiB mapped", flush=True)


def wait_for_children(pid: int) -> None:
    """Wait until the proxy has let the building process go."""
    deadline = time.monotonic() + 90
    while Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def main() -> None:
    for word in sys.argv[1:] or ["1_000_000"]:
        members, _, count = word.replace("_", "").partition("x")
        load(int(members), int(count or 1))


if __name__ == "__main__":
    main()
