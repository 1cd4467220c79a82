import socket
import traceback

import pytest

from proxy import __version__
from proxy.errors import UpstreamError, UpstreamGarbled, UpstreamRefused, UpstreamUnavailable
from proxy.settings.zones import Urls
from proxy.upstream.client import (
    MAX_POST_ANSWER_BYTES,
    Deadlines,
    UpstreamClient,
    join,
    open_session,
)
from tests.fakes.upstream import (
    FakeUpstream,
    Step,
    Stream,
    answer,
    by_request,
    cut,
    gzip_answer,
    hang,
    truncated,
)

KEY = "server-sesame-open"
HEADERS = {"Authorization": f"Api-Key {KEY}"}


async def failure(client: UpstreamClient, url: str) -> UpstreamError:
    with pytest.raises(UpstreamError) as caught:
        await client.get(url, headers=HEADERS)
    return caught.value


async def test_an_answer_is_read_to_its_end(client: UpstreamClient, up: FakeUpstream) -> None:
    up.on("GET", "/x", answer(200, b"whole", ETag='"1"'))

    got = await client.get(f"{up.url}/x", headers=HEADERS, query={"v": "0"})

    assert (got.status, got.body, got.headers["etag"]) == (200, b"whole", '"1"')
    [request] = up.requests
    assert request.query == {"v": "0"}
    assert request.headers["X-Amp-Exp-Library"] == f"evaluation-proxy/{__version__}"


async def test_gzip_is_asked_for_and_inflated(client: UpstreamClient, up: FakeUpstream) -> None:
    up.on("GET", "/x", gzip_answer(b"a" * 50_000))

    got = await client.get(f"{up.url}/x", headers=HEADERS)

    assert got.body == b"a" * 50_000
    assert "gzip" in up.requests[0].headers["Accept-Encoding"]


@pytest.mark.parametrize("packed", [False, True])
async def test_a_body_beyond_the_bound_is_garbled(
    client: UpstreamClient, up: FakeUpstream, packed: bool
) -> None:
    body = b"a" * 100_001
    up.on("GET", "/x", gzip_answer(body) if packed else answer(200, body))

    assert isinstance(await failure(client, f"{up.url}/x"), UpstreamGarbled)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, UpstreamRefused),
        (401, UpstreamRefused),
        (403, UpstreamRefused),
        (404, UpstreamRefused),
        (408, UpstreamUnavailable),
        (429, UpstreamUnavailable),
        (500, UpstreamUnavailable),
        (501, UpstreamUnavailable),
        (503, UpstreamUnavailable),
        (304, UpstreamRefused),
        (302, UpstreamRefused),
    ],
)
async def test_only_2xx_is_success(
    client: UpstreamClient, up: FakeUpstream, status: int, kind: type[UpstreamError]
) -> None:
    up.on("GET", "/x", answer(status, b"", Location=f"{up.url}/y", Retry_After="7"))

    error = await failure(client, f"{up.url}/x")

    assert type(error) is kind
    assert (error.status, error.retry_after) == (status, 7)
    assert [request.path for request in up.requests] == ["/x"]


async def test_304_is_an_answer_to_who_asked_for_it(
    client: UpstreamClient, up: FakeUpstream
) -> None:
    up.on("GET", "/x", answer(304))

    got = await client.get(f"{up.url}/x", headers={**HEADERS, "If-None-Match": '"1"'})

    assert (got.status, got.body) == (304, b"")


@pytest.mark.parametrize(
    "step",
    [cut(), truncated(b"[1,2"), answer(200, b"not gzip", Content_Encoding="gzip")],
    ids=["cut", "truncated", "not gzip"],
)
async def test_half_an_answer_is_none(client: UpstreamClient, up: FakeUpstream, step: Step) -> None:
    up.on("GET", "/x", step)

    assert isinstance(await failure(client, f"{up.url}/x"), UpstreamUnavailable)


async def test_an_answer_has_a_deadline(up: FakeUpstream) -> None:
    up.on("GET", "/x", hang())
    async with open_session() as session:
        client = UpstreamClient(session, Urls(), deadlines=Deadlines(total=0.05))

        assert isinstance(await failure(client, f"{up.url}/x"), UpstreamUnavailable)


async def test_no_answer_is_unavailable_and_no_text_tells_the_key(client: UpstreamClient) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]

        error = await failure(client, f"http://127.0.0.1:{port}/{KEY}")

    assert isinstance(error, UpstreamUnavailable)
    assert KEY not in "".join(traceback.format_exception(error))
    with pytest.raises(UpstreamUnavailable):
        await client.post(f"http://127.0.0.1:{port}/", b"", {})
    with pytest.raises(UpstreamUnavailable):
        await client.open_stream(f"http://127.0.0.1:{port}/", headers={})


async def test_what_cannot_be_sent_is_refused_without_its_text(client: UpstreamClient) -> None:
    with pytest.raises(UpstreamRefused) as caught:
        await client.get(f"{client.urls.flags}/x", headers={"Authorization": f"Api-Key {KEY}\n"})

    assert KEY not in "".join(traceback.format_exception(caught.value))


async def test_a_post_returns_whatever_was_answered(
    client: UpstreamClient, up: FakeUpstream
) -> None:
    up.on("POST", "/batch", answer(429, b'{"code":429}', Retry_After="3"), answer(302))

    status, headers, body = await client.post(f"{up.url}/batch", b"{}", {"Content-Type": "x/y"})
    redirected = await client.post(f"{up.url}/batch", b"{}", {})

    assert (status, body) == (429, b'{"code":429}')
    assert client.retry_after(headers) == 3
    assert redirected.status == 302
    assert up.requests[0].body == b"{}"
    assert up.requests[0].headers["Content-Type"] == "x/y"


async def test_the_answer_to_a_post_is_cut_at_its_bound(
    client: UpstreamClient, up: FakeUpstream
) -> None:
    up.on("POST", "/batch", answer(200, b"a" * (3 * MAX_POST_ANSWER_BYTES)))

    got = await client.post(f"{up.url}/batch", b"{}", {})

    assert got.status == 200
    assert MAX_POST_ANSWER_BYTES < len(got.body) < 2 * MAX_POST_ANSWER_BYTES


async def test_a_stream_is_read_until_it_ends(client: UpstreamClient, up: FakeUpstream) -> None:
    script = Stream(b"[1]")
    up.on("GET", "/s", script)
    stream = await client.open_stream(f"{up.url}/s", headers=HEADERS)

    assert await stream.read(float("inf")) == b"data: [1]\n\n"
    assert await stream.read(0) is None
    script.send(b"more")
    assert await stream.read(float("inf")) == b"more"
    script.hang_up()
    with pytest.raises(UpstreamUnavailable, match="ended"):
        await stream.read(float("inf"))
    stream.close()


async def test_a_stream_begins_with_success_in_time(up: FakeUpstream) -> None:
    up.on("GET", "/s", answer(501), hang())
    async with open_session() as session:
        client = UpstreamClient(session, Urls(), deadlines=Deadlines(connect=0.2))

        with pytest.raises(UpstreamUnavailable) as caught:
            await client.open_stream(f"{up.url}/s", headers=HEADERS)
        assert caught.value.status == 501
        with pytest.raises(UpstreamUnavailable, match="in time"):
            await client.open_stream(f"{up.url}/s", headers=HEADERS)


async def test_cookies_are_not_kept(client: UpstreamClient, up: FakeUpstream) -> None:
    up.on("GET", "/x", by_request(lambda _: answer(200, b"", Set_Cookie="a=b")))

    await client.get(f"{up.url}/x", headers=HEADERS)
    await client.get(f"{up.url}/x", headers=HEADERS)

    assert "Cookie" not in up.requests[1].headers


@pytest.mark.parametrize("base", ["https://h/base", "https://h/base/", "https://h/base//"])
def test_the_path_of_a_configured_url_is_kept(base: str) -> None:
    assert join(base, "/sdk/v2/flags") == "https://h/base/sdk/v2/flags"
