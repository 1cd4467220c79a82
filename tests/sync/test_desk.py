from tests.sync.rig import KEY, Rig


async def test_a_desk_shows_no_key(rig: Rig) -> None:
    desk = rig.desk()

    assert desk.journal.label == "alpha"
    assert KEY not in repr(vars(desk))
