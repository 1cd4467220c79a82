"""From an answer to the arrival of its event at a real server, whatever that server does."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from proxy import tasks
from proxy.evaluation.outcomes import Outcome
from proxy.events.canonical import java_hash
from proxy.events.destinations import Destination, Pace, Way, destinations
from proxy.events.encoder import MOST_FRESH, SLICE
from proxy.events.tracker import Tracker
from proxy.metrics import Metrics
from proxy.secret import Secret
from proxy.settings.reporting import Assignment, Exposure
from proxy.settings.schema import Project, Settings
from proxy.settings.zones import Urls
from proxy.upstream.analytics import Limits, Receipt
from proxy.upstream.client import UpstreamClient
from tests.events.builders import NOW, Upstream, event, outcome, receipt, spool_in
from tests.fakes.upstream import (
    FakeUpstream,
    Request,
    Step,
    answer,
    by_request,
    cut,
    hang,
    json_answer,
    truncated,
)

OUTCOMES = [outcome("b", "off", default=True), outcome("a", "on")]
KEYS = ("key-one", "key-two")
PROMPT = Assignment(event_upload_threshold=1, event_upload_period_millis=1)


def tracker_to(
    up: FakeUpstream,
    client: UpstreamClient,
    assignment: Assignment = PROMPT,
    path: str = "/batch",
) -> Tracker:
    projects = tuple(Project(api_key=Secret(key), secret_key=Secret("s"), id=key) for key in KEYS)
    urls = Urls(analytics=f"{up.url}{path}")
    settings = Settings(projects=projects, urls=urls, assignment=assignment)
    # Pauses are cut short, so that no test waits for them.
    return Tracker(
        destinations(settings, client),
        assignment,
        Exposure(),
        Metrics(),
        spool_in(None, wall=lambda: NOW),
        clock=lambda: NOW,
        chance=lambda: 0.001,
    )


@asynccontextmanager
async def running(tracker: Tracker) -> AsyncIterator[Tracker]:
    loop = tasks.start("tracker", tracker.run())
    try:
        yield tracker
    finally:
        await tasks.stop(loop)


async def wait_until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


def arrived(up: FakeUpstream, path: str = "/batch") -> list[dict[str, Any]]:
    return [event for request in up.at(path) for event in request.json["events"]]


def counts(tracker: Tracker, project: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = tracker.status()[project]["counts"]
    return found


def user(number: int) -> dict[str, Any]:
    return {"user_id": f"user-{number}", "device_id": "d"}


class Amplitude:
    """Remembers what it accepted, by insert_id, and answers by a script that ends in 200."""

    def __init__(self, *script: Step) -> None:
        self.script = list(script)
        self.accepted: dict[str, int] = {}

    def __call__(self, request: Request) -> Step:
        step = self.script.pop(0) if self.script else None
        if step is not None:
            return step
        for one in request.json["events"]:
            self.accepted[one["insert_id"]] = self.accepted.get(one["insert_id"], 0) + 1
        return json_answer({"code": 200})


async def test_an_answer_becomes_one_event_upstream(
    up: FakeUpstream, client: UpstreamClient
) -> None:
    up.on("POST", "/batch", answer(200))
    tracker = tracker_to(up, client)

    async with running(tracker):
        tracker.track(1, {"user_id": "u", "groups": {"org": "acme"}}, OUTCOMES, NOW + 0.1234)
        [request] = await up.received(1, "/batch")

    assert request.json["api_key"] == "key-two"
    assert request.json["options"] == {"min_id_length": 1}
    [event] = request.json["events"]
    assert event["user_id"] == "u"
    assert event["time"] == 1_700_000_000_123
    assert event["groups"] == {"org": ["acme"]}
    assert event["insert_id"] == f"u null {java_hash('u null a on b off ')} 19675"
    assert event["user_properties"]["$set"] == {"[Experiment] a": "on"}


async def test_the_order_of_evaluation_does_not_matter(
    up: FakeUpstream, client: UpstreamClient
) -> None:
    tracker = tracker_to(up, client)

    tracker.track(0, user(1), OUTCOMES, NOW)
    tracker.track(0, user(1), OUTCOMES[::-1], NOW)

    assert counts(tracker)["filtered"] == 1


async def test_the_same_is_told_once_a_day_and_per_project(
    up: FakeUpstream, client: UpstreamClient
) -> None:
    up.on("POST", "/batch", answer(200))
    tracker = tracker_to(up, client)

    for at in (NOW, NOW + 1, NOW + 86_399, NOW + 86_400):
        tracker.track(0, user(1), OUTCOMES, at)
    tracker.track(0, user(1), [outcome("a", "off")], NOW)
    tracker.track(1, user(1), OUTCOMES, NOW)
    assert await tracker.flush(5) == 0

    assert [event["time"] // 1000 - NOW for event in arrived(up)] == [0, 86_400, 0, 0]
    assert counts(tracker)["filtered"] == 2


@pytest.mark.parametrize(
    ("nobody", "outcomes"),
    [
        ({}, OUTCOMES),
        ({"user_id": ""}, OUTCOMES),
        ({"user_id": None, "device_id": ""}, OUTCOMES),
        ({"user_id": True, "device_id": ["d"]}, OUTCOMES),
        ({"user_id": "u"}, []),
    ],
)
async def test_no_event_without_identity_or_result(
    up: FakeUpstream, client: UpstreamClient, nobody: dict[str, Any], outcomes: list[Outcome]
) -> None:
    tracker = tracker_to(up, client)

    tracker.track(0, nobody, outcomes, NOW)

    assert await tracker.flush(1) == 0
    assert up.requests == []
    assert (counts(tracker)["offered"], counts(tracker)["skipped"]) == (1, 1)


async def test_a_numeric_id_becomes_text(up: FakeUpstream, client: UpstreamClient) -> None:
    up.on("POST", "/batch", answer(200))
    tracker = tracker_to(up, client)

    tracker.track(0, {"user_id": 42, "device_id": 7}, OUTCOMES, NOW)
    await tracker.flush(5)

    [event] = arrived(up)
    assert (event["user_id"], event["device_id"]) == ("42", "7")
    assert event["insert_id"].startswith("42 7 ")


async def test_an_id_that_is_too_long_gives_no_event(
    up: FakeUpstream, client: UpstreamClient
) -> None:
    tracker = tracker_to(up, client)

    tracker.track(0, {"user_id": "u" * 1025}, OUTCOMES, NOW)
    tracker.track(0, {"user_id": "u", "device_id": "d" * 1025}, OUTCOMES, NOW)

    assert await tracker.flush(1) == 0
    assert counts(tracker)["dropped"] == {"long_id": 2}


async def test_tracking_can_be_switched_off(up: FakeUpstream, client: UpstreamClient) -> None:
    tracker = tracker_to(up, client, Assignment(enabled=False))

    tracker.track(0, user(1), OUTCOMES, NOW)

    assert counts(tracker)["offered"] == 0


async def test_user_properties_can_be_switched_off(
    up: FakeUpstream, client: UpstreamClient
) -> None:
    up.on("POST", "/batch", answer(200))
    tracker = tracker_to(up, client, Assignment(user_properties=False))

    tracker.track(0, user(1), OUTCOMES, NOW)
    await tracker.flush(5)

    assert "user_properties" not in arrived(up)[0]


async def test_the_other_endpoint_is_served_too(up: FakeUpstream, client: UpstreamClient) -> None:
    up.on("POST", "/2/httpapi", answer(200))
    tracker = tracker_to(up, client, path="/2/httpapi")

    for number in range(1500):
        tracker.track(0, user(number), OUTCOMES, NOW)
    assert await tracker.flush(10) == 0

    assert [len(request.json["events"]) for request in up.at("/2/httpapi")] == [1000, 500]


class Broken(dict[str, Any]):
    def get(self, name: str, default: Any = None) -> Any:
        raise RuntimeError(name)


async def test_tracking_never_raises(
    up: FakeUpstream, client: UpstreamClient, log_lines: list[dict[str, Any]]
) -> None:
    tracker = tracker_to(up, client)

    tracker.track(0, Broken(), OUTCOMES, NOW)
    tracker.track(0, Broken(), OUTCOMES, NOW)
    tracker.track(9, user(1), OUTCOMES, NOW)

    assert counts(tracker)["dropped"] == {"error": 2}
    assert [line["event"] for line in log_lines] == [
        "an event cannot be made; more are only counted"
    ]


async def test_an_event_that_cannot_be_made_does_not_stop_the_others(
    up: FakeUpstream, client: UpstreamClient
) -> None:
    up.on("POST", "/batch", answer(200))
    tracker = tracker_to(up, client)

    tracker.track(0, user(1), OUTCOMES, float("nan"))
    tracker.track(0, user(2), OUTCOMES, NOW)
    assert await tracker.flush(5) == 0

    assert [event["user_id"] for event in arrived(up)] == ["user-2"]
    assert counts(tracker)["dropped"] == {"error": 1}


async def test_what_is_fresh_is_bounded(up: FakeUpstream, client: UpstreamClient) -> None:
    tracker = tracker_to(up, client)

    for number in range(MOST_FRESH + 10):
        tracker.track(0, user(number), OUTCOMES, NOW)

    assert (tracker.status()[0]["pending"], tracker.status()[0]["fresh"]) == (10, MOST_FRESH)
    tracker.measure()
    assert tracker_metric(tracker, "events_pending", project="key-one") == 10


def tracker_metric(tracker: Tracker, name: str, **labels: str) -> float | None:
    return tracker._metrics.registry.get_sample_value(f"amplitude_proxy_{name}", labels)


async def test_metrics_keep_up_when_events_come_faster_than_they_are_encoded(
    up: FakeUpstream, client: UpstreamClient
) -> None:
    up.on("POST", "/batch", answer(200))
    tracker = tracker_to(up, client)
    numbers = itertools.count()

    def flood() -> float | None:
        for number in itertools.islice(numbers, 2 * SLICE):
            tracker.track(0, user(number), OUTCOMES, NOW)
        return tracker_metric(tracker, "assignment_total")

    async with running(tracker), asyncio.timeout(10):
        while not flood():
            await asyncio.sleep(0)


@pytest.mark.looptime
async def test_metrics_are_brought_up_to_date_once_a_second_however_many_events_come() -> None:
    way = Way(limits=Limits(events=10, size=100_000))
    there = Destination("p", "origin", way, Upstream())
    tracker = Tracker([there], Assignment(), Exposure(), Metrics(), spool_in(None))
    seen = set()

    async with running(tracker):
        for number in range(500):
            tracker.track(0, user(number), OUTCOMES, NOW)
            await asyncio.sleep(0.01)
            seen.add(tracker_metric(tracker, "assignment_total"))

    assert 5 <= len(seen) <= 7


@pytest.mark.parametrize(
    "failures",
    [
        [answer(500)] * 3,
        [answer(502), answer(503, Retry_After="0"), answer(504), answer(408)],
        [json_answer({"code": 429}, 429, Retry_After="0")] * 2,
        [cut(), truncated(b"{")],
        [hang(), hang()],
        [answer(302, Location="/elsewhere")],
        [json_answer({"code": 413}, 413)] * 3,
        [json_answer({"code": 400, "throttled_events": [0, 3]}, 400, Retry_After="0")],
        [json_answer({"code": 400, "error": "?"}, 400)] * 3,
    ],
    ids=["500", "5xx", "429", "cut", "time-out", "redirect", "413", "throttled", "400 by halves"],
)
async def test_whatever_goes_wrong_for_a_while_every_event_arrives(
    up: FakeUpstream, client: UpstreamClient, failures: list[Step]
) -> None:
    amplitude = Amplitude(*failures)
    up.on("POST", "/batch", by_request(amplitude))
    tracker = tracker_to(up, client, Assignment(event_upload_threshold=20))

    async with running(tracker):
        for number in range(20):
            tracker.track(0, user(number), OUTCOMES, NOW)
        await wait_until(lambda: counts(tracker)["sent"] == 20)

    assert set(amplitude.accepted.values()) == {1}
    assert len(amplitude.accepted) == 20
    assert counts(tracker)["dropped"] == {}
    first = {event["insert_id"] for event in up.at("/batch")[0].json["events"]}
    assert first == set(amplitude.accepted), "sent again under the same insert_id"


async def test_nothing_is_lost_while_upstream_is_away(
    up: FakeUpstream, client: UpstreamClient
) -> None:
    amplitude = Amplitude()
    up.on("POST", "/batch", by_request(amplitude))
    tracker = tracker_to(up, client)
    await up.close()

    async with running(tracker):
        for number in range(50):
            tracker.track(number % 2, user(number), OUTCOMES, NOW)
        await wait_until(lambda: tracker.status()[1]["failures_in_a_row"] > 3)
        assert up.requests == []
        await up.open()
        await wait_until(lambda: len(amplitude.accepted) == 50)

    assert set(amplitude.accepted.values()) == {1}


async def test_one_projects_trouble_is_not_anothers(
    up: FakeUpstream, client: UpstreamClient
) -> None:
    hanging, fine = hang(), answer(200)
    up.on(
        "POST",
        "/batch",
        by_request(lambda request: hanging if request.json["api_key"] == "key-one" else fine),
    )
    tracker = tracker_to(up, client)

    async with running(tracker):
        for number in range(10):
            tracker.track(number % 2, user(number), OUTCOMES, NOW)
        await wait_until(lambda: counts(tracker, 1)["sent"] == 5)

    assert counts(tracker, 0)["sent"] == 0
    assert tracker.status()[0]["pending"] == 5


async def test_refused_events_are_lost_alone(up: FakeUpstream, client: UpstreamClient) -> None:
    def judge(request: Request) -> Step:
        events = request.json["events"]
        bad = [place for place, event in enumerate(events) if event["user_id"] == "anonymous"]
        refusal = {"code": 400, "events_with_invalid_fields": {"user_id": bad}}
        return json_answer(refusal, 400) if bad else answer(200)

    up.on("POST", "/batch", by_request(judge))
    tracker = tracker_to(up, client)

    for name in ("a", "anonymous", "b"):
        tracker.track(0, {"user_id": name}, OUTCOMES, NOW)
    assert await tracker.flush(5) == 0
    tracker.track(0, {"user_id": "anonymous"}, OUTCOMES, NOW)

    assert [event["user_id"] for event in up.requests[1].json["events"]] == ["a", "b"]
    assert counts(tracker)["dropped"] == {"invalid": 1}
    assert counts(tracker)["filtered"] == 1


async def test_what_was_lost_for_good_may_be_told_again(
    up: FakeUpstream, client: UpstreamClient
) -> None:
    refusal = json_answer({"code": 400, "error": "Invalid API key: key-one"}, 400)
    up.on("POST", "/batch", refusal, answer(200))
    tracker = tracker_to(up, client)

    tracker.track(0, user(1), OUTCOMES, NOW)
    await tracker.flush(5)
    tracker.track(0, user(1), OUTCOMES, NOW)
    await tracker.flush(5)

    assert counts(tracker)["dropped"] == {"invalid_api_key": 1}
    assert counts(tracker)["sent"] == 1


async def test_a_stop_right_after_an_answer_loses_nothing(
    up: FakeUpstream, client: UpstreamClient
) -> None:
    up.on("POST", "/batch", answer(200))
    tracker = tracker_to(up, client, Assignment())

    async with running(tracker):
        tracker.track(0, user(1), OUTCOMES, NOW)
    left = await tracker.flush(5)

    assert left == 0
    assert len(arrived(up)) == 1


async def test_a_batch_cut_short_by_the_stop_goes_again_under_the_same_insert_id(
    up: FakeUpstream, client: UpstreamClient
) -> None:
    up.on("POST", "/batch", hang(), answer(200))
    tracker = tracker_to(up, client)

    async with running(tracker):
        tracker.track(0, user(1), OUTCOMES, NOW)
        await up.received(1, "/batch")
    assert await tracker.flush(5) == 0

    assert len({event["insert_id"] for event in arrived(up)}) == 1
    assert len(up.requests) == 2
    assert counts(tracker)["sent"] == 1


async def test_a_stop_with_upstream_away_says_what_was_lost(
    up: FakeUpstream, client: UpstreamClient, log_lines: list[dict[str, Any]]
) -> None:
    tracker = tracker_to(up, client)
    await up.close()

    for number in range(3):
        tracker.track(number % 2, user(number), OUTCOMES, NOW)
    left = await tracker.flush(0.2)

    assert left == 3
    assert tracker_metric(tracker, "events_dropped_total", project="key-one", reason="stopped") == 2
    assert tracker_metric(tracker, "assignment_send_failure_total") == 3
    assert log_lines[-1]["event"] == "stopped before all events were sent"
    assert log_lines[-1]["lost"] == 3


def rigged(upstream: Upstream, **assignment: Any) -> Tracker:
    async def post(bodies: Sequence[bytes], _options: bytes) -> Receipt:
        users = [msgspec.json.decode(body)["user_id"] for body in bodies]
        return await upstream([event(int(one.removeprefix("user-"))) for one in users])

    way = Way(limits=Limits(events=100, size=100_000), pace=Pace(threshold=10))
    return Tracker(
        [Destination("p", "origin", way, post)],
        Assignment(**assignment),
        Exposure(),
        Metrics(),
        spool_in(None),
        clock=lambda: NOW + asyncio.get_running_loop().time(),
    )


@pytest.mark.looptime
async def test_the_metrics_follow_within_a_second() -> None:
    tracker = rigged(Upstream(None))

    async with running(tracker):
        for number in range(3):
            tracker.track(0, user(number), OUTCOMES, NOW)
        tracker.track(0, user(0), OUTCOMES, NOW)
        await asyncio.sleep(31)

    assert tracker_metric(tracker, "assignment_total") == 4
    assert tracker_metric(tracker, "assignment_filter_total") == 1
    assert tracker_metric(tracker, "events_pending", project="p") == 3
    assert tracker_metric(tracker, "events_oldest_age_seconds", project="p") == pytest.approx(
        30, abs=1.5
    )
    assert tracker.status()[0]["project"] == "p"


@pytest.mark.looptime
async def test_a_defect_while_one_project_is_flushed_costs_no_other_project_its_events(
    log_lines: list[dict[str, Any]],
) -> None:
    came: list[bytes] = []

    async def slow(bodies: Sequence[bytes], _options: bytes) -> Receipt:
        await asyncio.sleep(3)
        came.extend(bodies)
        return receipt(200)

    async def broken(_: Sequence[bytes], _options: bytes) -> Receipt:
        raise RuntimeError("a defect")

    way = Way(limits=Limits(events=100, size=100_000))
    posts = {"broken": broken, "fine": slow}
    tracker = Tracker(
        [Destination(label, label, way, post) for label, post in posts.items()],
        Assignment(),
        Exposure(),
        Metrics(),
        spool_in(None),
        clock=lambda: NOW,
    )
    tracker.track(0, user(0), OUTCOMES, NOW)
    tracker.track(1, user(1), OUTCOMES, NOW)

    assert await tracker.flush(10) == 1
    assert len(came) == 1
    assert counts(tracker, 0)["dropped"] == {"stopped": 1}
    assert any(line["event"] == "flush died" for line in log_lines)


@pytest.mark.looptime
async def test_a_dead_loop_is_reported_and_started_again(
    log_lines: list[dict[str, Any]],
) -> None:
    def defect(_bodies: Any) -> Receipt:
        raise RuntimeError("a defect")

    upstream = Upstream(defect, receipt(200))
    tracker = rigged(upstream)

    async with running(tracker):
        tracker.track(0, user(1), OUTCOMES, NOW)
        await asyncio.sleep(60)

    assert len(upstream.accepted) == 1
    assert tracker_metric(tracker, "loop_deaths_total", loop="events p") == 1
    assert [line["loop"] for line in log_lines if line["event"] == "loop died"] == ["events p"]


@pytest.mark.looptime
async def test_a_large_wave_is_encoded_in_slices() -> None:
    upstream = Upstream()
    tracker = rigged(upstream)
    turns = 0

    async def others() -> None:
        nonlocal turns
        while len(upstream.accepted) < 1000:
            turns += 1
            await asyncio.sleep(0)

    async with running(tracker):
        for number in range(1000):
            tracker.track(0, user(number), OUTCOMES, NOW)
        await asyncio.sleep(0.02)
        await others()

    assert turns > 10


def durable_tracker(folder: Path, commit_seconds: float, upstream: Upstream) -> Tracker:
    async def post(bodies: Sequence[bytes], _options: bytes) -> Receipt:
        users = [msgspec.json.decode(body)["user_id"] for body in bodies]
        return await upstream([event(int(one.removeprefix("user-"))) for one in users])

    spool = spool_in(folder, wall=lambda: NOW, commit_seconds=commit_seconds)
    there = Destination("p", "origin", Way(limits=Limits(events=100, size=100_000)), post)
    return Tracker([there], Assignment(), Exposure(), Metrics(), spool, clock=lambda: NOW)


@pytest.mark.looptime
async def test_an_answer_can_wait_until_its_event_is_on_disk(tmp_path: Path) -> None:
    tracker = durable_tracker(tmp_path, 0.0, Upstream(None))
    await tracker._spool.open()

    async with running(tracker):
        tracker.track(0, user(1), OUTCOMES, NOW)
        done = tracker.durable()
        assert done is not None
        assert await done
        assert tracker.status()[0]["in_memory"] == 0
        tracker.track(0, user(1), OUTCOMES, NOW)
        assert tracker.durable() is None, "nothing new was told"
    await tracker._spool.close()


async def test_no_answer_waits_when_commits_wait_for_company(tmp_path: Path) -> None:
    tracker = durable_tracker(tmp_path, 0.05, Upstream(None))

    tracker.track(0, user(1), OUTCOMES, NOW)

    assert tracker.durable() is None
    await tracker._spool.close()


@pytest.mark.looptime
async def test_within_the_commit_window_an_event_is_on_disk(tmp_path: Path) -> None:
    tracker = durable_tracker(tmp_path, 0.05, Upstream(None))
    await tracker._spool.open()

    async with running(tracker):
        tracker.track(0, user(1), OUTCOMES, NOW)
        await asyncio.sleep(0.08)  # a moment to gather, and the commit's
        assert counts(tracker)["spooled"] == 1
    assert tracker.spool_status()["place"] == "disk"
    await tracker._spool.close()


@pytest.mark.looptime
async def test_a_stop_with_upstream_away_keeps_events_for_the_next_start(
    tmp_path: Path, log_lines: list[dict[str, Any]]
) -> None:
    tracker = durable_tracker(tmp_path, 0.05, Upstream(None))
    await tracker._spool.open()
    for number in range(3):
        tracker.track(0, user(number), OUTCOMES, NOW)
    assert await tracker.flush(5) == 0
    await tracker._spool.close()
    assert counts(tracker)["dropped"] == {}
    assert log_lines[-1]["event"] == "events wait on disk for the next start"
    assert log_lines[-1]["kept_on_disk"] == 3

    upstream = Upstream()
    again = durable_tracker(tmp_path, 0.05, upstream)
    await again._spool.open()
    async with running(again):
        await asyncio.sleep(1)
    await again._spool.close()

    assert sorted(upstream.accepted) == [0, 1, 2]


async def test_events_of_a_project_that_goes_are_sent_and_then_its_senders_end(
    up: FakeUpstream, client: UpstreamClient
) -> None:
    up.on("POST", "/batch", json_answer({"code": 200}))
    tracker = tracker_to(up, client, Assignment(event_upload_period_millis=200))
    first = next(one for one in destinations_of(up, client))
    async with running(tracker):
        tracker.track(1, user(1), [outcome()], NOW)
        await wait_until(lambda: len(senders()) == 4)

        tracker.serve({0: first})

        await wait_until(lambda: arrived(up))
        await wait_until(lambda: len(senders()) == 2)
        assert [row["project"] for row in tracker.status()] == [KEYS[0]]

        # An answer that was under way when the project went.
        tracker.track(1, user(2), [outcome()], NOW)
        await wait_until(lambda: len(arrived(up)) == 2)


async def test_a_project_that_comes_later_is_served_like_the_others(
    up: FakeUpstream, client: UpstreamClient
) -> None:
    up.on("POST", "/batch", json_answer({"code": 200}))
    tracker = tracker_to(up, client)
    known = dict(enumerate(destinations_of(up, client)))
    async with running(tracker):
        later = known[0]._replace(label="later", origin="later")
        tracker.serve({**known, 2: later})
        tracker.track(2, user(1), [outcome()], NOW)
        await wait_until(lambda: arrived(up))

        tracker.serve({0: known[0]})
        tracker.serve({**known, 2: later})
        tracker.track(2, user(2), [outcome()], NOW)
        await wait_until(lambda: len(arrived(up)) == 2)
    assert len(tracker.status()) == 3


def destinations_of(up: FakeUpstream, client: UpstreamClient) -> list[Destination]:
    projects = tuple(Project(api_key=Secret(key), secret_key=Secret("s"), id=key) for key in KEYS)
    urls = Urls(analytics=f"{up.url}/batch")
    return destinations(Settings(projects=projects, urls=urls, assignment=PROMPT), client)


def senders() -> list[str]:
    names = [task.get_name() for task in asyncio.all_tasks()]
    return [name for name in names if name.endswith(KEYS)]
