from proxy.sync.means import Desk
from tests.sync.rig import KEY, Rig


async def test_chance_is_each_loops_own_and_repeatable(rig: Rig) -> None:
    means = rig.means()
    draws = {name: means.draw(name)() for name in "abc"}

    assert len(set(draws.values())) == 3
    assert {name: rig.means().draw(name)() for name in "abc"} == draws


async def test_a_desk_shows_no_key(rig: Rig) -> None:
    desk = Desk(rig.slot(), rig.means())

    assert desk.journal.label == "alpha"
    assert KEY not in repr(vars(desk))
