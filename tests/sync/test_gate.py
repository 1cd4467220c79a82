import asyncio

import pytest

from proxy.sync.gate import Gate


@pytest.mark.looptime
async def test_so_many_are_let_in_at_a_time() -> None:
    gate = Gate(3)
    inside: list[int] = []
    most = 0

    async def visit(number: int) -> None:
        nonlocal most
        async with gate.turn():
            inside.append(number)
            most = max(most, len(inside))
            await asyncio.sleep(1)
            inside.remove(number)

    async with asyncio.TaskGroup() as group:
        for number in range(10):
            group.create_task(visit(number))

    assert most == 3
    assert asyncio.get_running_loop().time() == 4


@pytest.mark.looptime
async def test_who_stays_too_long_blocks_nobody() -> None:
    gate = Gate(1, longest_hold=5)
    came: list[float] = []

    async def visit(seconds: float) -> None:
        async with gate.turn():
            came.append(asyncio.get_running_loop().time())
            await asyncio.sleep(seconds)

    async with asyncio.TaskGroup() as group:
        for seconds in (100, 1, 1):
            group.create_task(visit(seconds))

    assert came == [0, 5, 6]


@pytest.mark.looptime
async def test_a_visit_that_fails_or_is_cancelled_gives_its_turn_back() -> None:
    gate = Gate(1)

    async def visit() -> None:
        async with gate.turn():
            await asyncio.sleep(1)
            raise ValueError("failed")

    cancelled = asyncio.get_running_loop().create_task(visit())
    await asyncio.sleep(0)
    cancelled.cancel()
    for _ in range(3):
        with pytest.raises(ValueError, match="failed"):
            await visit()
    assert asyncio.get_running_loop().time() == 3
