from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from proxy import tasks
from proxy.secret import Secret
from proxy.sync.deployments import DeploymentsLoop
from proxy.sync.means import Means
from proxy.sync.plan import Owner
from proxy.upstream.deployments import PATH
from tests.fakes.upstream import Step, answer, cut, json_answer, truncated
from tests.sync.rig import KEY, Rig, wait_until

MANAGEMENT = "management-key"


class Listed:
    """A deployments loop under test and what it knows."""

    def __init__(self, rig: Rig, means: Means) -> None:
        self.times_known = 0
        self.roster = rig.roster(means)
        owner = Owner(label="project", index=0, record="project-record")
        self.loop = DeploymentsLoop(owner, Secret(MANAGEMENT), self.roster, means, self._on_known)

    def _on_known(self) -> None:
        self.times_known += 1

    @property
    def outcomes(self) -> list[str]:
        return [entry["outcome"] for entry in self.loop.status()["last_outcomes"][::-1]]


@asynccontextmanager
async def listing(rig: Rig, means: Means | None = None) -> AsyncIterator[Listed]:
    listed = Listed(rig, means or rig.means())
    running = tasks.start("deployments", listed.loop.run())
    try:
        yield listed
    finally:
        await tasks.stop(running)
        await listed.roster.stop()


def rows(*keys: str, **changes: Any) -> Step:
    return json_answer(
        {
            "deployments": [
                {"id": "1", "projectId": "42", "label": f"label {key}", "key": key} | changes
                for key in keys
            ]
        }
    )


async def test_a_failing_start_is_followed_by_an_empty_list_and_then_by_a_deployment(
    rig: Rig,
) -> None:
    rig.up.on("GET", PATH, answer(500), rows(), rows(KEY))
    async with listing(rig) as listed:
        await wait_until(lambda: rig.board.find(KEY))
        await wait_until(lambda: "unchanged" in listed.outcomes)

        assert listed.outcomes[:3] == ["unavailable", "unchanged", "changed"]
        assert listed.times_known == 1
        assert listed.loop.ready() == ("project", True, "")
    assert rig.up.requests[0].headers["Authorization"] == f"Bearer {MANAGEMENT}"
    assert rig.metric("deployments_fetch_total") == len(rig.up.requests)
    assert rig.metric("deployments_fetch_failure_total") == 1


async def test_a_deleted_deployment_is_refused_after_two_listings(rig: Rig) -> None:
    rig.up.on("GET", PATH, rows(KEY, "server-b"), rows("server-b"), rows("server-b"))
    with capture_logs() as lines:
        async with listing(rig) as listed:
            await wait_until(lambda: rig.board.find(KEY))
            await wait_until(lambda: rig.board.find(KEY) is None)

            assert listed.outcomes[:2] == ["changed", "unconfirmed"]
            assert len(rig.up.requests) <= 4
            assert rig.board.find("server-b") is not None
    told = [(line["event"], line.get("deployment")) for line in lines]
    assert ("deployment went", f"label {KEY}") not in told  # a label never holds the key
    assert ("deployment went", Secret(KEY).label) in told


BAD = {
    "500": answer(500, b'{"deployments":[]}'),
    "401": answer(401, b'{"deployments":[]}'),
    "403": answer(403, b'{"deployments":[]}'),
    "429": answer(429, b"", Retry_After="0"),
    "cut": cut(),
    "truncated": truncated(b'{"deployments":[]}'),
    "truncated JSON": answer(200, b'{"deployments":['),
    "HTML": answer(200, b"<html></html>"),
    "null": answer(200, b"null"),
    "empty": answer(200, b""),
    "another form": answer(200, b"[]"),
    "garbled rows": json_answer({"deployments": [{"key": 7}, None]}),
    "other project": rows("server-x", projectId="43"),
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
async def test_nothing_bad_removes_a_deployment(rig: Rig, bad: Step) -> None:
    rig.up.on("GET", PATH, rows(KEY), bad, bad, bad, bad, rows(KEY, "server-b"))
    async with listing(rig):
        await wait_until(lambda: rig.board.find(KEY))
        slot = rig.board.find(KEY)
        await wait_until(lambda: rig.board.find("server-b"))

        assert rig.board.find(KEY) is slot
        assert rig.board.find("server-x") is None


async def test_what_is_passed_over_is_told_once(rig: Rig) -> None:
    rig.up.on("GET", PATH, json_answer({"deployments": [{"key": KEY}, {"key": 7}]}))
    with capture_logs() as lines:
        async with listing(rig) as listed:
            await rig.up.received(4, PATH)

    assert listed.loop.status()["passed_over"] == ["row 1: no usable key"]
    told = [line for line in lines if line["event"] == "deployments list passed over"]
    assert [line["what"] for line in told] == ["row 1: no usable key"]


async def test_a_new_label_is_taken_over(rig: Rig) -> None:
    rig.up.on("GET", PATH, rows(KEY, label="one"), rows(KEY, label="two"))
    async with listing(rig):
        await wait_until(lambda: rig.slot_label() == "one")
        await wait_until(lambda: rig.slot_label() == "two")


async def test_before_the_first_list_the_loop_is_not_ready(rig: Rig) -> None:
    rig.up.on("GET", PATH, answer(403))
    async with listing(rig) as listed:
        assert listed.loop.ready() == (
            "project",
            False,
            "no deployments list yet: not asked yet",
        )
        await rig.up.received(2, PATH)

        assert listed.loop.ready() == (
            "project",
            False,
            "no deployments list yet: deployments: answered 403: upstream does not take this key",
        )
        status = msgspec.json.encode(listed.loop.status())
        assert MANAGEMENT.encode() not in status
        assert listed.times_known == 0


async def test_an_unexpected_error_is_told_and_the_loop_starts_again(rig: Rig) -> None:
    """Our own code fails once: the clock breaks when the first listing is noted."""
    failures = [ZeroDivisionError()]

    def clock() -> float:
        if failures:
            raise failures.pop()
        return rig.now

    rig.up.on("GET", PATH, rows(KEY))
    async with listing(rig, msgspec.structs.replace(rig.means(), clock=clock)) as listed:
        await wait_until(lambda: listed.loop.deaths)
        assert "ZeroDivisionError" in listed.loop.ready()[2]
        await wait_until(lambda: "unchanged" in listed.outcomes)

        assert listed.loop.ready() == ("project", True, "")
        assert listed.loop.status()["loop_deaths"] == 1
    assert rig.metric("loop_deaths_total", loop="deployments") == 1
