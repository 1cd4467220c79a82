"""What reporting costs: processor time per request, tracking on and off, in one run.

With 10,000 users who come again and again, events are filtered. With users who are all new, each
request makes an event that is encoded, written to disk, posted and deleted; a pinned core does all
of it. Both with answers kept and without. Rounds are short and alternate; the time is what the
system says the server's threads had, which noise on the machine moves far less than requests per
second. Exits 1 when repeated users get less than the floor.
"""

import contextlib
import itertools
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import msgspec

from bench import workload
from bench.server import CONNECTIONS, KEY, free_port, running, wait_for

ROUNDS = 10
FLAGS = 20
WARMING = 10  # seconds until answers to 10,000 users are kept
CASES = {
    "off": "10,000 users again and again, off",
    "repeated": "the same, tracking on",
    "new-off": "every request a new user, off",
    "new": "the same, tracking on",
}
YARDSTICKS = {"off": "off", "repeated": "off", "new-off": "new-off", "new": "new-off"}
# Of the throughput that a core has with tracking off, with answers kept and without.
FLOORS = {64 << 20: 0.9, 0: 0.75}
WRK_SCRIPT = """
local seen = 0
local headers = {["Authorization"] = "Api-Key %(key)s", ["X-Amp-Exp-Track"] = "%(track)s"}
local b = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
local function encoded(text)
  return ((text:gsub(".", function(x)
    local r, byte = "", x:byte()
    for i = 8, 1, -1 do r = r .. (byte %% 2^i - byte %% 2^(i - 1) > 0 and "1" or "0") end
    return r
  end) .. "0000"):gsub("%%d%%d%%d?%%d?%%d?%%d?", function(x)
    if #x < 6 then return "" end
    local c = 0
    for i = 1, 6 do c = c + (x:sub(i, i) == "1" and 2^(6 - i) or 0) end
    return b:sub(c + 1, c + 1)
  end))
end
-- The last group of the text is spelled anew for each user; what stands before it stays.
local rest = encoded('{"device_id":"0123456789abcdef","country":"Germany","platform":"iOS",' ..
  '"version":"4.5.6","language":"German","user_properties":{"plan":"pro","logins":50},' ..
  '"user_id":"user-')
local triples = {}
for n = 0, 999 do triples[n] = encoded(string.format("%%03d", n)) end
local tail = encoded('u"}')
request = function()
  local n = %(first)d + seen %% %(users)d
  seen = seen + 1
  headers["X-Amp-Exp-User"] = rest .. triples[math.floor(n / 1000000) %% 1000] ..
    triples[math.floor(n / 1000) %% 1000] .. triples[n %% 1000] .. tail
  return wrk.format("GET", "/sdk/v2/vardata?v=0", headers)
end
"""


def wait_until_sent(operators: str, seconds: float = 120) -> None:
    """Let the events of the round before be gone, so that they do not slow the next one down."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with urllib.request.urlopen(operators + "/status", timeout=10) as answer:
            if not sum(one["pending"] for one in msgspec.json.decode(answer.read())["events"]):
                return
        time.sleep(0.2)
    raise SystemExit("the events of a round were not sent in time")


def processor_seconds(pid: int) -> float:
    """Return what all threads of a process had so far; rounds are too short for clock ticks."""
    times = (each.read_text().split()[0] for each in Path(f"/proc/{pid}/task").glob("*/schedstat"))
    return sum(map(int, times)) / 1e9


def ask(core: int, url: str, script: Path) -> int:
    """Let wrk ask for a second; return how many answers came."""
    command = ["taskset", "-c", str(core), "wrk", "-t1", f"-c{CONNECTIONS}", "-d1s"]
    ran = subprocess.run(
        [*command, "-s", str(script), url], check=True, capture_output=True, text=True
    )
    answers = re.search(r"(\d+) requests in", ran.stdout)
    if answers is None or "Non-2xx" in ran.stdout:
        raise SystemExit(f"some answers were not 2xx:\n{ran.stdout}")
    return int(answers[1])


def main() -> int:
    for tool in ("wrk", "taskset"):
        if not shutil.which(tool):
            print(f"bench/events.py needs {tool} (Debian: apt-get install wrk util-linux)")
            return 2
    return max([measure(kept_bytes, floor) for kept_bytes, floor in FLOORS.items()])


def measure(kept_bytes: int, floor: float) -> int:
    cores = sorted(os.sched_getaffinity(0))
    server_core, load_core = cores[0], cores[-1]
    proxy_port, operators_port, upstream_port = (free_port() for _ in range(3))
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        flags, config = Path(folder, "flags.json"), Path(folder, "config.yaml")
        flags.write_bytes(workload.flags_json(FLAGS))
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
  dataDir: {folder}/data
  answerCache: {{maxBytes: {kept_bytes}}}
  assignment: {{eventUploadPeriodMillis: 1000}}
  log: {{level: WARNING}}
"""
        )
        here = [sys.executable, "-u"]
        stack.enter_context(
            running(load_core, *here, "-m", "bench.upstream", str(upstream_port), str(flags))
        )
        pid = stack.enter_context(
            running(server_core, *here, "-m", "proxy", "serve", "--config", str(config))
        )
        operators = f"http://127.0.0.1:{operators_port}"
        wait_for(operators + "/readyz")
        firsts = itertools.count(5_000_000, 5_000_000)

        def micros(case: str) -> float:
            """Ask for a second; return processor microseconds per request, events included."""
            is_new = "new" in case
            script = Path(folder, "load.lua")
            script.write_text(
                WRK_SCRIPT
                % {
                    "key": KEY,
                    "track": "no-track" if "off" in case else "track",
                    "first": next(firsts) if is_new else 0,
                    "users": 100_000_000 if is_new else 10_000,
                }
            )
            began = processor_seconds(pid)
            answers = ask(load_core, f"http://127.0.0.1:{proxy_port}", script)
            wait_until_sent(operators)
            return (processor_seconds(pid) - began) / answers * 1e6

        for case in ["repeated"] * WARMING:
            micros(case)  # all is warm, and the 10,000 are known
        spent: dict[str, list[float]] = {case: [] for case in CASES}
        for pair in (["off", "repeated"], ["new-off", "new"]):
            for number in range(ROUNDS):
                for case in pair[:: 1 if number % 2 else -1]:
                    spent[case].append(micros(case))
    return report(spent, kept_bytes, floor)


def report(spent: dict[str, list[float]], kept_bytes: int, floor: float) -> int:
    kept = f"{kept_bytes >> 20} MiB of answers kept" if kept_bytes else "no answers kept"
    print(f"whole server, one core, {FLAGS} flags, events on disk, {kept}; medians")
    share = {}
    for case, words in CASES.items():
        # Rounds alternate: what disturbs one disturbs its neighbours too.
        pairs = list(zip(spent[case], spent[YARDSTICKS[case]], strict=True))
        share[case] = statistics.median(off / one for one, off in pairs)
        more = statistics.median(one - off for one, off in pairs)
        median = statistics.median(spent[case])
        print(f"  {words:34}{median:6.1f} us/request  +{more:4.1f}  throughput {share[case]:5.2f}")
    return 0 if share["repeated"] >= floor else 1


if __name__ == "__main__":
    raise SystemExit(main())
