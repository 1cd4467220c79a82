"""Whatever upstream does to a cohort, seen where it counts: by users, SDKs and operators.

The whole proxy runs with its own timings, on a clock that runs fast.
"""

import asyncio
import gzip
import io
import time
import zlib
from base64 import b64encode
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from proxy.settings.schema import Limits, Settings
from tests.builders import API_KEY, KEY, condition, flag, segment
from tests.fakes.upstream import (
    FakeUpstream,
    Step,
    answer,
    cut_after,
    drip,
    gzip_answer,
    hang,
    json_answer,
    raw_answer,
)
from tests.run.hasty import pace, run_hastily
from tests.run.whole import AUTHORISED, BATCH, FLAGS, INGESTED, Running, pointed_at, running

PATH = "/sdk/v1/cohort/"
BASIC = b64encode(f"{API_KEY}:test-secret".encode()).decode()
SECRETS = (KEY, API_KEY, "test-secret", BASIC)
PATIENCE = 60.0
HOUR = 3600
CROWD = [f"crowd-{number:05}" for number in range(2000)]
GOOD = ["alice-the-member", *CROWD]
"""Who is in the cohort; whoever reads `mallory` has read a body that never counted."""


def body(members: list[str], last_modified: int, cohort_id: str = "c1", **changes: Any) -> bytes:
    told = {
        "memberIds": members,
        "cohortId": cohort_id,
        "groupType": "User",
        "lastModified": last_modified,
        "size": len(members),
    }
    told = {name: value for name, value in (told | changes).items() if value is not None}
    return msgspec.json.encode(told)


def targeting(*cohort_ids: str, key: str = "targeted", op: str = "set contains any") -> Any:
    return flag(
        key,
        segment("on", condition(["context", "user", "cohort_ids"], op, *cohort_ids)),
        segment("off"),
    )


class World:
    """A scripted upstream and the whole proxy before it."""

    def __init__(self, upstream: FakeUpstream, proxy: Running) -> None:
        self.upstream = upstream
        self.proxy = proxy

    async def variants(self, user_id: str) -> dict[str, str] | None:
        """What a user gets of each flag; None while there are no flags."""
        url = f"{self.proxy.clients}/sdk/v2/vardata"
        user = {"user_id": user_id}
        async with self.proxy.session.post(url, json=user, headers=AUTHORISED) as response:
            if response.status == 503:
                return None
            assert response.status == 200
            return {key: found["key"] for key, found in (await response.json()).items()}

    async def is_on(self, user_id: str, key: str = "targeted") -> bool | None:
        found = await self.variants(user_id)
        return None if found is None else found.get(key) == "on"

    async def download(self) -> tuple[int, bytes]:
        """What SDKs get of the cohort, as it is sent."""
        headers = {"Authorization": f"Basic {BASIC}", "Accept-Encoding": "gzip"}
        url = f"{self.proxy.clients}{PATH}c1?maxCohortSize=2147483647"
        async with self.proxy.session.get(url, headers=headers) as response:
            return response.status, await response.read()

    async def page(self, name: str) -> str:
        async with self.proxy.session.get(f"{self.proxy.operators}/{name}") as response:
            return await response.text()

    async def status(self) -> Any:
        return msgspec.json.decode(await self.page("status"))

    async def cohort(self) -> Any:
        """What operators are told of the cohort."""
        [project] = (await self.status())["cohorts"]
        [told] = [one for one in project["cohorts"] if one["id"] == "c1"] or [{"loading": None}]
        return told

    async def deployment(self) -> Any:
        [one] = (await self.status())["deployments"]
        return one

    async def metric(self, line: str) -> float:
        """The value in the line of /metrics that begins like this."""
        found = [
            float(text.rpartition(" ")[2])
            for text in (await self.page("metrics")).splitlines()
            if text.startswith(f"amplitude_proxy_{line}") and not text.startswith("#")
        ]
        return sum(found)

    async def pass_time(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds))

    async def wait_until(self, look: Callable[[], Awaitable[Any]]) -> Any:
        deadline = time.monotonic() + PATIENCE
        while not (found := await look()):
            assert time.monotonic() < deadline, "it did not come true"
            await asyncio.sleep(1)
        return found


Story = Callable[[World], Awaitable[None]]


def tell(story: Story, directory: Path | None = None, **changes: Any) -> None:
    """Run a story; the flags and the answer of the cohort are set before it, see `script`."""

    async def run() -> None:
        async with FakeUpstream() as upstream:
            upstream.on("POST", BATCH, json_answer(INGESTED))
            for path, steps in changes.pop("script").items():
                upstream.on("GET", path, *steps)
            settings: Settings = pointed_at(
                upstream.url,
                data_dir=None if directory is None else str(directory),
                limits=Limits(request_timeout_millis=3_600_000, idle_timeout_millis=3_600_000),
                **changes,
            )
            async with running(settings) as proxy:
                await story(World(upstream, proxy))

    run_hastily(run())


def script(*cohort: Step, flags: list[Any] | None = None) -> dict[str, list[Step]]:
    return {FLAGS: [json_answer(flags or [targeting("c1")])], PATH + "c1": list(cohort)}


def bomb(size: int) -> bytes:
    squeezer = zlib.compressobj(9, zlib.DEFLATED, 31)
    spaces = b" " * 2**20
    return b"".join(squeezer.compress(spaces) for _ in range(size >> 20)) + squeezer.flush()


BAD = body(["mallory", *CROWD], 9)
PACKED = gzip.compress(BAD)
GZIP = {"Content_Encoding": "gzip"}
TENTHS = [
    cut_after(len(sent) * tenth // 10, sent, **coding)
    for sent, coding in ((PACKED, GZIP), (BAD, {}))
    for tenth in range(10)
]
ODD: list[Step] = [
    drip(BAD, 3, 45),
    drip(BAD[:200], 20, 10),
    raw_answer(PACKED, Content_Length=str(len(PACKED) + 1), **GZIP),
    raw_answer(PACKED, Content_Length=str(len(PACKED) - 1), **GZIP),
    raw_answer(BAD, Content_Length=str(len(BAD) + 1)),
    raw_answer(BAD, Content_Length=str(len(BAD) - 1)),
    raw_answer(PACKED[:-9], **GZIP),
    raw_answer(BAD[:-2]),
    answer(200, bomb(2**28), **GZIP),
    answer(200, b'{"memberIds":["mallory"', Content_Type="application/json"),
    answer(200, b"<html>mallory</html>"),
    answer(200, b""),
    answer(200, b"null"),
    answer(200, b'["mallory"]'),
    answer(200, b"mallory", **GZIP),
    answer(200, BAD, Content_Encoding="br"),
    answer(200, body(["mallory"], 9, cohort_id="c2")),
    answer(200, body(["mallory"], 9, lastModified=None)),
    answer(200, body(["mallory"], 9, memberIds=["mallory", 7])),
    answer(200, body(["mallory"], 9, groupType=None)),
    answer(200, body(["mallory"], 9) + b"mallory"),
    answer(206, BAD),
    answer(302, b"mallory", Location="/mallory"),
    answer(401, b"mallory"),
    answer(403, b"mallory"),
    answer(429, b"mallory", Retry_After="3"),
    answer(500, b"mallory"),
    answer(502, b"mallory"),
    answer(503, b"mallory", Retry_After="2"),
    cut_after(0, b"mallory"),
]
FIFTY = TENTHS + ODD
OFTEN: dict[str, Any] = {"cohort_sync_interval_millis": 5_000}


@contextmanager
def nothing_told(log_lines: io.StringIO) -> Iterator[None]:
    """No key and no member is ever logged, at any level."""
    yield
    logged = log_lines.getvalue()
    assert '"level": "debug"' in logged or "cohort in use" in logged
    for secret in (*SECRETS, "mallory", "alice-the-member", CROWD[7]):
        assert secret not in logged


def test_fifty_bad_answers_in_a_row_change_nothing_for_anybody(
    tmp_path: Path, log_lines: io.StringIO
) -> None:
    assert len(FIFTY) == 50
    good = gzip_answer(body(GOOD, 5))

    async def story(world: World) -> None:
        await world.wait_until(lambda: world.is_on("alice-the-member"))
        _, served = await world.download()
        assert msgspec.json.decode(served)["memberIds"] == GOOD
        looks = 0

        async def failed() -> float:
            return await world.metric("cohort_download_failure_total")

        async def all_failed() -> bool:
            nonlocal looks
            looks += 1
            assert await world.is_on("alice-the-member")
            assert not await world.is_on("mallory")
            assert await world.download() == (200, served)
            for page in ("status", "readyz", "metrics"):
                shown = await world.page(page)
                assert not [one for one in (*SECRETS, "mallory", CROWD[7]) if one in shown]
            told = await world.cohort()
            if told["loading"] is None:
                with pace(1000):
                    await world.pass_time(told["next_attempt_in_seconds"] - 10)
            return await failed() >= len(FIFTY)

        await world.wait_until(all_failed)
        assert looks > 50
        told = await world.cohort()
        assert told["state"] == "here"
        assert told["size"] == len(GOOD)
        assert told["trouble"]
        assert await world.metric("cohort_oldest_age_seconds") > 0

        newer = body(["bob"], 9)
        world.upstream.on("GET", PATH + "c1", gzip_answer(newer))
        await world.wait_until(lambda: world.is_on("bob"))
        assert not await world.is_on("alice-the-member")
        assert (await world.download())[1] == newer
        assert (await world.cohort())["trouble"] == ""
        asked = world.upstream.at(PATH + "c1")
        # Nothing of what failed is ever said to be held.
        assert {one.query.get("lastModified") for one in asked[1 : len(FIFTY) + 1]} == {"5"}

    with nothing_told(log_lines):
        tell(story, tmp_path / "data", script=script(good, *FIFTY, hang()), **OFTEN)
    names = {path.name for path in (tmp_path / "data" / "files").iterdir()}
    manifest = (tmp_path / "data" / "manifest.json").read_text()
    previous = (tmp_path / "data" / "manifest.previous.json").read_text()
    assert not [name for name in names if name not in manifest + previous]


def test_flags_wait_for_a_cohort_under_a_deadline_and_its_lack_is_shown(
    log_lines: io.StringIO,
) -> None:
    """First flags wait as a whole; then they are published, and the cohort is shown as missing."""

    async def story(world: World) -> None:
        async def waits() -> bool:
            return bool((await world.deployment())["waiting"])

        with pace(1):
            await world.wait_until(waits)
            assert await world.variants("alice") is None
            told = await world.deployment()
            assert told["waiting"] == [{"flag": "targeted", "cohorts": ["c1"]}]
            assert told["flags"] == 0
            assert "waiting for cohorts c1" in await world.page("readyz")
            assert "cohort missing" not in log_lines.getvalue()

        await world.wait_until(lambda: world.variants("alice"))
        came = world.upstream.at(FLAGS)[0].at
        assert asyncio.get_running_loop().time() - came >= 300
        assert await world.variants("alice") == {"plain": "on", "targeted": "off"}
        told = await world.deployment()
        assert told["waiting"] == []
        assert list(told["cohorts_missing"]) == ["c1"]
        assert "503" in told["cohorts_missing"]["c1"]
        assert "503" in (await world.cohort())["reason"]
        assert await world.metric('cohorts{project="') == 1
        assert await world.metric(f'cohorts{{project="{await project(world)}",state="here"}}') == 0
        assert "cohorts missing: c1" in await world.page("readyz")
        assert await world.proxy.status_of(world.proxy.operators + "/readyz") == 200
        assert "cohort missing: flags are evaluated as if it were empty" in log_lines.getvalue()
        assert (await world.download())[0] == 503

        world.upstream.on("GET", PATH + "c1", gzip_answer(body(["alice"], 5)))
        await world.wait_until(lambda: world.is_on("alice"))
        assert (await world.deployment())["cohorts_missing"] == {}
        assert await world.metric(f'cohorts{{project="{await project(world)}",state="here"}}') == 1
        assert "cohorts not missing any more" in log_lines.getvalue()

    lines = script(answer(503), flags=[flag("plain"), targeting("c1")])
    tell(story, script=lines, cohort_wait_millis=300_000)


async def project(world: World) -> str:
    [one] = (await world.status())["cohorts"]
    return str(one["project"])


def test_later_only_the_flag_that_needs_a_new_cohort_waits(log_lines: io.StringIO) -> None:
    first = [targeting("c1"), flag("plain", segment("off"))]
    second = [targeting("c2"), flag("plain"), targeting("c2", key="new")]

    async def story(world: World) -> None:
        await world.wait_until(lambda: world.is_on("alice"))
        with pace(1):
            world.upstream.on("GET", FLAGS, json_answer(second))
            await world.wait_until(lambda: world.is_on("alice", "plain"))
            # The changed flag is as it was, the new one not there yet.
            assert await world.variants("alice") == {"plain": "on", "targeted": "on"}
            assert await world.variants("bob") == {"plain": "on", "targeted": "off"}
            waiting = (await world.deployment())["waiting"]
            assert [one["flag"] for one in waiting] == ["new", "targeted"]

        async def old_version_gone() -> bool:
            return await world.variants("alice") != {"plain": "on", "targeted": "on"}

        await world.wait_until(old_version_gone)
        assert await world.variants("bob") == {"new": "off", "plain": "on", "targeted": "off"}
        [(name, why)] = (await world.deployment())["cohorts_missing"].items()
        assert (name, bool(why)) == ("c2", True)

    lines = {**script(gzip_answer(body(["alice"], 5)), answer(204), flags=first)}
    lines[PATH + "c2"] = [hang()]
    tell(story, script=lines, cohort_wait_millis=300_000, flag_sync_interval_millis=1_000)


@pytest.mark.parametrize(
    ("step", "why", "told"),
    [
        (answer(404), "upstream knows no such cohort", 404),
        # Too large for the proxy's limit is not too large for the SDK's.
        (answer(413), "more than maxCohortSize", 503),
        (answer(401), "does not take the project's API key", 503),
    ],
    ids=["404", "413", "401"],
)
def test_flags_do_not_wait_for_what_upstream_refuses(step: Step, why: str, told: int) -> None:
    async def story(world: World) -> None:
        await world.wait_until(lambda: world.variants("alice"))
        assert await world.variants("alice") == {"targeted": "off"}
        assert why in (await world.deployment())["cohorts_missing"]["c1"]
        assert why in (await world.cohort())["reason"]
        asked = len(world.upstream.at(PATH + "c1"))

        async def asked_again() -> bool:
            assert (await world.cohort())["state"] == "missing"
            assert (await world.download())[0] == told
            return len(world.upstream.at(PATH + "c1")) > asked

        await world.wait_until(asked_again)

    # Who waited would do so for longer than this test has patience.
    tell(story, script=script(step), cohort_wait_millis=24 * HOUR * 1000)


def test_what_is_prepared_or_throttled_is_asked_for_again_in_due_time() -> None:
    steps = (answer(202), answer(202), answer(429, Retry_After="20"), json_answer({}))
    good = gzip_answer(body(["alice"], 5))

    async def story(world: World) -> None:
        await world.wait_until(lambda: world.is_on("alice"))
        first, second, third, fourth, *_ = (one.at for one in world.upstream.at(PATH + "c1"))
        assert second - first >= 1
        assert third - second >= 1
        assert fourth - third >= 20

    tell(story, script=script(*steps, good))


def test_a_cohort_that_shrinks_and_empties_takes_effect_everywhere() -> None:
    shrunk, empty = body(["alice"], 6), body([], 7, memberIds=None, size=None)

    async def story(world: World) -> None:
        await world.wait_until(lambda: world.is_on("bob"))
        world.upstream.on("GET", PATH + "c1", gzip_answer(shrunk))

        async def bob_is_out() -> bool:
            return await world.is_on("bob") is False

        await world.wait_until(bob_is_out)
        assert await world.is_on("alice")
        world.upstream.on("GET", PATH + "c1", gzip_answer(empty))

        async def alice_is_out() -> bool:
            return await world.is_on("alice") is False

        await world.wait_until(alice_is_out)
        status, raw = await world.download()
        assert (status, msgspec.json.decode(raw)) == (
            200,
            {
                "cohortId": "c1",
                "groupType": "User",
                "lastModified": 7,
                "size": 0,
                "memberIds": [],
            },
        )
        memberships = f"{world.proxy.clients}/sdk/v2/memberships/User/alice"
        assert await world.proxy.json_of(memberships) == []
        assert await world.metric("cohort_members") == 0

    # Older versions and equal ones change nothing on the way.
    steps = (gzip_answer(body(["alice", "bob"], 5)), gzip_answer(body(["mallory"], 4)))
    tell(story, script=script(*steps), **OFTEN)


def test_a_load_that_takes_long_is_told_of() -> None:
    sent = body([f"user-{number:012}" for number in range(30_000)], 5)

    async def story(world: World) -> None:
        async def loading() -> Any:
            told = (await world.cohort())["loading"]
            return told if told and told["bytes"] > len(sent) / 2 else None

        told = await world.wait_until(loading)
        assert told["stage"] == "downloading"
        assert told["total_bytes"] == len(sent)
        assert told["bytes_per_second"] > 0
        assert "members" in told
        assert await world.metric("cohort_bytes_total") > len(sent) / 2

    tell(story, script=script(drip(sent, 10, 20)))
