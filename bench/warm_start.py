"""From the start of the process to the first right answer, with upstream down.

20 flags, one of which asks for a cohort of 1 M members, all on disk from an earlier life. The
yardstick is a Python process that imports aiohttp and uvloop and answers a constant.
"""

import http.client
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec

from bench import workload
from bench.cohorts import write_body
from bench.cohorts_live import CONFIG, KEY, flag, running
from bench.server import free_port, wait_for

MEMBERS = 1_000_000
ROUNDS = 9
AIM_SECONDS = 0.6


def variant(port: int, user_id: str) -> str | None:
    """Return the variant of the cohort's flag; None while nobody answers."""
    wire = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        body = msgspec.json.encode({"user_id": user_id})
        wire.request("POST", "/sdk/v2/vardata", body, {"Authorization": f"Api-Key {KEY}"})
        answer = wire.getresponse()
        text = answer.read()
        return None if answer.status != 200 else msgspec.json.decode(text)["targeted"]["key"]
    except OSError:
        return None
    finally:
        wire.close()


def until_right(command: list[str], port: int, member: str) -> float:
    """Start the proxy, return the seconds until a member gets the right variant, and stop it."""
    began = time.monotonic()
    process = subprocess.Popen(command)
    try:
        while (found := variant(port, member)) != "on":
            assert found is None, f"a wrong answer: {found}"
            assert time.monotonic() - began < 30
            time.sleep(0.002)
        return time.monotonic() - began
    finally:
        process.terminate()
        process.wait(20)


def until_answered(script: Path, port: int) -> float:
    """Do the same with the constant answer."""
    began = time.monotonic()
    process = subprocess.Popen([sys.executable, str(script), str(port)])
    try:
        wait_for(f"http://127.0.0.1:{port}/")
        return time.monotonic() - began
    finally:
        process.kill()
        process.wait(20)


def first_life(folder: Path, serve: list[str], ports: tuple[int, int], flags: list[Any]) -> str:
    """Let a proxy fetch everything and stop; return a member of the cohort."""
    upstream, operators = ports
    member = write_body(folder / "c0.body", "c0", MEMBERS)[-1]
    (folder / "flags.json").write_bytes(msgspec.json.encode([*flags, flag(["c0"])]))
    script = str(Path(__file__).with_name("cohorts_upstream.py"))
    core = max(os.sched_getaffinity(0))
    with running(core, sys.executable, script, str(upstream), str(folder)):
        process = subprocess.Popen(serve)
        wait_for(f"http://127.0.0.1:{operators}/readyz", 60)
        process.terminate()
        process.wait(20)
    return member


def plain_flags() -> list[Any]:
    flags = msgspec.json.decode(workload.flags_json(40))
    return [one for one in flags if b"cohort_ids" not in msgspec.json.encode(one)][:19]


def main() -> int:
    port, operators, upstream = free_port(), free_port(), free_port()
    folder = Path(tempfile.mkdtemp())
    try:
        config = folder / "config.yaml"
        config.write_text(
            CONFIG.format(
                key=KEY, port=port, operators=operators, upstream=upstream, data=folder / "data"
            )
        )
        serve = [sys.executable, "-m", "proxy", "serve", "--config", str(config)]
        member = first_life(folder, serve, (upstream, operators), plain_flags())
        ours, theirs = [], []
        for _ in range(ROUNDS):
            ours.append(until_right(serve, port, member))
            theirs.append(until_answered(Path(__file__).with_name("hello.py"), free_port()))
    finally:
        shutil.rmtree(folder)
    middle, yardstick = statistics.median(ours), statistics.median(theirs)
    print("start to first right answer: 20 flags and a cohort of 1 M on disk, upstream down")
    print(f"  bare aiohttp, constant   {yardstick:6.2f} s")
    print(f"  evaluation proxy         {middle:6.2f} s  (best {min(ours):.2f}, aim {AIM_SECONDS})")
    print(f"  ratio                    {middle / yardstick:6.2f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
