import asyncio

from proxy.evaluation.deployment import compile_deployment
from proxy.secret import Secret
from proxy.snapshots.board import Board
from proxy.snapshots.snapshot import Deployment, Snapshot

KEY = "server-a"


def deployment(key: str = KEY, label: str = "prod") -> Deployment:
    return Deployment(key=Secret(key), label=label, project="p", project_index=0, type="server")


def snapshot(at: float = 1.0) -> Snapshot:
    return Snapshot(
        deployment=deployment(),
        compiled=compile_deployment(b"[]"),
        source="poll",
        changed_at=at,
    )


def test_a_key_is_found_once_it_is_authorised() -> None:
    board = Board()
    assert board.find(KEY) is None

    slot = board.authorise(deployment())

    assert board.find(KEY) is slot
    assert (slot.snapshot, slot.confirmed_at) == (None, None)
    assert list(board.slots()) == [slot]


def test_a_revoked_key_is_not_found_and_takes_no_snapshot() -> None:
    board = Board()
    slot = board.authorise(deployment())
    board.revoke(KEY)
    board.revoke(KEY)

    assert board.find(KEY) is None
    assert board.publish(KEY, snapshot()) is False
    board.confirm(KEY, 2.0)
    assert (slot.snapshot, slot.confirmed_at) == (None, None)


def test_a_snapshot_is_in_force_in_one_step_and_confirmed_later() -> None:
    board = Board()
    slot = board.authorise(deployment())
    new = snapshot(at=5.0)

    assert board.publish(KEY, new) is True
    assert (slot.snapshot, slot.confirmed_at) == (new, 5.0)
    board.confirm(KEY, 9.0)
    assert (slot.snapshot, slot.confirmed_at) == (new, 9.0)


def test_a_snapshot_may_have_been_confirmed_at_another_time_than_it_changed() -> None:
    board = Board()
    slot = board.authorise(deployment())

    board.publish(KEY, snapshot(at=5.0), confirmed_at=7.0)

    assert slot.confirmed_at == 7.0


def test_a_deployment_may_change_its_label_and_keeps_its_flags() -> None:
    board = Board()
    slot = board.authorise(deployment())
    board.publish(KEY, snapshot())

    renamed = board.authorise(deployment(label="production"))

    assert renamed is slot
    assert slot.deployment.label == "production"
    assert slot.snapshot is not None
    assert slot.snapshot.deployment.label == "production"


async def test_whoever_waits_learns_of_each_change() -> None:
    board = Board()
    seen: list[int] = []

    async def watch() -> None:
        generation = board.generation
        while len(seen) < 3:
            generation = await board.changed(generation)
            seen.append(generation)

    async with asyncio.TaskGroup() as group, asyncio.timeout(5):
        group.create_task(watch())
        for change in (
            lambda: board.authorise(deployment()),
            lambda: board.publish(KEY, snapshot()),
            lambda: board.revoke(KEY),
        ):
            before = len(seen)
            await asyncio.sleep(0)
            change()
            board.confirm(KEY, 1.0)
            while len(seen) == before:
                await asyncio.sleep(0)

    assert seen == [1, 2, 3]


async def test_a_change_that_was_missed_is_told_at_once() -> None:
    board = Board()
    board.authorise(deployment())

    assert await board.changed(seen=0) == 1


async def test_without_a_generation_the_next_change_is_awaited() -> None:
    board = Board()
    board.authorise(deployment())
    waiting = asyncio.get_running_loop().create_task(board.changed())
    await asyncio.sleep(0)
    assert not waiting.done()

    board.revoke(KEY)

    assert await waiting == 2
