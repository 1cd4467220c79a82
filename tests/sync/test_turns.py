import asyncio
from collections.abc import Callable

import pytest

from proxy import tasks
from proxy.sync.turns import Turns


class Crowd:
    """Those who want a turn, and the order in which they had it."""

    def __init__(self, turns: Turns) -> None:
        self.turns = turns
        self.had: list[str] = []
        self.then: Callable[[], object] = lambda: None
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self._leave = {name: asyncio.Event() for name in "abcdef"}

    async def come(self, name: str, rank: int = 0) -> None:
        self.tasks[name] = tasks.start(name, self._wait(name, rank))
        await settle()

    async def leave(self, name: str) -> None:
        self._leave[name].set()
        await self.tasks.pop(name)
        await settle()

    async def give_up(self, name: str) -> None:
        await tasks.stop(self.tasks.pop(name))
        await settle()

    async def _wait(self, name: str, rank: int) -> None:
        async with self.turns.turn(rank):
            self.had.append(name)
            await self._leave[name].wait()
        self.then()


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_so_many_are_in_at_a_time() -> None:
    crowd = Crowd(Turns(2))
    for name in "abc":
        await crowd.come(name)

    assert crowd.had == ["a", "b"]
    await crowd.leave("a")
    assert crowd.had == ["a", "b", "c"]
    await crowd.leave("b")
    await crowd.come("d")
    assert crowd.had[-1] == "d"
    await tasks.stop(*crowd.tasks.values())


async def test_the_urgent_go_first_then_those_who_came_first() -> None:
    crowd = Crowd(Turns(1))
    await crowd.come("a")
    for name, rank in [("b", 1), ("c", 0), ("d", 1), ("e", 0)]:
        await crowd.come(name, rank)
    for name in "aceb":
        await crowd.leave(name)

    assert "".join(crowd.had) == "acebd"
    await crowd.leave("d")


async def test_who_gives_up_waiting_takes_no_turn() -> None:
    crowd = Crowd(Turns(1))
    for name in "abc":
        await crowd.come(name)
    await crowd.give_up("b")
    await crowd.leave("a")

    assert crowd.had == ["a", "c"]
    await crowd.leave("c")
    await crowd.come("d")
    assert crowd.had == ["a", "c", "d"]
    await crowd.leave("d")


async def test_who_gives_up_as_the_turn_comes_passes_it_on() -> None:
    crowd = Crowd(Turns(1))
    for name in "abc":
        await crowd.come(name)
    # The turn is b's already, but b has not run yet.
    crowd.then = crowd.tasks["b"].cancel
    await crowd.leave("a")

    assert crowd.had == ["a", "c"]
    await crowd.leave("c")


async def test_an_error_inside_gives_the_turn_back() -> None:
    turns = Turns(1)
    with pytest.raises(ZeroDivisionError):
        async with turns.turn(0):
            raise ZeroDivisionError
    async with asyncio.timeout(1), turns.turn(0):
        pass


@pytest.mark.looptime
async def test_who_stays_too_long_blocks_nobody() -> None:
    crowd = Crowd(Turns(1, longest_hold=600))
    for name in "abc":
        await crowd.come(name)
    await asyncio.sleep(599)
    assert crowd.had == ["a"]
    await asyncio.sleep(2)
    assert crowd.had == ["a", "b"]

    # What was given back is not given back again.
    await crowd.leave("a")
    assert crowd.had == ["a", "b"]
    await crowd.leave("b")
    assert crowd.had == ["a", "b", "c"]
    await crowd.leave("c")
