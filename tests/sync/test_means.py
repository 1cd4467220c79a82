import resource

import pytest

from proxy.sync.means import seats_for
from tests.sync.rig import Rig


async def test_chance_is_each_loops_own_and_repeatable(rig: Rig) -> None:
    means = rig.means()
    draws = {name: means.draw(name)() for name in "abc"}

    assert len(set(draws.values())) == 3
    assert {name: rig.means().draw(name)() for name in "abc"} == draws


@pytest.mark.parametrize(
    ("files", "free"), [(2, False), (3, False), (4, True), (resource.RLIM_INFINITY, True)]
)
async def test_half_of_the_files_that_may_be_open_are_for_streams(
    monkeypatch: pytest.MonkeyPatch, files: int, free: bool
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (files, files))
    seats = seats_for(None)

    await seats.acquire()

    assert seats.locked() is not free
