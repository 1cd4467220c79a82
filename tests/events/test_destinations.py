from proxy.events.destinations import MOST_OPTION_BYTES, Pace, Way, destinations
from proxy.events.event import ASSIGNMENT, EXPOSURE, INGEST
from proxy.secret import Secret
from proxy.settings.reporting import Assignment, Exposure
from proxy.settings.schema import Project, Settings
from proxy.settings.zones import Urls
from proxy.upstream.analytics import Limits, payload
from proxy.upstream.client import UpstreamClient
from tests.fakes.upstream import FakeUpstream, answer

KEY = Secret("key-of-first")
PROJECTS = (
    Project(api_key=KEY, secret_key=Secret("s"), id="first"),
    Project(api_key=Secret("key-of-second"), secret_key=Secret("s")),
)


async def test_each_project_has_its_way(client: UpstreamClient, up: FakeUpstream) -> None:
    settings = Settings(
        projects=PROJECTS,
        urls=Urls(analytics=f"{up.url}/2/httpapi"),
        assignment=Assignment(event_upload_threshold=7, event_upload_period_millis=2500),
        exposure=Exposure(event_upload_threshold=9, event_upload_period_millis=500),
    )
    up.on("POST", "/2/httpapi", answer(200))

    first, second = destinations(settings, client)
    await second.post([b"{}"], b'{"min_id_length":3}')

    assert first.label == "first"
    assert second.label == PROJECTS[1].api_key.label
    assert first.way == Way(
        limits=Limits(events=1000, size=1_000_000 - len(payload(KEY, [], b"")) - MOST_OPTION_BYTES),
        rest_seconds=30.0,
        pace=Pace(threshold=7, period_seconds=2.5),
        paces={EXPOSURE: Pace(threshold=9, period_seconds=0.5)},
    )
    assert first.way.pace_of(ASSIGNMENT) == first.way.pace_of(INGEST) == first.way.pace
    assert first.origin == KEY.label, "it follows from the key alone"
    assert up.requests[0].json == {
        "api_key": "key-of-second",
        "options": {"min_id_length": 3},
        "events": [{}],
    }
