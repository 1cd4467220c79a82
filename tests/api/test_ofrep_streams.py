"""Event streams of OFREP: clients hear that flags have changed, and nothing of the key."""

import asyncio
import gc
import socket
import tracemalloc
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, NamedTuple, Self

import aiohttp
import msgspec
import pytest
import uvloop

from proxy import tasks
from proxy.api.features import Offer, Tools
from proxy.api.ofrep import ofrep
from proxy.api.ofrep_streams import OfrepStreams, channel_name
from proxy.api.streams import FlagStreams
from proxy.settings.ofrep import Ofrep
from proxy.settings.schema import Settings
from proxy.settings.streams import Streams
from proxy.snapshots.snapshot import Snapshot
from proxy.tasks import wall_clock
from tests import builders
from tests.builders import KEY, condition, flag, segment
from tests.serving import Served, serving

BULK = "/ofrep/v1/evaluate/flags"
OLD = builders.snapshot([flag("old")])
NEW = builders.snapshot([flag("new")])


class Cohorts:
    """The cohorts of all projects, of which nobody asks more than whether they changed."""

    def __init__(self) -> None:
        self.changes = 0
        self.content = 0

    def change(self) -> None:
        self.changes += 1
        self.content += 1

    def holding(self, _project_index: int) -> Self:
        return self


def cohort_condition(cohort_id: str) -> dict[str, Any]:
    return condition(["context", "user", "cohort_ids"], "set contains any", cohort_id)


class Listening(NamedTuple):
    """A clients' port that offers streams, and a client of it."""

    served: Served
    client: aiohttp.ClientSession
    streams: OfrepStreams
    cohorts: Cohorts

    async def bulk(self) -> dict[str, Any]:
        answer = await self.served.post(BULK, b'{"context":{"targetingKey":"u1"}}')
        assert answer.status == 200
        found: dict[str, Any] = answer.json
        return found

    async def path(self) -> str:
        (stream,) = (await self.bulk())["eventStreams"]
        path: str = stream["endpoint"]["requestUri"]
        return path


@asynccontextmanager
async def listening(settings: Settings | None = None) -> AsyncIterator[Listening]:
    made: list[tuple[FlagStreams, OfrepStreams]] = []
    cohorts = Cohorts()

    def feature(tools: Tools) -> Offer:
        flags = FlagStreams(tools.board, tools.settings.streams, tools.metrics)
        ours = OfrepStreams(
            tools.board,
            cohorts,
            flags.readers,
            tools.settings.ofrep,
            clock=tools.clock,
            look_seconds=0.01,
        )
        made.append((flags, ours))
        return ofrep(tools, ours)

    async with serving([flag("old")], settings, features=[feature]) as served:
        ((flags, ours),) = made
        loops = [*flags.loops(), ("streams of OFREP", ours.watch)]
        running = [tasks.start(name, body()) for name, body in loops]
        base = f"http://127.0.0.1:{served.port}"
        try:
            async with aiohttp.ClientSession(base) as client:
                yield Listening(served, client, ours, cohorts)
        finally:
            await tasks.stop(*running)


async def event(answer: aiohttp.ClientResponse) -> dict[str, str]:
    """The fields of the next event, what is no field under no name."""
    async with asyncio.timeout(30):
        lines = (await answer.content.readuntil(b"\n\n")).decode().splitlines()
    return {name: text for name, _, text in (line.partition(": ") for line in lines) if name}


def news(snapshot: Snapshot) -> dict[str, str]:
    told = {
        "type": "refetchEvaluation",
        "etag": snapshot.compiled.version,
        "lastModified": int(snapshot.changed_at),
    }
    return {
        "id": snapshot.compiled.version,
        "event": "message",
        "data": msgspec.json.encode(told).decode(),
    }


async def test_a_bulk_answer_names_a_stream_that_tells_of_changes() -> None:
    async with listening() as ours:
        bulk = await ours.bulk()
        assert bulk["eventStreams"] == [
            {
                "type": "sse",
                "endpoint": {"requestUri": f"/ofrep/v1/streams/{channel_name(KEY)}"},
                "inactivityDelaySec": 120,
            }
        ]
        async with ours.client.get(await ours.path()) as answer:
            assert answer.status == 200
            assert answer.headers["Content-Type"] == "text/event-stream"
            assert answer.headers["Cache-Control"] == "no-cache"
            assert await event(answer) == {"id": OLD.compiled.version}
            for snapshot in (NEW, OLD):
                ours.served.board.publish(KEY, snapshot)
                assert await event(answer) == news(snapshot)


async def test_what_did_not_change_is_not_told() -> None:
    async with listening() as ours, ours.client.get(await ours.path()) as answer:
        await event(answer)

        ours.served.board.publish(KEY, builders.snapshot([flag("old")]))
        ours.served.board.confirm(KEY, 5000.0)
        ours.served.board.publish(KEY, NEW)

        assert await event(answer) == news(NEW)


@pytest.mark.parametrize(
    ("headers", "is_news"),
    [
        ({}, False),
        ({"Last-Event-ID": OLD.compiled.version}, False),
        ({"Last-Event-ID": NEW.compiled.version}, True),
        ({"Last-Event-ID": "something else"}, True),
    ],
)
async def test_who_comes_back_hears_at_once_what_was_missed(
    headers: Mapping[str, str], is_news: bool
) -> None:
    async with (
        listening() as ours,
        ours.client.get(await ours.path(), headers=headers) as answer,
    ):
        assert await event(answer) == (news(OLD) if is_news else {"id": OLD.compiled.version})


async def test_who_comes_just_after_a_change_asks_again_to_be_sure() -> None:
    fresh = msgspec.structs.replace(NEW, changed_at=wall_clock())
    async with listening() as ours:
        ours.served.board.publish(KEY, fresh)
        async with ours.client.get(await ours.path()) as answer:
            assert await event(answer) == news(fresh)


async def test_clients_hear_of_cohorts_where_flags_target_any() -> None:
    members = flag("members", segment("on", cohort_condition("c1")))
    targeting, others = builders.snapshot([members]), builders.snapshot([flag("others")])
    async with listening() as ours:
        ours.served.board.publish(KEY, targeting)
        async with ours.client.get(await ours.path()) as answer:
            state = (await event(answer))["id"]
            assert state.startswith(f"{targeting.compiled.version}-")
            ours.cohorts.change()
            told = await event(answer)
            assert told["id"] != state
            assert {**told, "id": ""} == {**news(targeting), "id": ""}
            ours.served.board.publish(KEY, others)
            assert await event(answer) == news(others)
            ours.cohorts.change()
            ours.served.board.publish(KEY, OLD)
            assert await event(answer) == news(OLD)
        async with ours.client.get(await ours.path(), headers={"Last-Event-ID": state}) as answer:
            assert await event(answer) == news(OLD)


async def test_silence_is_broken_by_comments() -> None:
    settings = builders.settings(streams=Streams(keep_alive_millis=100))
    async with listening(settings) as ours, ours.client.get(await ours.path()) as answer:
        await event(answer)

        for _ in range(3):
            async with asyncio.timeout(30):
                assert await answer.content.readuntil(b"\n\n") == b":\n\n"


async def test_a_client_that_left_is_forgotten() -> None:
    async with listening() as ours:
        path = await ours.path()
        async with ours.client.get(path) as answer:
            await event(answer)
            assert ours.streams.status() == {"listeners": {"test": 1}}
        async with asyncio.timeout(30):
            while ours.streams.status() == {"listeners": {"test": 1}}:
                await asyncio.sleep(0)
        ours.served.board.publish(KEY, NEW)
        async with asyncio.timeout(30):
            while ours.streams.status() != {"listeners": {}}:
                await asyncio.sleep(0)


async def test_streams_of_a_key_that_is_revoked_end() -> None:
    async with listening() as ours:
        path = await ours.path()
        async with ours.client.get(path) as answer:
            await event(answer)
            ours.served.board.revoke(KEY)
            async with asyncio.timeout(30):
                assert await answer.content.read() == b""
        async with ours.client.get(path) as answer:
            assert answer.status == 404


@pytest.mark.parametrize(
    "channel", ["", "x", KEY, channel_name("another"), channel_name(KEY).upper(), "%00", "a/b"]
)
async def test_only_the_names_of_channels_open_one(channel: str) -> None:
    async with listening() as ours:
        async with ours.client.get(f"/ofrep/v1/streams/{channel}") as answer:
            assert answer.status == 404
        assert ours.streams.status() == {"listeners": {}}


async def test_a_deployment_whose_flags_are_not_here_yet_has_no_stream_yet() -> None:
    async with listening() as ours:
        path = await ours.path()
        ours.served.board.revoke(KEY)
        ours.served.board.authorise(OLD.deployment)
        async with ours.client.get(path) as answer:
            assert answer.status == 503
            assert int(answer.headers["Retry-After"]) > 0


async def test_there_is_a_most_of_streams() -> None:
    settings = builders.settings(streams=Streams(max_connections=1))
    async with listening(settings) as ours:
        path = await ours.path()
        async with ours.client.get(path) as answer:
            await event(answer)
            async with ours.client.get(path) as refused:
                assert refused.status == 503


async def test_head_tells_what_a_stream_would_be() -> None:
    async with listening() as ours, ours.client.head(await ours.path()) as answer:
        assert (answer.status, answer.headers["Content-Type"]) == (200, "text/event-stream")


async def test_a_proxy_below_a_path_says_where_its_streams_are() -> None:
    settings = builders.settings(ofrep=Ofrep(public_url="https://edge.example.com/flags/"))
    async with listening(settings) as ours:
        (stream,) = (await ours.bulk())["eventStreams"]

    where = f"https://edge.example.com/flags/ofrep/v1/streams/{channel_name(KEY)}"
    assert stream == {"type": "sse", "url": where, "inactivityDelaySec": 120}


def test_a_stream_that_is_asked_for_at_once_leaves_no_error_behind() -> None:
    """On the program's own loop the request is read before anything else of the connection runs."""

    async def ask_at_once() -> list[dict[str, Any]]:
        errors: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, error: errors.append(error))
        async with listening() as ours:
            request = f"GET {await ours.path()} HTTP/1.1\r\nHost: proxy\r\n\r\n".encode()
            for _ in range(5):
                with socket.create_connection(("127.0.0.1", ours.served.port)) as asking:
                    asking.sendall(request)
                    asking.setblocking(False)
                    async with asyncio.timeout(30):
                        await asyncio.get_running_loop().sock_recv(asking, 1)
        gc.collect()
        return errors

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(ask_at_once()) == []


async def test_of_what_a_client_says_that_it_heard_little_is_kept() -> None:
    long, clients = 7000, 20
    async with listening() as ours, AsyncExitStack() as streams:
        path = await ours.path()
        tracemalloc.start()
        try:
            for _ in range(clients):
                reader, writer = await streams.enter_async_context(ours.served.connection())
                heard = f"Last-Event-ID: {'x' * long}"
                writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n{heard}\r\n\r\n".encode())
                await reader.readuntil(b"refetchEvaluation")
            traces = tracemalloc.take_snapshot().traces
        finally:
            tracemalloc.stop()

    assert len([trace for trace in traces if trace.size >= long]) < clients


def test_the_name_of_a_channel_gives_no_key_away() -> None:
    names = [channel_name(key) for key in (KEY, KEY, "another", "é\udcff")]

    assert names[0] == names[1]
    assert len(set(names)) == 3
    assert all(len(name) == 32 and KEY not in name for name in names)
