"""The stand-in answers as Amplitude does, and follows its file."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Callable, Iterator, MutableMapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import structlog

from proxy.sandbox.reading import FileMistake
from proxy.sandbox.server import (
    API_KEY,
    CLIENT_KEY,
    MANAGEMENT_KEY,
    SECRET_KEY,
    SERVER_KEY,
    Sandbox,
)
from proxy.sandbox.watch import PAUSE_SECONDS, FlagFile

FILE = "flags: {a: {serve: on}}\ncohorts: {beta: [ada, bob]}\n"
FLAGS_KEY = {"Authorization": f"Api-Key {SERVER_KEY}"}
MANAGEMENT = {"Authorization": f"Bearer {MANAGEMENT_KEY}"}
COHORTS = {"Authorization": aiohttp.encode_basic_auth(API_KEY, SECRET_KEY)}


Said = list[MutableMapping[str, Any]]


@pytest.fixture
def said() -> Iterator[Said]:
    with structlog.testing.capture_logs() as lines:
        yield lines


@pytest.fixture
def flag_file(tmp_path: Path) -> Path:
    path = tmp_path / "flags.yaml"
    path.write_text(FILE)
    return path


@pytest.fixture
async def http(flag_file: Path) -> AsyncIterator[aiohttp.ClientSession]:
    sandbox = Sandbox(flag_file, clock=lambda: 7.0)
    port = await sandbox.start("127.0.0.1", 0)
    # Virtual time runs ahead of a client's own time-out.
    patience = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", timeout=patience) as session:
        yield session
    await sandbox.stop()


def edit(path: Path, content: str | bytes | None) -> None:
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content.encode() if isinstance(content, str) else content)


async def wait_until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.02)


async def served_keys(http: aiohttp.ClientSession) -> list[str]:
    async with http.get("/sdk/v2/flags", headers=FLAGS_KEY) as answer:
        return [flag["key"] for flag in await answer.json()]


async def wait_until_served(http: aiohttp.ClientSession, keys: list[str]) -> None:
    async with asyncio.timeout(5):
        while await served_keys(http) != keys:
            await asyncio.sleep(0.02)


async def read_message(stream: aiohttp.ClientResponse) -> bytes:
    return (await stream.content.readuntil(b"\n\n")).removesuffix(b"\n\n")


async def test_the_root_tells_what_this_is(http: aiohttp.ClientSession) -> None:
    async with http.get("/") as answer:
        text = await answer.text()

    assert "stand-in for Amplitude" in text
    assert "Flags: a" in text


async def test_deployments_come_in_pages(http: aiohttp.ClientSession) -> None:
    keys, cursor = [], ""
    for _ in range(2):
        query = {"limit": "1", "cursor": cursor}
        async with http.get("/api/1/deployments", headers=MANAGEMENT, params=query) as answer:
            page = await answer.json()
        keys += [deployment["key"] for deployment in page["deployments"]]
        cursor = page.get("nextCursor", "")

    assert keys == [SERVER_KEY, CLIENT_KEY]
    assert cursor == ""


@pytest.mark.parametrize(
    "path",
    ["/api/1/deployments", "/sdk/v2/flags", "/sdk/stream/v1/flags", "/sdk/v1/cohort/beta"],
)
@pytest.mark.parametrize("headers", [{}, {"Authorization": "Api-Key server-other"}])
async def test_a_wrong_key_is_refused(
    http: aiohttp.ClientSession, path: str, headers: dict[str, str]
) -> None:
    async with http.get(path, headers=headers) as answer:
        assert answer.status == 401


async def test_flags_are_served_to_both_deployments(http: aiohttp.ClientSession) -> None:
    bodies = []
    for key in (SERVER_KEY, CLIENT_KEY):
        async with http.get("/sdk/v2/flags", headers={"Authorization": f"Api-Key {key}"}) as answer:
            assert answer.status == 200
            assert answer.content_type == "application/json"
            bodies.append(await answer.json())

    assert bodies[0] == bodies[1]
    assert [flag["key"] for flag in bodies[0]] == ["a"]


async def test_an_edit_is_served_by_poll_and_stream(
    http: aiohttp.ClientSession, flag_file: Path
) -> None:
    async with http.get("/sdk/stream/v1/flags", headers=FLAGS_KEY) as stream:
        assert stream.content_type == "text/event-stream"
        first = await read_message(stream)
        edit(flag_file, "flags: {a: {serve: off}, b: }\n")
        second = await read_message(stream)

    assert [flag["key"] for flag in json.loads(first.removeprefix(b"data: "))] == ["a"]
    assert [flag["key"] for flag in json.loads(second.removeprefix(b"data: "))] == ["a", "b"]
    assert await served_keys(http) == ["a", "b"]


async def test_a_mistake_in_the_file_keeps_the_flags_and_is_told_once(
    http: aiohttp.ClientSession, flag_file: Path, said: Said
) -> None:
    edit(flag_file, "flags:\n  a:\n    serve: onn\n")
    await wait_until(lambda: bool(said))

    assert await served_keys(http) == ["a"]
    assert said[0]["line"] == 3
    assert "there is no variant 'onn'" in said[0]["mistake"]
    edit(flag_file, "flags: {a: , mended: }\n")
    await wait_until_served(http, ["a", "mended"])
    assert [line["log_level"] for line in said] == ["warning", "info"]


async def test_a_file_that_goes_away_keeps_the_flags(
    http: aiohttp.ClientSession, flag_file: Path, said: Said
) -> None:
    edit(flag_file, None)
    await wait_until(lambda: bool(said))

    assert await served_keys(http) == ["a"]
    edit(flag_file, "flags: {back: }\n")
    await wait_until_served(http, ["back"])
    told = [line["event"] for line in said if line["log_level"] == "warning"]
    assert told == ["cannot read the flag file, its flags stay"]


@pytest.mark.parametrize("between", ["flags: [\n", None, b"# \xff"])
async def test_a_file_that_is_as_it_was_before_is_told(
    http: aiohttp.ClientSession, flag_file: Path, said: Said, between: str | bytes | None
) -> None:
    edit(flag_file, between)
    await wait_until(lambda: bool(said))
    edit(flag_file, FILE)
    await wait_until(lambda: len(said) > 1)

    assert [line["log_level"] for line in said] == ["warning", "info"]
    assert said[1]["event"] == "flag file read again, its flags are the same"
    assert await served_keys(http) == ["a"]


@pytest.mark.looptime
async def test_an_editor_that_empties_the_file_before_it_fills_it_takes_no_flag_away(
    flag_file: Path,
) -> None:
    follower = FlagFile(flag_file, clock=lambda: 7.0)
    follower.read()
    heard: list[tuple[str, ...]] = []
    async with asyncio.TaskGroup() as group:
        following = group.create_task(follower.follow(lambda world: heard.append(world.flag_keys)))
        # Never as long at rest as two looks are apart.
        for number in range(30):
            edit(flag_file, "" if number % 2 else "flags:\n")
            await asyncio.sleep(PAUSE_SECONDS / 4)
        edit(flag_file, "flags: {whole: }\n")
        await wait_until(lambda: bool(heard))
        following.cancel()

    assert heard == [("whole",)]


@pytest.mark.looptime
async def test_a_silent_stream_is_kept_alive_each_fifteen_seconds(
    http: aiohttp.ClientSession,
) -> None:
    async with http.get("/sdk/stream/v1/flags", headers=FLAGS_KEY) as stream:
        await read_message(stream)
        began = asyncio.get_running_loop().time()
        assert await read_message(stream) == b"data:  "
        assert await read_message(stream) == b"data:  "

    assert 29 <= asyncio.get_running_loop().time() - began <= 32


async def test_cohorts_are_served_by_size_and_date(http: aiohttp.ClientSession) -> None:
    answers: dict[str, tuple[int, Any]] = {}
    for query in ("", "?maxCohortSize=1", "?maxCohortSize=2&lastModified=7000", "?lastModified=1"):
        async with http.get(f"/sdk/v1/cohort/beta{query}", headers=COHORTS) as answer:
            body = await answer.json() if answer.status == 200 else None
            answers[query] = (answer.status, body)
    async with http.get("/sdk/v1/cohort/none", headers=COHORTS) as answer:
        answers["none"] = (answer.status, None)

    full = {
        "cohortId": "beta",
        "groupType": "User",
        "lastModified": 7000,
        "size": 2,
        "memberIds": ["ada", "bob"],
    }
    assert answers == {
        "": (200, full),
        "?maxCohortSize=1": (413, None),
        "?maxCohortSize=2&lastModified=7000": (204, None),
        "?lastModified=1": (200, full),
        "none": (404, None),
    }


async def test_events_are_taken_and_shown(http: aiohttp.ClientSession, said: Said) -> None:
    assignment = {
        "event_type": "[Experiment] Assignment",
        "user_id": "somebody",
        "event_properties": {"a.variant": "on", "a.details": "v1 rule:x"},
    }
    other = {"event_type": "other", "device_id": "a device"}
    body = json.dumps({"api_key": API_KEY, "events": [assignment, other]}).encode()
    packed = gzip.compress(body)

    async with http.post("/batch", data=packed, headers={"Content-Encoding": "gzip"}) as answer:
        taken = await answer.json()
    async with http.get("/events", params={"type": "other"}) as answer:
        shown = await answer.json()

    assert (answer.status, taken["events_ingested"]) == (200, 2)
    assert shown == {
        "counts": {"[Experiment] Assignment": 1, "other": 1},
        "repeated": 0,
        "events": [other],
    }
    assert (said[0]["user_id"], said[0]["variants"]) == ("somebody", {"a": "on"})


async def test_events_for_another_project_are_refused(http: aiohttp.ClientSession) -> None:
    async with http.post("/2/httpapi", json={"api_key": "other", "events": []}) as answer:
        refusal = await answer.json()

    assert answer.status == 400
    assert refusal == {"code": 400, "error": "Invalid API key: other"}


async def test_streams_end_when_the_sandbox_stops(flag_file: Path) -> None:
    sandbox = Sandbox(flag_file)
    port = await sandbox.start("127.0.0.1", 0)
    url = f"http://127.0.0.1:{port}/sdk/stream/v1/flags"
    async with aiohttp.ClientSession() as session, session.get(url, headers=FLAGS_KEY) as stream:
        await read_message(stream)

        async with asyncio.timeout(1.5):
            await sandbox.stop()

        assert await stream.content.read() == b""


async def test_a_start_fails_on_a_mistake_a_missing_file_and_a_taken_port(
    flag_file: Path, tmp_path: Path
) -> None:
    first, second = Sandbox(flag_file), Sandbox(flag_file)
    port = await first.start("127.0.0.1", 0)

    with pytest.raises(OSError, match="in use"):
        await second.start("127.0.0.1", port)
    with pytest.raises(FileNotFoundError):
        await Sandbox(tmp_path / "none.yaml").start("127.0.0.1", 0)
    edit(flag_file, "flags: 7")
    with pytest.raises(FileMistake):
        await Sandbox(flag_file).start("127.0.0.1", 0)
    edit(flag_file, b"\xff")
    with pytest.raises(FileMistake, match="UTF-8"):
        await Sandbox(flag_file).start("127.0.0.1", 0)
    await first.stop()
    await second.stop()
