"""What operators see of the whole proxy, over HTTP."""

import asyncio
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

from proxy.api.tally import OFFICIAL_OF_ROUTE
from proxy.run.operators import EVALUATION_ROUTES
from tests.builders import API_KEY, KEY, condition, flag, segment
from tests.fakes.upstream import FakeUpstream, json_answer
from tests.run.whole import BATCH, FLAGS, Running, pointed_at, running

SECRETS = (KEY, API_KEY, "test-secret", b64encode(f"{API_KEY}:test-secret".encode()).decode())
MEMBERS = {
    "cohortId": "c1",
    "groupType": "User",
    "lastModified": 7,
    "size": 1,
    "memberIds": ["alice"],
}
TARGETED = flag(
    "targeted",
    segment("on", condition(["context", "user", "cohort_ids"], "set contains any", "c1")),
    segment("off"),
)


async def wait_for_answer(proxy: Running, path: str, holds: Callable[[Any], bool] = bool) -> Any:
    """Ask until the answer is the one that is waited for."""
    async with asyncio.timeout(60):
        while not holds(found := await proxy.json_of(proxy.operators + path)):
            await asyncio.sleep(0.01)
    assert not any(secret in str(found) for secret in SECRETS)
    return found


async def label(proxy: Running) -> str:
    await proxy.wait_for(proxy.operators + "/readyz", 200)
    status = await proxy.json_of(proxy.operators + "/status")
    (deployment,) = status["deployments"]
    assert status["loops_down"] == []
    return str(deployment["deployment"])


async def explain(proxy: Running, deployment: str, user: Any) -> Any:
    asked = {"deployment": deployment, "user": user}
    async with proxy.session.post(proxy.operators + "/explain", json=asked) as answer:
        assert answer.status == 200
        text = await answer.text()
        assert not any(secret in text for secret in SECRETS)
        return await answer.json()


async def test_somebody_finds_out_why_a_user_gets_a_variant(upstream: FakeUpstream) -> None:
    upstream.on("GET", FLAGS, json_answer([TARGETED, {"key": "bad"}]))
    upstream.on("GET", "/sdk/v1/cohort/c1", json_answer(MEMBERS))
    async with running(pointed_at(upstream.url)) as proxy:
        name = await label(proxy)
        flags = await wait_for_answer(
            proxy, f"/status/flags?deployment={name}", lambda one: one["flags"]
        )
        alice = await explain(proxy, name, {"user_id": "alice", "cohort_ids": ["c2"]})
        bob = await explain(proxy, name, {"user_id": "bob", "cohort_ids": ["c1"]})
        async with proxy.session.get(proxy.operators + "/metrics") as answer:
            counted = await answer.text()

    (described,) = flags["flags"]
    assert (described["key"], described["cohorts"]) == ("targeted", ["c1"])
    assert described["segments"][0]["conditions"] == [["user is in any of the cohorts c1"]]
    (left_out,) = flags["left_out"]
    assert (left_out["key"], left_out["in_force"]) == ("bad", "nothing")
    assert (alice["user"]["cohort_ids"], bob["user"]["cohort_ids"]) == (["c1"], [])
    assert alice["variants"]["targeted"]["key"] == "on"
    (trace,) = bob["traces"]
    assert [step["matched"] for step in trace["steps"]] == [False, True]
    assert bob["left_out"].keys() == {"bad"}
    assert alice["disagrees"] == bob["disagrees"] == []
    # Nothing of it counts as an evaluation, and nothing is reported.
    assert "\namplitude_proxy_evaluation_total 0.0" in counted
    assert "\namplitude_proxy_assignment_total 0.0" in counted
    assert not [one for one in upstream.requests if one.path == BATCH]


async def test_what_changed_while_nobody_was_there_is_told_after_a_restart(
    upstream: FakeUpstream, tmp_path: Path
) -> None:
    settings = pointed_at(upstream.url, data_dir=str(tmp_path), flag_sync_interval_millis=100)
    upstream.on("GET", FLAGS, json_answer([flag("plain"), flag("goes")]))
    async with running(settings) as proxy:
        await label(proxy)
        assert await proxy.json_of(proxy.operators + "/status/changes") == {"changes": []}
    upstream.on("GET", FLAGS, json_answer([flag("plain", segment("off"), flagVersion=2)]))

    async with running(settings) as proxy:
        name = await label(proxy)
        found = await wait_for_answer(proxy, "/status/changes", lambda one: one["changes"])

    gone, changed = found["changes"]
    assert (gone["flag"], gone["kind"]) == ("goes", "removed")
    assert (changed["flag"], changed["kind"]) == ("plain", "changed")
    assert (changed["from_version"], changed["to_version"]) == (1, 2)
    assert "turned off" in changed["what"]
    assert changed["deployment"] == name


async def test_the_routes_that_evaluate_are_known_by_name() -> None:
    assert "/sdk/v2/vardata" in EVALUATION_ROUTES
    assert "/sdk/v2/flags" not in EVALUATION_ROUTES
    assert set(EVALUATION_ROUTES) < OFFICIAL_OF_ROUTE.keys()


async def test_the_page_and_its_parts_are_served(upstream: FakeUpstream) -> None:
    async with running(pointed_at(upstream.url)) as proxy:
        for path in ("/", "/page.css", "/page.js"):
            async with proxy.session.get(proxy.operators + path) as answer:
                assert answer.status == 200
                text = await answer.text()
                assert "http://" not in text.replace("http://www.w3.org/", "")
                assert "https://" not in text
        traffic = await proxy.json_of(proxy.operators + "/status/traffic")
        assert traffic["interval_seconds"] == 5
