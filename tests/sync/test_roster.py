import asyncio

from proxy import tasks
from proxy.secret import Secret
from proxy.snapshots.snapshot import Deployment
from tests.fakes.upstream import answer, hang
from tests.sync.rig import FLAGS, KEY, Rig, array, flag, wait_until


def deployment(key: str = KEY, label: str = "alpha") -> Deployment:
    return Deployment(key=Secret(key), label=label, project="p", project_index=0, type="server")


async def test_a_deployment_is_authorised_at_once_and_synced_once_started(rig: Rig) -> None:
    rig.up.on("GET", FLAGS, answer(200, array(flag())))
    roster = rig.roster()
    roster.add(deployment(), fixed=True)
    assert rig.board.find(KEY) is not None
    assert roster.held[Secret(KEY)].fixed

    roster.start()
    roster.add(deployment("server-b", "beta"))
    await wait_until(lambda: rig.variant() and rig.variant("server-b"))
    await roster.stop()

    assert rig.variant() == "on"
    assert len(roster.loops()) == 2


async def test_who_is_removed_is_refused_at_once_and_leaves_nothing_behind(rig: Rig) -> None:
    rig.up.on("GET", FLAGS, answer(200, array(flag())), hang())
    roster = rig.roster()
    roster.start()
    roster.add(deployment())
    await rig.up.received(2, FLAGS)
    assert rig.series("alpha") != []

    await roster.remove(Secret(KEY))

    assert rig.board.find(KEY) is None
    assert rig.series("alpha") == []
    assert not roster.held
    assert roster.loops() == []
    await roster.stop()


async def test_who_is_being_removed_keeps_the_label_until_its_series_are_gone(rig: Rig) -> None:
    rig.up.on("GET", FLAGS, answer(200, array(flag())), hang())
    roster = rig.roster()
    roster.start()
    roster.add(deployment())
    await rig.up.received(2, FLAGS)

    removals = [tasks.start("removal", roster.remove(Secret(KEY))) for _ in range(2)]
    while not all(one.done() for one in removals):
        # Whoever is added meanwhile sees by it that the label is taken.
        assert rig.series("alpha") == [] or Secret(KEY) in roster.held
        await asyncio.sleep(0)

    assert rig.series("alpha") == []
    assert not roster.held
    assert rig.board.find(KEY) is None
    await roster.stop()


async def test_who_never_started_can_be_removed(rig: Rig) -> None:
    roster = rig.roster()
    roster.add(deployment())
    await roster.remove(Secret(KEY))
    assert rig.board.find(KEY) is None


async def test_a_new_label_shows_everywhere(rig: Rig) -> None:
    rig.up.on("GET", FLAGS, answer(200, array(flag())))
    roster = rig.roster()
    roster.start()
    roster.add(deployment())
    await wait_until(rig.variant)

    roster.describe(deployment(label="beta"))

    assert rig.variant() == "on"
    assert rig.series("alpha") == []
    assert rig.series("beta") != []
    [loop] = roster.loops()
    assert loop.status()["deployment"] == loop.desk.journal.label == "beta"
    await roster.stop()
