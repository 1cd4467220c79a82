"""Where there is no room for cohorts: they come into use all the same, and into the directory."""

import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.fakes.upstream import answer, by_request
from tests.store.conftest import missing, run
from tests.sync.cohort_rig import CohortRig, cohort, rigged, targets, wait_until

C = targets("c")
MANY = [f"member-{number}" for number in range(60_000)]


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A disk with room for flags, and not for a cohort."""
    with TemporaryDirectory() as name:
        if not run("mount", "-t", "tmpfs", "-o", "size=256k,mode=0700", "small", name):
            missing("needs mount (as root)")
        yield Path(name)
        assert run("umount", "-l", name)


def serve(rig: CohortRig, members: list[str], version: int) -> None:
    """Serve a version to whoever does not hold it."""
    whole, unchanged = cohort(members, version), answer(204)

    rig.on(
        by_request(
            lambda ask: unchanged if ask.query.get("lastModified") == str(version) else whole
        )
    )


@pytest.fixture
async def rig(small_disk: Path, tmp_path: Path) -> AsyncIterator[CohortRig]:
    async with rigged(small_disk / "data", tmp_path) as one:
        yield one


async def test_a_full_data_directory_keeps_no_cohort_from_use(
    rig: CohortRig, small_disk: Path
) -> None:
    rig.max_size = len(MANY)
    serve(rig, MANY, 5)
    async with rig.wanting() as loop:
        await loop.settled(C)
        assert rig.holds("member-7")
        assert rig.packed_is_there()
        await wait_until(lambda: rig.store.trouble == "the disk is full")

        assert run("mount", "-o", "remount,size=64m", str(small_disk))
        await wait_until(lambda: not rig.store.trouble, seconds=30)
    kept = {path.stat().st_size for path in (small_disk / "data" / "files").iterdir()}
    assert len(kept) == 2
    assert max(kept) > 900_000


async def test_a_data_directory_that_vanishes_is_made_again_for_the_next_cohort(
    tmp_path: Path,
) -> None:
    data = tmp_path / "data"
    async with rigged(data, tmp_path, soft=3600) as rig:
        serve(rig, ["ann"], 5)
        async with rig.wanting() as loop:
            await loop.settled(C)
            await rig.store.commit()
            shutil.rmtree(data)
            serve(rig, ["eve"], 6)
            await wait_until(lambda: rig.holds("eve"))
            await wait_until((data / "manifest.json").exists)
            await rig.store.commit()
    async with rigged(data, tmp_path) as rig:
        again = rig.loop()
        await again.restore()
        assert rig.holds("eve")


async def test_a_workspace_that_vanishes_is_made_again(tmp_path: Path) -> None:
    async with rigged(None, tmp_path, soft=3600) as rig:
        serve(rig, ["ann"], 5)
        async with rig.wanting() as loop:
            await loop.settled(C)
            assert rig.store.workspace is not None
            shutil.rmtree(rig.store.workspace)
            serve(rig, ["eve"], 6)
            await wait_until(lambda: rig.holds("eve"))
            assert rig.packed_is_there()
