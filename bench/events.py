"""What reporting costs: requests per second of the whole server, tracking on and off, in one run.

Two questions. With 10,000 users who come again and again, their events are filtered: nothing
should be measurable. With users who are all new, each request makes an event that is encoded,
written to disk, posted and deleted; a pinned core does all of it. Rounds alternate.
"""

import contextlib
import os
import shutil
import statistics
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import msgspec

from bench import workload
from bench.server import KEY, drive, free_port, running, wait_for

ROUNDS = 5
FLAGS = 20
FLOOR = 0.75  # of the throughput with tracking off, when users repeat
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


def main() -> int:
    for tool in ("wrk", "taskset"):
        if not shutil.which(tool):
            print(f"bench/events.py needs {tool} (Debian: apt-get install wrk util-linux)")
            return 2
    cores = sorted(os.sched_getaffinity(0))
    server_core, load_core = cores[0], cores[-1]
    proxy_port, operators_port, upstream_port = (free_port() for _ in range(3))
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        flags = Path(folder, "flags.json")
        flags.write_bytes(workload.flags_json(FLAGS))
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
  dataDir: {folder}/data
  assignment: {{eventUploadPeriodMillis: 1000}}
  log: {{level: WARNING}}
"""
        )
        here = [sys.executable, "-u"]
        stack.enter_context(
            running(load_core, *here, "-m", "bench.upstream", str(upstream_port), str(flags))
        )
        stack.enter_context(
            running(server_core, *here, "-m", "proxy", "serve", "--config", str(config))
        )
        wait_for(f"http://127.0.0.1:{operators_port}/readyz")
        url = f"http://127.0.0.1:{proxy_port}"
        rates: dict[str, list[float]] = {"off": [], "repeated": [], "new": []}
        first = 0
        for _ in range(ROUNDS):
            for case, found in rates.items():
                users = 10_000 if case != "new" else 100_000_000
                script = Path(folder, "load.lua")
                script.write_text(
                    WRK_SCRIPT
                    % {
                        "key": KEY,
                        "track": "no-track" if case == "off" else "track",
                        "first": 0 if case != "new" else (first := first + 5_000_000),
                        "users": users,
                    }
                )
                wait_until_sent(f"http://127.0.0.1:{operators_port}")
                found.append(drive(load_core, url, script)[0])
    print(f"whole server, one core, {FLAGS} flags, events on disk, 32 connections")
    ratio = {}
    for case, words in (
        ("off", "tracking off"),
        ("repeated", "on, 10,000 users again and again"),
        ("new", "on, every request a new user"),
    ):
        # Rounds alternate: what disturbs one disturbs its neighbours too.
        pairs = zip(rates[case], rates["off"], strict=True)
        ratio[case] = statistics.median(rate / off for rate, off in pairs)
        median = statistics.median(rates[case])
        print(f"  {words:34}{median:10,.0f} requests/s  {ratio[case]:6.2f}")
    return 0 if ratio["repeated"] >= FLOOR else 1


if __name__ == "__main__":
    raise SystemExit(main())
