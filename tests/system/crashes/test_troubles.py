"""Whatever upstream does while proxies are killed, all arrives that it does not call wrong."""

import random
from pathlib import Path

import pytest

from tests.system.crashes.rig import KINDS, Rig

pytestmark = pytest.mark.system
MOODS = (
    *("down", "throttling", "small", "failing", "silent", "cutting", "choking", "deaf"),
    *("babbling", "captive", "mixed", "mixed"),
)


@pytest.mark.parametrize(("seed", "cursed"), [(4, 99), (5, 0), (6, 0)])
def test_kills_while_upstream_is_in_trouble_lose_nothing(
    seed: int, cursed: int, tmp_path: Path
) -> None:
    rig = Rig(tmp_path, seed, KINDS, one_in=50, cursed=cursed)
    moods = random.Random(seed).sample(MOODS, len(MOODS))
    with rig.opened():
        with rig.load.running():
            for mood in moods:
                rig.upstream.become(mood)
                rig.live_a_while(longest=0.7)
        rig.end_well()
        rig.check_events()
        assert rig.upstream.diary.named
