import base64

import msgspec
import pytest

from proxy.errors import UpstreamError, UpstreamGarbled, UpstreamRefused, UpstreamUnavailable
from proxy.secret import Secret
from proxy.upstream.client import MAX_POST_ANSWER_BYTES, UpstreamClient
from proxy.upstream.remote import LONGEST_IN_HEADER, PATH, Question, evaluate_remotely
from tests.fakes.upstream import FakeUpstream, answer, cut

KEY = Secret("server-a")
SMALL = b'{"user_id":"\xc3\xa9?~>"}'
LARGE = b'{"user_id":"u","text":"%b"}' % (b"x" * LONGEST_IN_HEADER)
# What the client library adds of itself.
OF_THE_LIBRARY = {"host", "accept", "accept-encoding", "user-agent", "content-length"}


def decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


async def test_a_small_user_travels_in_the_header(client: UpstreamClient, up: FakeUpstream) -> None:
    up.on("GET", PATH, answer(200, b"anything"))
    question = Question(
        key=KEY, user=SMALL, flag_keys=("a", "ü\ud800"), track="no-track", expose="track"
    )

    assert await evaluate_remotely(client, question) == b"anything"

    (request,) = up.requests
    assert request.query == {"v": "0"}
    sent = {name.lower(): value for name, value in request.headers.items()}
    assert decoded(sent.pop("x-amp-exp-user")) == SMALL
    assert decoded(sent.pop("x-amp-exp-flag-keys")) == '["a","ü\\ud800"]'.encode()
    library = sent.pop("x-amp-exp-library")
    assert library.startswith("evaluation-proxy/")
    assert {name: value for name, value in sent.items() if name not in OF_THE_LIBRARY} == {
        "authorization": "Api-Key server-a",
        "x-amp-exp-track": "no-track",
        "x-amp-exp-exposure-track": "track",
    }


async def test_a_large_user_travels_in_the_body(client: UpstreamClient, up: FakeUpstream) -> None:
    up.on("POST", PATH, answer(200, b"anything"))

    assert await evaluate_remotely(client, Question(key=KEY, user=LARGE)) == b"anything"

    (request,) = up.requests
    assert (request.query, request.body) == ({"v": "0"}, LARGE)
    assert request.headers["Content-Type"] == "application/json"
    for name in ("User", "Flag-Keys", "Track", "Exposure-Track"):
        assert f"X-Amp-Exp-{name}" not in request.headers


@pytest.mark.parametrize("user", [SMALL, LARGE], ids=["header", "body"])
@pytest.mark.parametrize(
    ("status", "error", "wait"),
    [
        (302, UpstreamRefused, None),
        (400, UpstreamRefused, None),
        (401, UpstreamRefused, None),
        (404, UpstreamRefused, None),
        (429, UpstreamUnavailable, 7.0),
        (500, UpstreamUnavailable, 7.0),
        (503, UpstreamUnavailable, 7.0),
    ],
)
async def test_failures_are_told_apart(
    client: UpstreamClient,
    up: FakeUpstream,
    user: bytes,
    status: int,
    error: type[UpstreamError],
    wait: float | None,
) -> None:
    for method in ("GET", "POST"):
        up.on(method, PATH, answer(status, b"{}", Retry_After="7", Location="http://elsewhere"))

    with pytest.raises(error) as raised:
        await evaluate_remotely(client, Question(key=KEY, user=user))

    assert type(raised.value) is error
    assert raised.value.status == status
    if wait is not None:
        assert raised.value.retry_after == wait
    assert len(up.requests) == 1
    assert KEY.reveal() not in str(raised.value)


@pytest.mark.parametrize("user", [SMALL, LARGE], ids=["header", "body"])
async def test_no_answer_is_larger_than_a_mebibyte(
    client: UpstreamClient, up: FakeUpstream, user: bytes
) -> None:
    large = msgspec.json.encode({"a": {"key": "x" * 4 * MAX_POST_ANSWER_BYTES}})
    for method in ("GET", "POST"):
        up.on(method, PATH, answer(200, large))
    try:
        body = await evaluate_remotely(client, Question(key=KEY, user=user))
    except UpstreamGarbled:
        body = b""

    assert len(body) < len(large)
    with pytest.raises(ValueError, match="truncated"):
        msgspec.json.decode(body)


async def test_a_connection_that_is_cut_is_no_answer(
    client: UpstreamClient, up: FakeUpstream
) -> None:
    up.on("GET", PATH, cut())

    with pytest.raises(UpstreamUnavailable):
        await evaluate_remotely(client, Question(key=KEY, user=SMALL))
