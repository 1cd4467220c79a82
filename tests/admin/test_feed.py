"""Changes of flags, as they happen on the board."""

import asyncio
import io
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import msgspec
import pytest

from proxy import tasks
from proxy.admin.feed import MOST_AT_ONCE, MOST_KEPT, Feed
from proxy.evaluation.deployment import compile_deployment
from proxy.snapshots.board import Board
from proxy.snapshots.snapshot import Deployment, Snapshot, Source
from tests import builders
from tests.admin.port import Port, port
from tests.builders import KEY, flag, segment

OTHER = "client-other-key"


class Watched:
    """A board that is watched, and the port that tells of it."""

    def __init__(self, board: Board, served: Port) -> None:
        self.board = board
        self.served = served

    def publish(
        self, *flags: dict[str, Any], key: str = KEY, source: Source = "poll", at: float = 1.0
    ) -> None:
        slot = self.board.find(key)
        assert slot is not None
        compiled = compile_deployment(msgspec.json.encode(flags))
        self.board.publish(
            key,
            Snapshot(deployment=slot.deployment, compiled=compiled, source=source, changed_at=at),
        )

    async def told(self, query: str = "") -> list[dict[str, Any]]:
        status, body = await self.served.get(f"/status/changes{query}")
        assert status == 200
        changes: list[dict[str, Any]] = body["changes"]
        return changes

    async def seen(self) -> list[dict[str, Any]]:
        """Come back when the watch, which waits for nothing but its turn, has had it."""
        return await self.told()

    async def wait_for(self, holds: Callable[[list[dict[str, Any]]], bool]) -> list[dict[str, Any]]:
        async with asyncio.timeout(60):
            while not holds(told := await self.told()):
                await asyncio.sleep(0.001)
        return told


def newest_is(at: float, told: list[dict[str, Any]]) -> bool:
    return told != [] and told[0]["at"] == at


def other() -> Deployment:
    return builders.deployment(OTHER, label="other")


@asynccontextmanager
async def watched() -> AsyncIterator[Watched]:
    board = Board()
    board.authorise(builders.deployment())
    board.authorise(other())
    feed = Feed(board)
    watching = tasks.start("changes", feed.watch())
    try:
        async with port({"/status/changes": {"GET": feed.answer}}) as served:
            yield Watched(board, served)
    finally:
        await tasks.stop(watching)


async def test_the_first_flags_are_no_change_and_those_after_the_disk_are(
    log_lines: io.StringIO,
) -> None:
    async with watched() as on:
        on.publish(flag("a"), source="disk", at=1.0)
        assert await on.seen() == []
        on.publish(flag("a", segment("off"), flagVersion=2), source="stream", at=2.0)
        (change,) = await on.wait_for(bool)

    (line,) = map(json.loads, log_lines.getvalue().splitlines())
    assert (line["event"], line["flags"], line["more"]) == ("flags changed", ["a"], 0)
    assert change == {
        "at": 2.0,
        "deployment": "test",
        "source": "stream",
        "flag": "a",
        "kind": "changed",
        "from_version": 1,
        "to_version": 2,
        "what": [
            "turned off",
            "segment added: “segment 1”",
            "segment removed: “All Other Users”",
        ],
    }


async def test_the_newest_comes_first_and_a_deployment_may_be_asked_for() -> None:
    async with watched() as on:
        for at, key in ((1.0, KEY), (2.0, OTHER)):
            on.publish(flag("a"), key=key, at=at)
            await on.seen()
            on.publish(flag("a"), flag("b"), key=key, at=at + 10)
            await on.wait_for(partial(newest_is, at + 10))

        assert [one["at"] for one in await on.told()] == [12.0, 11.0]
        assert [one["at"] for one in await on.told("?limit=1")] == [12.0]
        assert [one["at"] for one in await on.told("?deployment=test")] == [11.0]
        label = other().key.label
        assert [one["at"] for one in await on.told(f"?deployment={label}")] == [12.0]


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("?limit=0", 400),
        ("?limit=-1", 400),
        ("?limit=1e3", 400),
        ("?limit=9999999999", 400),
        ("?limit=99999", 200),
        ("?limit=%D9%A3", 400),
        ("?deployment=", 400),
        ("?deployment=%FF", 400),
        ("?deployment=nobody", 404),
        (f"?deployment={KEY}", 404),
        ("?" + "&".join(f"a{n}=1" for n in range(17)), 400),
    ],
)
async def test_odd_queries_are_refused_with_a_reason(query: str, status: int) -> None:
    async with watched() as on:
        code, body = await on.served.get(f"/status/changes{query}")

    assert code == status
    if status != 200:
        assert body["code"] == status
        assert body["error"]
    if "nobody" in query:
        assert body["deployments"] == ["test", "other"]


async def test_what_is_kept_is_bounded_and_says_so() -> None:
    async with watched() as on:
        on.publish(*(flag(str(number)) for number in range(MOST_AT_ONCE + 50)))
        for turn in range(MOST_KEPT // MOST_AT_ONCE + 1):
            version = turn + 2
            every = (flag(str(n), flagVersion=version) for n in range(MOST_AT_ONCE + 50))
            await on.seen()
            on.publish(*every, at=float(version))
            told = await on.wait_for(partial(newest_is, float(version)))
            assert told[0]["flag"] == ""
            assert told[0]["what"] == ["50 more flags changed at the same time"]

        assert len(await on.told()) == MOST_KEPT


async def test_a_deployment_that_comes_back_begins_anew() -> None:
    async with watched() as on:
        on.publish(flag("a"))
        await on.seen()
        on.board.revoke(KEY)
        await on.seen()
        on.board.authorise(builders.deployment())
        on.publish(flag("b"))
        await on.seen()
        on.publish(flag("b"), flag("c"))
        told = await on.wait_for(bool)

    assert [one["flag"] for one in told] == ["c"]
