import json
from typing import Any

import pytest

from proxy.errors import UpstreamError, UpstreamGarbled, UpstreamRefused, UpstreamUnavailable
from proxy.secret import Secret
from proxy.upstream.client import UpstreamClient
from proxy.upstream.web import (
    MOST_FLAG_BYTES,
    Document,
    ScriptName,
    fetch_previews,
    fetch_script,
    fetch_web_flags,
)
from tests.fakes.upstream import (
    FakeUpstream,
    Step,
    answer,
    cut,
    gzip_answer,
    json_answer,
    truncated,
)

KEY = Secret("api-key-a")
FLAGS, PREVIEWS, SCRIPT = "/sdk/v2/flags", "/web/v1/configs", "/script/abc.experiment.js"
NAME, PAGE = ScriptName("abc", "experiment.js"), ScriptName("abc", "relay.html")
SOURCE = b"(function () {})();"
JAVASCRIPT = {"Content_Type": "application/javascript; charset=utf-8"}
# What the client library adds of itself, and what we say of ourselves everywhere.
USUAL = {"host", "accept", "accept-encoding", "user-agent", "x-amp-exp-library"}


def script(body: bytes = SOURCE, **headers: str) -> Step:
    return answer(200, body, **(JAVASCRIPT | headers))


def sent(up: FakeUpstream) -> dict[str, str]:
    headers = {name.lower(): value for name, value in up.requests[-1].headers.items()}
    return {name: value for name, value in headers.items() if name not in USUAL}


async def test_flags_are_asked_for_with_key_and_user_as_they_came(
    client: UpstreamClient, up: FakeUpstream
) -> None:
    up.on("GET", FLAGS, answer(200, b'[ {"key": "a"} ]'))

    assert (await fetch_web_flags(client, KEY, "eyJ9_-==")).body == b'[ {"key": "a"} ]'
    assert up.requests[-1].query == {"delivery_method": "web"}
    assert sent(up) == {"authorization": "Api-Key api-key-a", "x-amp-exp-user": "eyJ9_-=="}

    await fetch_web_flags(client, KEY, "")
    assert sent(up) == {"authorization": "Api-Key api-key-a"}


async def test_previews_are_passed_on(client: UpstreamClient, up: FakeUpstream) -> None:
    body = json.dumps({"flags": [], "pageObjects": {"a": {}}}).encode()
    up.on("GET", PREVIEWS, gzip_answer(body))

    assert (await fetch_previews(client, KEY)).body == body
    assert up.requests[-1].query == {}
    assert sent(up) == {"authorization": "Api-Key api-key-a"}


@pytest.mark.parametrize(
    ("step", "error"),
    [
        (answer(500), UpstreamUnavailable),
        (answer(429, Retry_After="7"), UpstreamUnavailable),
        (answer(401), UpstreamRefused),
        (answer(302, Location="http://elsewhere.example/"), UpstreamRefused),
        (cut(), UpstreamUnavailable),
        (truncated(b"[]"), UpstreamUnavailable),
        (answer(200, b""), UpstreamGarbled),
        (answer(200, b"<html>"), UpstreamGarbled),
        (answer(200, b"1"), UpstreamGarbled),
        (answer(200, b"[1]"), UpstreamGarbled),
        (answer(200, b"[" * 100_000), UpstreamGarbled),
        (answer(200, b"[]" + b" " * MOST_FLAG_BYTES), UpstreamGarbled),
        (json_answer([], status=204), UpstreamGarbled),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
async def test_whatever_is_no_answer_is_a_named_failure(
    client: UpstreamClient, up: FakeUpstream, step: Step, error: type[UpstreamError]
) -> None:
    for path in (FLAGS, PREVIEWS, SCRIPT):
        up.on("GET", path, step)

    with pytest.raises(error):
        await fetch_web_flags(client, KEY, "")
    with pytest.raises(error):
        await fetch_previews(client, KEY)
    with pytest.raises(error):
        await fetch_script(client, NAME)
    assert {request.path for request in up.requests} == {FLAGS, PREVIEWS, SCRIPT}


async def test_a_script_comes_with_what_is_said_of_it_and_nothing_else(
    client: UpstreamClient, up: FakeUpstream
) -> None:
    told = {"ETag": '"v1"', "Cache_Control": "public, max-age=120", "Age": "20"}
    up.on("GET", SCRIPT, script(SOURCE, **told, Set_Cookie="a=b", X_Other="c"))

    assert await fetch_script(client, NAME) == Document(
        body=SOURCE,
        content_type="application/javascript; charset=utf-8",
        cache_control="public, max-age=120",
        etag='"v1"',
        age=20,
    )
    assert sent(up) == {}
    assert up.requests[-1].query == {}


async def test_the_integration_is_asked_for(client: UpstreamClient, up: FakeUpstream) -> None:
    up.on("GET", SCRIPT, script())

    await fetch_script(client, ScriptName("abc", "experiment.js", "segment"))

    assert up.requests[-1].query == {"integration": "segment"}


async def test_cookies_are_not_sent_back(client: UpstreamClient, up: FakeUpstream) -> None:
    up.on("GET", SCRIPT, script(Set_Cookie="a=b; Path=/"))

    for _ in range(2):
        await fetch_script(client, NAME)

    assert "cookie" not in sent(up)


async def test_what_is_held_is_only_checked(client: UpstreamClient, up: FakeUpstream) -> None:
    up.on("GET", SCRIPT, script(ETag='W/"v1"'), answer(304, Cache_Control="max-age=7"))
    held = await fetch_script(client, NAME)

    checked = await fetch_script(client, NAME, held)

    assert sent(up) == {"if-none-match": 'W/"v1"'}
    assert checked.body is held.body
    assert (checked.etag, checked.cache_control) == ('W/"v1"', "max-age=7")


async def test_a_304_that_nobody_asked_for_is_no_script(
    client: UpstreamClient, up: FakeUpstream
) -> None:
    up.on("GET", SCRIPT, answer(304))

    with pytest.raises(UpstreamError):
        await fetch_script(client, NAME)


@pytest.mark.parametrize("status", [404, 410])
async def test_that_there_is_no_script_is_an_answer(
    client: UpstreamClient, up: FakeUpstream, status: int
) -> None:
    up.on("GET", SCRIPT, answer(status, b"<html>not here</html>"))

    assert await fetch_script(client, NAME) == Document(status=status)


@pytest.mark.parametrize(
    ("name", "kind", "fits"),
    [
        (NAME, "text/javascript", True),
        (NAME, "application/x-javascript;charset=UTF-8", True),
        (NAME, "Application/ECMAScript", True),
        (NAME, "text/html", False),
        (NAME, "application/json", False),
        (NAME, "application/javascript; boundary=x", False),
        (NAME, "", False),
        (PAGE, "text/html; charset=utf-8", True),
        (PAGE, "application/javascript", False),
    ],
)
async def test_a_body_of_another_kind_is_no_script(
    client: UpstreamClient, up: FakeUpstream, name: ScriptName, kind: str, fits: bool
) -> None:
    up.on("GET", f"/script/abc.{name.kind}", script(Content_Type=kind))

    if fits:
        assert (await fetch_script(client, name)).content_type == kind
    else:
        with pytest.raises(UpstreamGarbled):
            await fetch_script(client, name)


@pytest.mark.parametrize(
    ("told", "seconds"),
    [
        ("max-age=30", 30),
        ("public,max-age=30, s-maxage=90", 90),
        ("s-maxage=0, max-age=30", 0),
        ('MAX-AGE="12"', 12),
        ("no-store", None),
        ("", None),
        ("max-age=-5", None),
        ("x-max-age=5", None),
        ("max-age=99999999999999", 999_999_999),
    ],
)
def test_how_long_a_cache_may_keep_it_is_read(told: str, seconds: int | None) -> None:
    assert Document(cache_control=told).max_age == seconds


@pytest.mark.parametrize(
    "odd",
    [
        {"ETag": "no quotes"},
        {"ETag": '"' + "x" * 600 + '"'},
        {"Age": "-1", "Cache_Control": "x" * 600},
        {"Age": "99999999999"},
    ],
    ids=str,
)
async def test_odd_headers_are_left_out(
    client: UpstreamClient, up: FakeUpstream, odd: dict[str, Any]
) -> None:
    up.on("GET", SCRIPT, script(SOURCE, **odd))

    document = await fetch_script(client, NAME)

    assert (document.etag, document.cache_control, document.age) == ("", "", 0)
