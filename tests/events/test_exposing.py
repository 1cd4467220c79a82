"""From an answer that somebody was exposed to, to the events that tell it."""

from typing import Any

import pytest

from proxy.events.canonical import java_hash
from proxy.events.destinations import destinations
from proxy.events.tracker import Tracker
from proxy.metrics import Metrics
from proxy.secret import Secret
from proxy.settings.reporting import Assignment, Exposure
from proxy.settings.schema import Project, Settings
from proxy.settings.zones import Urls
from proxy.upstream.client import UpstreamClient
from tests.events.builders import NOW, outcome, spool_in
from tests.fakes.upstream import FakeUpstream, answer, json_answer

OUTCOMES = [outcome("c", deployed=False), outcome("b"), outcome("a"), outcome("d", default=True)]
USER = {"user_id": "u", "groups": {"org": "acme"}}


class Reporting:
    """A tracker on a scripted upstream, and what it counted."""

    def __init__(
        self, up: FakeUpstream, client: UpstreamClient, *, assignment: Assignment | None = None
    ) -> None:
        self.up = up
        self.metrics = Metrics()
        settings = Settings(
            projects=tuple(Project(api_key=Secret(key), secret_key=Secret("s")) for key in "kl"),
            urls=Urls(analytics=f"{up.url}/batch"),
        )
        self.tracker = Tracker(
            destinations(settings, client),
            assignment or Assignment(),
            Exposure(),
            self.metrics,
            spool_in(None, wall=lambda: NOW),
            clock=lambda: NOW,
            chance=lambda: 0.001,
        )

    def expose(self, *asked: str, user: dict[str, Any] = USER, project: int = 0) -> None:
        self.tracker.expose(project, user, OUTCOMES, frozenset(asked), NOW)

    async def told(self) -> list[dict[str, Any]]:
        await self.tracker.flush(5)
        return [event for request in self.up.at("/batch") for event in request.json["events"]]

    def counted(self, name: str) -> float | None:
        self.tracker.measure()
        return self.metrics.registry.get_sample_value(f"amplitude_proxy_{name}_total")

    def counts(self) -> dict[str, Any]:
        found: dict[str, Any] = self.tracker.status()[0]["counts"]
        return found


@pytest.fixture
def reporting(up: FakeUpstream, client: UpstreamClient) -> Reporting:
    up.on("POST", "/batch", answer(200))
    return Reporting(up, client)


def flags(events: list[dict[str, Any]]) -> list[str]:
    return [event["event_properties"]["[Experiment] Flag Key"] for event in events]


async def test_every_exposure_of_an_answer_is_an_event(reporting: Reporting) -> None:
    reporting.expose()

    first, second = await reporting.told()

    canonical = "u null a on b on c on d on "
    assert flags([first, second]) == ["a", "b"]
    assert first["event_type"] == "[Experiment] Exposure"
    assert first["groups"] == {"org": ["acme"]}
    assert first["insert_id"] == f"u null {java_hash(f'a {canonical}')} 19675"
    assert first["time"] == NOW * 1000
    assert reporting.counted("exposure") == 1
    assert reporting.counted("exposure_send") == 2
    assert reporting.counted("assignment") == reporting.counted("assignment_send") == 0


async def test_the_same_exposure_is_told_once_a_day_and_per_project(reporting: Reporting) -> None:
    for _ in range(2):
        reporting.expose()
    reporting.expose(project=1)
    reporting.expose(user={"user_id": "v"})

    assert flags(await reporting.told()) == ["a", "b"] * 3
    assert reporting.counted("exposure") == 4
    assert reporting.counted("exposure_filter") == 1


async def test_assignments_and_exposures_do_not_hide_each_other(reporting: Reporting) -> None:
    reporting.tracker.track(0, USER, OUTCOMES, NOW)
    reporting.expose()

    types = [event["event_type"] for event in await reporting.told()]

    assert types == ["[Experiment] Assignment", *["[Experiment] Exposure"] * 2]


async def test_what_is_asked_for_later_is_told_later(reporting: Reporting) -> None:
    reporting.expose("a", "nowhere")
    reporting.expose("a")
    reporting.expose("a", "b")

    events = await reporting.told()

    assert flags(events) == ["a", "a", "b"]
    assert events[0]["insert_id"] == events[1]["insert_id"], "upstream takes the first only"
    assert reporting.counts()["filtered"] == 1


async def test_an_answer_without_any_exposure_tells_nothing(reporting: Reporting) -> None:
    reporting.expose("c", "d")
    reporting.expose(user={})
    reporting.tracker.expose(0, USER, [], frozenset(), NOW)

    assert await reporting.told() == []
    assert (reporting.counts()["offered"], reporting.counts()["skipped"]) == (3, 3)


async def test_exposures_are_told_where_assignments_are_switched_off(
    up: FakeUpstream, client: UpstreamClient
) -> None:
    up.on("POST", "/batch", answer(200))
    reporting = Reporting(up, client, assignment=Assignment(enabled=False))

    reporting.tracker.track(0, USER, OUTCOMES, NOW)
    reporting.expose()

    assert flags(await reporting.told()) == ["a", "b"]


async def test_exposures_that_were_lost_for_good_may_be_told_again(
    up: FakeUpstream, client: UpstreamClient
) -> None:
    refusal = json_answer({"code": 400, "error": "Invalid API key: k"}, 400)
    up.on("POST", "/batch", refusal, answer(200))
    reporting = Reporting(up, client)

    reporting.expose()
    await reporting.told()
    reporting.expose()
    await reporting.told()

    assert reporting.counts()["dropped"] == {"invalid_api_key": 2}
    assert reporting.counted("exposure_send_failure") == 2
    assert reporting.counted("exposure_send") == 2


async def test_an_exposure_that_cannot_be_made_is_counted_as_one(reporting: Reporting) -> None:
    reporting.tracker.expose(0, USER, OUTCOMES, frozenset(), float("nan"))
    reporting.tracker.expose(0, {"user_id": "u" * 1025}, OUTCOMES, frozenset(), NOW)
    reporting.tracker.expose(9, USER, OUTCOMES, frozenset(), NOW)

    assert await reporting.told() == []
    assert reporting.counts()["dropped"] == {"error": 1, "long_id": 1}
    assert reporting.counted("exposure_send_failure") == 2
