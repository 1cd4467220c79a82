"""Uploads are answered 200 when their events are safe, and only then."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Future
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from proxy import tasks
from proxy.errors import SpoolUnusable
from proxy.events.destinations import Destination, Way, destinations
from proxy.events.event import RECORD_BYTES
from proxy.events.ingest import Upload
from proxy.events.tracker import Tracker
from proxy.events.uploads import PATIENCE_SECONDS, Uploads
from proxy.metrics import Metrics
from proxy.secret import Secret
from proxy.settings.reporting import Assignment, Exposure
from proxy.settings.schema import Project, Settings
from proxy.settings.zones import Urls
from proxy.upstream.analytics import Limits
from proxy.upstream.client import UpstreamClient
from tests.events.builders import NOW, AtOnce, Upstream, outcome, spool_in
from tests.fakes.upstream import FakeUpstream, answer, json_answer

KEYS = ("first-key", "second-key", "first-key")


def event(**fields: Any) -> dict[str, Any]:
    return {"event_type": "seen", "user_id": "somebody", "insert_id": "i", **fields}


def body(*events: Any, api_key: str = "second-key", **more: Any) -> bytes:
    return json.dumps({"api_key": api_key, "events": list(events), **more}).encode()


PROJECTS = tuple(Project(api_key=Secret(key), secret_key=Secret("s")) for key in KEYS)


class Desk:
    """Uploads on a tracker and a spool."""

    def __init__(self, there: Sequence[Destination], folder: Path | None, **given: Any) -> None:
        self.spool = spool_in(folder, wall=lambda: NOW, **given)
        self.tracker = Tracker(
            there,
            Assignment(),
            Exposure(),
            Metrics(),
            self.spool,
            clock=lambda: NOW,
            chance=lambda: 0.001,
        )
        self.metrics = Metrics()
        self.uploads = Uploads(PROJECTS, self.tracker, self.metrics.rejected, clock=lambda: NOW)

    async def post(self, raw: bytes, path: str = "/batch") -> tuple[int, Any]:
        status, text = await self.uploads.keep(self.uploads.read(path, raw, None))
        return status, msgspec.json.decode(text)

    def rejected(self) -> dict[str, float]:
        [family] = self.metrics.rejected.collect()
        counted = (one for one in family.samples if one.name.endswith("_total"))
        return {one.labels["reason"]: one.value for one in counted}

    def pending(self) -> int:
        return sum(project["pending"] for project in self.tracker.status())

    def in_memory(self) -> int:
        return sum(project["in_memory"] for project in self.tracker.status())

    @asynccontextmanager
    async def committing(self) -> AsyncIterator[None]:
        """Commit, and send nothing."""
        await self.spool.open()
        loop = tasks.start("spool", self.spool.run())
        try:
            yield
        finally:
            await tasks.stop(loop)
            await self.spool.close()


@pytest.fixture
def there(up: FakeUpstream, client: UpstreamClient) -> list[Destination]:
    """Where the events of each project go."""
    assignment = Assignment(event_upload_threshold=1, event_upload_period_millis=1)
    urls = Urls(analytics=f"{up.url}/batch")
    return destinations(Settings(projects=PROJECTS, urls=urls, assignment=assignment), client)


@pytest.fixture
def desk(there: list[Destination], tmp_path: Path) -> Desk:
    return Desk(there, tmp_path)


async def test_what_is_answered_200_is_on_disk(desk: Desk) -> None:
    async with desk.committing():
        status, said = await desk.post(body(event(), event()))

        assert (desk.pending(), desk.in_memory()) == (2, 0)
    assert status == 200
    assert said == {
        "code": 200,
        "events_ingested": 2,
        "payload_size_bytes": len(body(event(), event())),
        "server_upload_time": NOW * 1000,
    }


async def test_the_events_arrive_for_their_project_with_their_options(
    desk: Desk, up: FakeUpstream
) -> None:
    up.on("POST", "/batch", answer(200))
    loop = tasks.start("tracker", desk.tracker.run())
    try:
        first = body(event(user_id="a", n=1.0, insert_id=None), options={"min_id_length": 1})
        await desk.post(first)
        await up.received(1, "/batch")
        await desk.post(body(event(time=5, ip="$remote", device_id="d"), api_key="first-key"))
        await up.received(2, "/batch")
    finally:
        await tasks.stop(loop)
        await desk.spool.close()

    mine, others = (request.json for request in up.at("/batch"))
    assert (mine["api_key"], mine["options"]) == ("second-key", {"min_id_length": 1})
    [one] = mine["events"]
    assert (one["user_id"], one["time"]) == ("a", NOW * 1000)
    assert len(one["insert_id"]) == 36
    assert (others["api_key"], others["options"]) == ("first-key", {"min_id_length": 5})
    assert others["events"] == [event(time=5, ip="$remote", device_id="d")]
    counts = [project["counts"] for project in desk.tracker.status()]
    assert [(one["accepted"], one["sent"]) for one in counts] == [(1, 1), (1, 1), (0, 0)]


async def test_a_refusal_keeps_nothing(desk: Desk) -> None:
    answers = [
        await desk.post(raw) for raw in (b"{", body(event(), {}), body(event(), api_key="nobody's"))
    ]

    assert [(status, said["code"]) for status, said in answers] == [(400, 400)] * 3
    assert answers[1][1]["events_with_missing_fields"] == {"event_type": [1]}
    assert answers[2][1]["error"] == "Invalid API key: nobody's"
    assert desk.pending() == 0


async def test_nothing_says_a_key_to_the_log(desk: Desk, log_lines: list[dict[str, Any]]) -> None:
    async with desk.committing():
        for key in (*KEYS, "nobody's"):
            await desk.post(body(event(), api_key=key))

    assert "-key" not in str(log_lines)
    assert "nobody's" not in str(log_lines)


async def test_without_a_directory_memory_has_to_do(
    there: list[Destination],
) -> None:
    desk = Desk(there, None)

    status, _ = await desk.post(body(event()))

    assert (status, desk.pending()) == (200, 1)


async def test_a_full_spool_takes_nothing_and_loses_nothing(
    there: list[Destination], tmp_path: Path
) -> None:
    desk = Desk(there, tmp_path, max_bytes=200_000)
    async with desk.committing():
        statuses = [(await desk.post(body(event(pad="x" * 40_000))))[0] for _ in range(6)]
        _, said = await desk.post(body(event(pad="x" * 40_000)))

    taken = statuses.count(200)
    assert statuses == [200] * taken + [503] * (6 - taken)
    assert 0 < taken < 5
    assert said == {"code": 503, "error": "Too many events are waiting"}
    assert desk.pending() == taken
    assert desk.tracker.status()[1]["counts"]["dropped"] == {}


async def test_of_memory_half_is_kept_for_evaluations(
    there: list[Destination],
) -> None:
    desk = Desk(there, None, max_memory=100_000)

    statuses = [(await desk.post(body(event(pad="x" * 20_000))))[0] for _ in range(3)]
    for number in range(20):
        desk.tracker.track(1, {"user_id": f"user-{number}"}, [outcome()], NOW)

    assert statuses == [200, 200, 503]
    assert desk.tracker.status()[1]["counts"]["dropped"] == {}


async def test_an_upload_that_could_never_be_held_is_too_large(
    there: list[Destination],
) -> None:
    desk = Desk(there, None, max_memory=100_000)
    halves = body(event(pad="x" * 30_000), event(pad="x" * 30_000))
    single = body(event(pad="x" * 50_000))

    for raw in (halves, single):
        assert await desk.post(raw) == (413, {"code": 413, "error": "Payload too large"})
    assert desk.tracker.most_event_bytes == 50_000 - RECORD_BYTES


async def test_an_upload_waits_for_the_commit_that_makes_room(
    there: list[Destination], tmp_path: Path
) -> None:
    desk = Desk(there, tmp_path, max_memory=100_000)
    async with desk.committing():
        posted = [desk.post(body(event(pad="x" * 30_000))) for _ in range(5)]
        statuses = [status for status, _ in await asyncio.gather(*posted)]

    assert sorted(statuses) == [200] * statuses.count(200) + [503] * statuses.count(503)
    assert statuses.count(200) >= 2
    assert desk.pending() == statuses.count(200)


def nowhere(folder: Path | None, **given: Any) -> Desk:
    """A desk whose events go to an upstream that is not on the network."""
    way = Way(limits=Limits(events=10, size=10_000))
    return Desk([Destination(key, key, way, Upstream()) for key in KEYS], folder, **given)


def books(desk: Desk) -> tuple[int, int, int]:
    """What was accepted and withdrawn of the second project's events, and what is pending."""
    one = desk.tracker.status()[1]
    return one["counts"]["accepted"], one["counts"]["withdrawn"], one["pending"]


@pytest.mark.looptime
async def test_events_that_are_not_on_disk_in_time_are_no_200(tmp_path: Path) -> None:
    desk = nowhere(tmp_path)
    began = asyncio.get_running_loop().time()

    status, said = await desk.post(body(event()))  # nobody commits

    assert (status, said["error"]) == (503, "The events are not on disk yet")
    assert asyncio.get_running_loop().time() - began == pytest.approx(PATIENCE_SECONDS, abs=0.1)
    assert books(desk) == (1, 1, 0), "who sends them again must not find them told twice"


async def test_a_disk_that_fails_is_no_reason_to_refuse_what_memory_can_hold(
    tmp_path: Path,
) -> None:
    (tmp_path / "data").write_text("in the way")
    desk = nowhere(tmp_path / "data" / "events")

    async with desk.committing():
        status, _ = await desk.post(body(event()))

    assert status == 200
    assert books(desk) == (1, 0, 1)


async def test_whoever_wants_events_on_disk_first_takes_none_while_it_fails(
    tmp_path: Path,
) -> None:
    (tmp_path / "data").write_text("in the way")
    desk = nowhere(tmp_path / "data" / "events", commit_seconds=0.0)

    async with desk.committing():
        refused = [await desk.post(body(event())) for _ in range(2)]
        (tmp_path / "data").unlink()
        await desk.spool.commit(at_once=True)
        taken, _ = await desk.post(body(event()))

    assert refused == [(503, {"code": 503, "error": "The events are not on disk yet"})] * 2
    assert taken == 200
    assert books(desk) == (1, 0, 1)


class FailsOnce(AtOnce):
    """A disk that does not do the next piece of work when it is told so."""

    fails = False

    def submit(self, job: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        if self.fails:
            self.fails = False
            future: Future[Any] = Future()
            future.set_exception(SpoolUnusable("the disk is full"))
            return future
        return super().submit(job, *args, **kwargs)


@pytest.mark.parametrize(("strict", "status"), [(True, 503), (False, 200)])
async def test_a_disk_that_fails_at_this_very_upload(
    tmp_path: Path, strict: bool, status: int
) -> None:
    disk = FailsOnce()
    desk = nowhere(tmp_path, executor=disk, commit_seconds=0.0 if strict else 0.001)

    async with desk.committing():
        disk.fails = True
        found, _ = await desk.post(body(event()))

        assert found == status
        assert books(desk) == ((1, 1, 0) if strict else (1, 0, 1))


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (body(event(), api_key="nobody's"), "unknown_project"),
        (body({"event_type": "seen"}), "invalid_events"),
        (body(event(time="now")), "invalid_events"),
        (body(event(user_id="x")), "invalid_events"),
        (b"{", "malformed"),
        (b'{"api_key":"second-key"}', "malformed"),
        (body(*[event()] * 2001), "body_too_large"),
    ],
)
async def test_refusals_are_counted_by_reason(raw: bytes, reason: str) -> None:
    desk = nowhere(None)

    await desk.post(raw)
    await desk.post(raw)

    assert desk.rejected() == {reason: 2}


async def test_what_finds_no_room_is_counted_too() -> None:
    desk = nowhere(None, max_memory=10_000)

    statuses = [(await desk.post(body(event(pad="x" * 3000))))[0] for _ in range(3)]

    assert statuses == [200, 503, 503]
    assert desk.rejected() == {"no_room": 2}


async def test_a_project_listed_twice_has_its_events_once(desk: Desk) -> None:
    found = desk.uploads.read("/batch", body(event(), api_key="first-key"), None)

    assert isinstance(found, Upload)
    assert found.project == 0


async def test_what_upstream_refuses_of_an_upload_is_lost_alone(
    desk: Desk, up: FakeUpstream
) -> None:
    refusal = json_answer({"code": 400, "silenced_devices": ["d"]}, 400)
    up.on("POST", "/batch", refusal, answer(200))
    # Neither is read as a whole by anybody here: the number is out of range.
    odd = json.dumps(event(user_id="other one")).replace('"seen"', '"seen","n":1e999')
    bad = json.dumps(event(device_id="d")).replace('"seen"', '"seen","n":1e999')
    raw = f'{{"api_key":"second-key","events":[{odd},{bad}]}}'.encode()

    async with desk.committing():
        await desk.post(raw.replace(b'"d"', b'"d", "user_id": "somebody"'))
        await desk.tracker.flush(5)

    counts = desk.tracker.status()[1]["counts"]
    assert (counts["sent"], counts["dropped"]) == (1, {"silenced": 1})
