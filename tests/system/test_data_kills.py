"""The program, killed again and again while it writes to its data directory.

`KILLS=500 pytest tests/system/test_data_kills.py` tries for longer.
"""

import json
import os
import random
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from proxy.sandbox.server import SERVER_KEY
from tests.system.crashes.rig import wait_some
from tests.system.crashes.starter import Starter
from tests.system.programs import Pair, call, free_ports, get_json, wait_for

pytestmark = pytest.mark.system
KILLS = int(os.environ.get("KILLS", "6"))
KEY = {"Authorization": f"Api-Key {SERVER_KEY}"}
URLS = ("serverUrl", "cohortServerUrl", "managementServerUrl", "streamServerUrl")


def flags(number: int) -> str:
    """One state: of the members all but one are new, and so are all but one of the flags."""
    return f"""
flags:
  lasting: {{segments: [{{when: in cohort c, serve: on}}], rollout: 0%}}
  of-{number}: {{serve: on}}
cohorts:
  c: [always, only-{number}]
"""


@contextmanager
def editing(pair: Pair, chance: random.Random) -> Iterator[None]:
    """Change flags and cohort again as soon as upstream serves what they were changed to."""
    over = threading.Event()

    def edit() -> None:
        while not over.is_set():
            number = chance.randrange(10**6)
            new = pair.directory / "new.yaml"
            new.write_text(flags(number))
            new.replace(pair.flag_file)
            served = b""
            while f'"of-{number}"'.encode() not in served and not over.wait(0.02):
                _, served = call(f"{pair.upstream}/sdk/v2/flags", headers=KEY)

    thread = threading.Thread(target=edit)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


class Lives:
    """One data directory, and lives of the program on it, with upstream or cut off from it."""

    def __init__(self, pair: Pair, starter: Starter, chance: random.Random) -> None:
        self._pair = pair
        self._starter = starter
        self._chance = chance
        self._written: str | None = None
        [nowhere] = free_ports(1)
        whole = pair.config()
        whole["configuration"] |= {
            "dataDir": str(pair.directory / "data"),
            "flagSyncIntervalMillis": 1000,
            "cohortSyncIntervalMillis": 1000,
        }
        pair.config_file.write_text(json.dumps(whole))
        whole["configuration"] |= dict.fromkeys(URLS, f"http://127.0.0.1:{nowhere}")
        self._cut_off = pair.directory / "cut-off.json"
        self._cut_off.write_text(json.dumps(whole))

    def begin(self) -> None:
        """Live until all that upstream serves is kept; end in peace."""
        self._starter.start("serve", "--config", str(self._pair.config_file))
        self._wait_for(lambda: call(f"{self._pair.operators}/readyz")[0] == 200, "ready proxy")
        assert self._starter.stop() == 0

    def be_killed(self) -> None:
        """Be killed at a moment by chance, while starting or when there is something to write."""
        self._starter.start("serve", "--config", str(self._pair.config_file))
        if self._chance.random() < 0.8:
            self._wait_for(lambda: self._of() not in {self._written, None}, "newer flags")
        wait_some(self._chance.uniform(0.0, 0.8))
        assert self._starter.stop(signal.SIGKILL) == -signal.SIGKILL

    def start_again(self) -> None:
        """Live without upstream: whole flags with whole cohorts, and no word of damage."""
        self._starter.start("serve", "--config", str(self._cut_off))
        self._wait_for(self._of, "answer")
        self._written = self._of()
        assert self._pair.variants({"user_id": "always"})["lasting"]["key"] == "on"
        assert self._pair.variants({"user_id": "nobody"})["lasting"]["key"] == "off"
        status = get_json(f"{self._pair.operators}/status")
        assert (status["store"]["damaged"], status["store"]["trouble"]) == (0, "")
        assert {one["source"] for one in status["deployments"]} == {"disk"}
        assert all(one["cohorts_missing"] == {} for one in status["deployments"])
        assert self._starter.stop(signal.SIGKILL) == -signal.SIGKILL

    def _of(self) -> str | None:
        """Return the flag of the state that is in force, None without an answer."""
        url = f"{self._pair.proxy}/sdk/v2/vardata"
        status, body = call(url, {"user_id": "always"}, KEY)
        if status != 200:
            return None
        [of] = json.loads(body).keys() - {"lasting"}
        return str(of)

    def _wait_for(self, look: Callable[[], object], what: str) -> None:
        def arrived() -> object:
            assert self._starter.is_alive(), f"it ended:\n{self._starter.said()}"
            return look()

        wait_for(arrived, what)


def test_whenever_it_is_killed_it_starts_again_without_upstream(tmp_path: Path) -> None:
    chance = random.Random(KILLS)
    pair = Pair(tmp_path, flags(0))
    with closing(Starter(tmp_path)) as starter, pair.sandbox():
        lives = Lives(pair, starter, chance)
        lives.begin()
        for _ in range(KILLS):
            with editing(pair, chance):
                lives.be_killed()
            lives.start_again()
