import gzip

import msgspec
import pytest

from proxy.errors import UpstreamUnavailable
from proxy.secret import Secret
from proxy.upstream.analytics import LARGE_BYTES, Limits, Receipt, endpoint, payload, post_events
from proxy.upstream.client import UpstreamClient
from tests.fakes.upstream import FakeUpstream, answer, cut, json_answer

KEY = Secret("api-key-of-project")
EVENTS = [b'{"event_type":"a"}', b'{"event_type":"b"}']


async def test_events_travel_gzipped_with_the_key_and_short_ids_allowed(
    client: UpstreamClient, up: FakeUpstream
) -> None:
    up.on("POST", "/batch", json_answer({"code": 200}))

    got = await post_events(client, f"{up.url}/batch", KEY, EVENTS)

    assert got == Receipt(200, b'{"code":200}', None)
    [request] = up.requests
    assert request.headers["Content-Encoding"] == "gzip"
    assert request.headers["Content-Type"] == "application/json"
    assert request.json == {
        "api_key": "api-key-of-project",
        "options": {"min_id_length": 1},
        "events": [{"event_type": "a"}, {"event_type": "b"}],
    }


async def test_a_large_batch_arrives_whole(client: UpstreamClient, up: FakeUpstream) -> None:
    up.on("POST", "/batch", answer(200))
    event = b'{"event_type":"%b"}' % (b"a" * LARGE_BYTES)

    await post_events(client, f"{up.url}/batch", KEY, [event, event])

    [request] = up.requests
    assert request.json["events"] == [msgspec.json.decode(event)] * 2


@pytest.mark.parametrize("status", [301, 400, 413, 429, 500])
async def test_every_answer_is_handed_back(
    client: UpstreamClient, up: FakeUpstream, status: int
) -> None:
    up.on("POST", "/2/httpapi", answer(status, b"{}", Retry_After="7", Location="/elsewhere"))

    got = await post_events(client, f"{up.url}/2/httpapi", KEY, EVENTS)

    assert got == Receipt(status, b"{}", 7.0)
    assert len(up.requests) == 1, "no redirect is followed"


async def test_no_answer_is_an_error(client: UpstreamClient, up: FakeUpstream) -> None:
    up.on("POST", "/batch", cut())

    with pytest.raises(UpstreamUnavailable):
        await post_events(client, f"{up.url}/batch", KEY, EVENTS)


def test_the_path_tells_the_limits() -> None:
    batch = endpoint("http://relay/batch")
    single = endpoint("https://api2.amplitude.com/2/httpapi")

    assert (batch.limits, batch.rest_seconds) == (Limits(events=2000, size=16_000_000), 15.0)
    assert (single.limits, single.rest_seconds) == (Limits(events=1000, size=1_000_000), 30.0)


def test_a_key_is_written_as_json() -> None:
    body = payload(Secret('a"b\\'), [])

    assert msgspec.json.decode(body)["api_key"] == 'a"b\\'
    assert gzip.decompress(gzip.compress(body)) == body
