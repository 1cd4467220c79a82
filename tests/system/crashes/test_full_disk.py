"""While the disk is full, events wait in memory; what was on it before a kill is not lost."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.system.crashes.rig import KINDS, Rig

pytestmark = [pytest.mark.system, pytest.mark.needs("mount")]
MOST_IN_MEMORY = 4 * 1_048_576


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A disk of eight MiB; not below pytest's directories: other runs clean up."""
    with TemporaryDirectory() as name:
        mount = ("mount", "-t", "tmpfs", "-o", "size=8m,mode=0700", "small", name)
        if subprocess.run(mount, check=False, capture_output=True).returncode:
            pytest.skip("needs mount (as root)")
        yield Path(name)
        subprocess.run(("umount", "--lazy", name), check=True)


def fill(path: Path) -> None:
    """Leave no room; what grows meanwhile finds none."""
    with path.open("ab", buffering=0) as file:
        try:
            while file.write(b"x" * 4096):
                pass
        except OSError:
            pass


def wait_until_it_is(rig: Rig, place: str) -> None:
    rig.wait_for(lambda: rig.status()["spool"]["place"] == place, f"spool in {place}")


def test_a_disk_that_is_full_for_a_while_costs_nothing(small_disk: Path, tmp_path: Path) -> None:
    assignment = {"eventUploadPeriodMillis": 60, "maxPendingBytes": MOST_IN_MEMORY}
    rig = Rig(tmp_path, 7, KINDS, data=small_disk / "data", assignment=assignment)
    filler = small_disk / "filler"
    with rig.opened():
        rig.upstream.become("down")
        rig.start()
        rig.wait_until_ready()
        with rig.load.running():
            rig.wait_for_more(100)
            fill(filler)
            wait_until_it_is(rig, "memory")
            rig.wait_for_more(300)
            one = rig.check_books()
            assert 0 < one["in_memory"] <= one["pending"]
            assert one["pending_bytes"] <= MOST_IN_MEMORY
            # It is sent from where it is.
            rig.upstream.become("well")
            rig.wait_for(lambda: rig.upstream.diary.taken, "events sent")
            rig.upstream.become("down")
            rig.wait_for_more(300)
        filler.unlink()
        wait_until_it_is(rig, "disk")
        rig.wait_until_all_is_on_disk()
        one = rig.check_books()
        assert one["counts"]["dropped"] == {}
        rig.kill()
        rig.end_well()
        rig.check_events(window=0.0)


def test_a_kill_while_the_disk_is_full_costs_only_what_was_never_on_it(
    small_disk: Path, tmp_path: Path
) -> None:
    rig = Rig(tmp_path, 8, data=small_disk / "data")
    filler = small_disk / "filler"
    with rig.opened():
        rig.upstream.become("down")
        rig.start()
        with rig.load.running():
            rig.wait_for_more(200)
        early = len(rig.load.promises)
        rig.wait_until_all_is_on_disk()
        fill(filler)
        with rig.load.running():
            wait_until_it_is(rig, "memory")
            rig.wait_for_more(200)
            rig.kill()
        # A life on the full disk sends what it finds, though it can write nothing down.
        rig.upstream.become("well")
        rig.start()
        rig.wait_until_ready()
        rig.drain()
        taken = rig.upstream.diary.taken
        assert all(taken[promise.name] for promise in rig.load.promises[:early])
        filler.unlink()
        wait_until_it_is(rig, "disk")
        rig.stop()
        rig.check_events(window=float("inf"))
