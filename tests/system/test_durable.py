"""With no commit window at all, what was answered is safe."""

import signal
from pathlib import Path
from typing import Any

import pytest

from proxy.sandbox.server import SERVER_KEY
from tests.system.programs import Pair, call, wait_for

pytestmark = pytest.mark.system

FLAGS = "flags: {a: {serve: on}}\n"


class Careful(Pair):
    """A proxy whose answers wait for the disk."""

    def config(self) -> dict[str, Any]:
        config = super().config()
        config["configuration"] |= {
            "dataDir": str(self.directory / "data"),
            "events": {"commitMillis": 0},
        }
        return config


def test_what_was_answered_outlives_a_kill_in_the_same_moment(tmp_path: Path) -> None:
    pair = Careful(tmp_path, FLAGS)
    headers = {"Authorization": f"Api-Key {SERVER_KEY}", "X-Amp-Exp-Exposure-Track": "track"}
    users = {f"user-{number}" for number in range(3)}
    with pair.sandbox():
        for user in sorted(users):
            with pair.serve() as proxy:
                status, _ = call(f"{pair.proxy}/sdk/v2/vardata", {"user_id": user}, headers)
                assert proxy.stop(signal.SIGKILL) == -signal.SIGKILL
                assert status == 200

        def told(event_type: str) -> set[str]:
            return {one["user_id"] for one in pair.events() if one["event_type"] == event_type}

        with pair.serve():
            wait_for(lambda: told("[Experiment] Assignment") == users, "assignments")
            wait_for(lambda: told("[Experiment] Exposure") == users, "exposures")
