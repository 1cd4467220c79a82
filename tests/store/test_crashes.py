"""Whatever moment a process dies at, the next one finds the last complete state."""

import asyncio
import random
import shutil
import time
from pathlib import Path

from tests.store.conftest import Doer, wait_some
from tests.store.generations import Job, found_generation
from tests.store.rig import PATIENCE, failures, opened

KILLS = 100


def acknowledged(diary: Path) -> int:
    numbers = diary.read_bytes().split() if diary.exists() else []
    return int(numbers[-1]) if numbers else 0


def wait_for_news(diary: Path, known: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while acknowledged(diary) == known:
        assert time.monotonic() < deadline, "nothing was committed"
        wait_some(0.001)


def found(data: Path) -> int:
    """Return the generation that the next process finds; nothing of it may be damaged."""

    async def look() -> int:
        async with opened(data) as store:
            number = await found_generation(store)
            assert failures(store) == {}
            assert await store.commit() is True
            return number

    return asyncio.run(look())


def test_a_hundred_kills_at_random_moments(data: Path, doer: Doer) -> None:
    chance = random.Random(20260704)
    diary = data.parent / "diary"
    seen = [0]
    for number in range(KILLS):
        doer.start(Job(directory=str(data), diary=str(diary)))
        if number % 2:
            wait_for_news(diary, acknowledged(diary))
        wait_some(chance.uniform(0.0, 0.05))
        assert doer.kill() == -9
        known = max(acknowledged(diary), seen[-1])
        # The commit that was under way is there as a whole or not at all.
        seen.append(found(data))
        assert seen[-1] in {known, known + 1}
    assert seen[-1] >= KILLS / 2


def test_death_at_every_step_of_a_commit(tmp_path: Path, doer: Doer) -> None:
    begun, diary = tmp_path / "data", tmp_path / "diary"
    assert doer.do(Job(directory=str(begun), diary=str(diary), last=3)) == 0
    data, step, ended = begun, 0, 9
    while ended == 9:
        step += 1
        data, diary = tmp_path / f"data{step}", tmp_path / f"diary{step}"
        shutil.copytree(begun, data)
        diary.write_text("3\n")
        ended = doer.do(Job(directory=str(data), diary=str(diary), last=4, crash_at=step))
        known = acknowledged(diary)
        assert found(data) in {known, known + 1}
    assert ended == 0
    assert step > 30
    assert found(data) == 4


def test_death_at_every_step_of_the_first_start(tmp_path: Path, doer: Doer) -> None:
    step = 0
    ended = 9
    while ended == 9:
        step += 1
        data, diary = tmp_path / f"data{step}", tmp_path / f"diary{step}"
        ended = doer.do(Job(directory=str(data), diary=str(diary), last=1, crash_at=step))
        assert found(data) in {acknowledged(diary), 1}
    assert ended == 0
    assert step > 30
