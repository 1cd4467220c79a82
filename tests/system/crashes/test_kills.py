"""Whatever moment a proxy is killed at, what it answered for arrives, once for Amplitude."""

from pathlib import Path

import pytest

from tests.system.crashes.rig import KINDS, Rig

pytestmark = pytest.mark.system


@pytest.mark.parametrize("seed", [1, 2])
def test_kills_at_random_moments_lose_nothing_that_was_committed(seed: int, tmp_path: Path) -> None:
    rig = Rig(tmp_path, seed, KINDS)
    with rig.opened():
        with rig.load.running():
            for number in range(15):
                rig.upstream.become("slow" if number % 2 else "well")
                rig.live_a_while()
        rig.end_well()
        rig.check_events()


def test_whoever_commits_before_he_answers_loses_nothing_at_all(tmp_path: Path) -> None:
    rig = Rig(tmp_path, 3, KINDS, events={"commitMillis": 0})
    rig.load.safe = True
    with rig.opened():
        with rig.load.running():
            for number in range(10):
                rig.upstream.become("slow" if number % 2 else "well")
                rig.live_a_while()
        rig.end_well()
        rig.check_events()
        assert rig.lost() == []
