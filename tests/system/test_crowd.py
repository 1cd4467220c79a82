"""A crowd that means harm, and what it does to those who do not: nothing they would notice.

How long an answer takes beside it is measured by `make bench-crowd`; on a machine that others share
only what is answered can be relied on, and how much memory it took.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from proxy.sandbox.server import CLIENT_KEY
from tests.system.programs import ROOT, Pair, Program, call, get_json, wait_for

pytestmark = pytest.mark.system
FLAGS = "flags: {a: {serve: on}, b: {rollout: 50%}}\n"
SECONDS = 6
DELIBERATE = {"200", "408", "429", "503"}
MOST_MEBIBYTES = 400
MOST_LINES = 200

Report = dict[str, float]


class Crowd:
    """Clients of one kind, in a process of their own."""

    def __init__(self, port: int, role: str, clients: int, addresses: int) -> None:
        given = map(str, (role, port, CLIENT_KEY, SECONDS, clients, addresses))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.crowd_load", *given],
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env=dict(os.environ),
        )

    def report(self) -> Report:
        said, _ = self._process.communicate(timeout=60)
        assert self._process.returncode == 0
        report: Report = json.loads(said)
        return report

    def is_over(self) -> bool:
        return self._process.poll() is not None

    def end(self) -> None:
        if not self.is_over():
            self._process.kill()
            self._process.wait()


@contextmanager
def crowds(port: int, *kinds: tuple[str, int, int]) -> Iterator[list[Crowd]]:
    started: list[Crowd] = []
    try:
        started.extend(Crowd(port, *kind) for kind in kinds)
        yield started
    finally:
        for one in started:
            one.end()


def most_memory(program: Program) -> int:
    """The most memory that a program had, in MiB."""
    status = Path(f"/proc/{program.process.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024


def guarded(directory: Path) -> Pair:
    pair = Pair(directory, FLAGS)
    given = pair.config()
    given["configuration"]["admission"] = {"publicEdge": True}
    given["configuration"]["limits"]["requestTimeoutMillis"] = 1500
    pair.config_file.write_text(json.dumps(given))
    return pair


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and all of 127.0.0.0/8")
def test_a_crowd_of_slow_clients_and_a_flood_harm_nobody_else(tmp_path: Path) -> None:
    pair = guarded(tmp_path)
    kinds = (("slow", 2000, 20), ("flood", 300, 3), ("polite", 10, 5))
    with pair.sandbox(), pair.serve() as program:
        with crowds(pair.port, *kinds) as (slow, flood, polite):
            probes = set()
            while not polite.is_over():
                probes.add(call(f"{pair.proxy}/status")[0])
                probes.add(call(f"{pair.operators}/livez")[0])
            kept = polite.report()
            floods = flood.report()
            slows = slow.report()
        memory = most_memory(program)
        wait_for(lambda: "a" in pair.variants({"user_id": "ada"}), "answer to a server")
        metrics = call(f"{pair.operators}/metrics")[1].decode()
        edge = get_json(f"{pair.operators}/status")["edge"]
        assert program.stop() == 0

    assert probes == {200}
    answered = {word for report in (kept, floods, slows) for word in report if word.isdigit()}
    assert answered <= DELIBERATE
    assert not [report for report in (kept, floods, slows) if "without Retry-After" in report]
    # Whoever behaves is answered, always: 503 only if this machine has no time for anybody.
    assert kept.get("unanswered", 0) == kept.get("not connected", 0) == 0
    assert set(kept) & DELIBERATE <= {"200", "503"}
    assert kept["200"] > kept.get("503", 0)
    # The flood gets what three addresses get, and the slow ones are seen off.
    assert floods["offered"] > 10 * floods["200"]
    assert floods["429"] > 0
    assert slows["cut"] > 0
    assert memory < MOST_MEBIBYTES
    assert "admission_refused_total{reason=" in metrics
    assert 0 < edge["admission"]["addresses_known"] < 100
    assert {"idle", "arriving", "busy", "held"} < set(edge["connections"])
    said = program.said()
    assert "Traceback" not in said
    assert said.count("\n") < MOST_LINES


def test_a_head_of_a_megabyte_is_refused_before_it_is_read(tmp_path: Path) -> None:
    pair = guarded(tmp_path)
    with pair.sandbox(), pair.serve() as program:
        before = most_memory(program)
        for _ in range(20):
            status, _ = call(f"{pair.proxy}/sdk/v2/vardata", headers={"X-Large": "x" * 2**20})
            # The answer may be lost to a client that is still sending; nothing else may happen.
            assert status in (0, 431)
        assert most_memory(program) - before < 50
        assert "a" in pair.variants({"user_id": "ada"})
        assert "Traceback" not in program.said()
