"""The script of web experiments: the CDN's, from here, for keys that are ours."""

import asyncio
import gzip
import zlib
from typing import Any

import pytest

from proxy.api.scripts import FORGOTTEN_AFTER_SECONDS, MOST_INTEGRATIONS, Integrations, freshness
from proxy.settings.web import Scripts
from proxy.upstream.web import MOST_SCRIPT_BYTES, Document
from tests.api.pages import paged
from tests.builders import API_KEY, KEY
from tests.fakes.upstream import FakeUpstream, Step, answer, cut, gzip_answer, hang, truncated

PATH = f"/script/{API_KEY}.experiment.js"
PAGE = f"/script/{API_KEY}.relay.html"
SOURCE = b"window.webExperiment = {};"
KIND = "application/javascript; charset=utf-8"
# Without a key: nothing but the path says whose script it is.
NOBODY = {"Authorization": ""}


def script(body: bytes = SOURCE, **headers: str) -> Step:
    return answer(200, body, **{"Content_Type": KIND, "ETag": '"v1"', **headers})


async def test_a_script_comes_as_the_cdn_gives_it(up: FakeUpstream) -> None:
    told = {"Cache_Control": "public, max-age=120", "Set_Cookie": "a=b", "X_Other": "c"}
    up.on("GET", PATH, script(SOURCE, **told))
    async with paged(up, []) as pages:
        for _ in range(3):
            answered = await pages.served.get(PATH, **NOBODY)

            assert (answered.status, answered.body) == (200, SOURCE)
            assert answered.headers["content-type"] == KIND
            assert answered.headers["cache-control"] == "public, max-age=120"
            assert answered.headers["etag"] == '"v1"'
            assert int(answered.headers["age"]) >= 0
            assert not {"set-cookie", "x-other"} & set(answered.headers)
        assert (pages.answers("scripts", "miss"), pages.answers("scripts", "hit")) == (1, 2)
    assert len(up.requests) == 1


async def test_who_has_it_already_is_told_so(up: FakeUpstream) -> None:
    up.on("GET", PATH, script())
    async with paged(up, []) as pages:
        for asked in ('"v1"', 'W/"v1"', '"other", "v1"', "*"):
            answered = await pages.served.get(PATH, If_None_Match=asked, **NOBODY)
            assert (answered.status, answered.body) == (304, b"")
            assert answered.headers["etag"] == '"v1"'
        assert (await pages.served.get(PATH, If_None_Match='"old"', **NOBODY)).status == 200


async def test_head_says_how_long_it_is(up: FakeUpstream) -> None:
    up.on("GET", PATH, script())
    async with paged(up, []) as pages:
        head = await pages.served.ask("HEAD", PATH, NOBODY)

        assert (head.status, head.body) == (200, b"")
        assert head.headers["content-length"] == str(len(SOURCE))
        assert (await pages.served.ask("POST", PATH, NOBODY, b"")).status == 405


async def test_it_travels_packed_to_those_who_can_unpack_it(up: FakeUpstream) -> None:
    source = SOURCE * 1000
    up.on("GET", PATH, gzip_answer(source, Content_Type=KIND))
    async with paged(up, []) as pages:
        packed = await pages.served.get(PATH, Accept_Encoding="gzip, br", **NOBODY)
        plain = await pages.served.get(PATH, **NOBODY)

        assert packed.headers["content-encoding"] == "gzip"
        assert zlib.decompress(packed.body, 31) == plain.body == source
        assert packed.headers["vary"] == plain.headers["vary"] == "Accept-Encoding"


@pytest.mark.parametrize(
    "path",
    [
        "/script/other-key.experiment.js",
        f"/script/{API_KEY}.other.js",
        f"/script/{API_KEY}",
        f"/script/{API_KEY}.experiment.js/more",
        f"/script/x/{API_KEY}.experiment.js",
        f"/script/%2e%2e%2f{API_KEY}.experiment.js",
        f"/script/../script/{API_KEY}.experiment.js",
        f"/script/{API_KEY}%00.experiment.js",
        f"/script/{API_KEY}%C3%A9.experiment.js",
        "/script/test-secret.experiment.js",
        "/script/.experiment.js",
        "/script/",
        "/script",
        f"{PATH}?integration=../../other",
        f"{PATH}?integration=" + "x" * 41,
    ],
)
async def test_nothing_but_scripts_of_our_keys_is_fetched(up: FakeUpstream, path: str) -> None:
    up.on("GET", PATH, script())
    async with paged(up, []) as pages:
        assert (await pages.served.get(path, **NOBODY)).status == 404
    assert up.requests == []


async def test_deployments_have_scripts_too_and_pending_ones_may_have(up: FakeUpstream) -> None:
    up.on("GET", f"/script/{KEY}.experiment.js", script())
    async with paged(up, []) as pages:
        assert (await pages.served.get(f"/script/{KEY}.experiment.js", **NOBODY)).status == 200
        pages.served.board.pending = True
        assert (await pages.served.get("/script/new.experiment.js", **NOBODY)).status == 503
        assert (await pages.served.get("/script/new.other.js", **NOBODY)).status == 404


async def test_of_the_query_the_integration_alone_counts(up: FakeUpstream) -> None:
    up.on("GET", PATH, script())
    async with paged(up, []) as pages:
        for query in ("", "?v=1", "?_=2", "?integration=segment", "?x=y&integration=segment&z"):
            assert (await pages.served.get(PATH + query, **NOBODY)).status == 200
    assert [dict(one.query) for one in up.requests] == [{}, {"integration": "segment"}]


async def test_a_crowd_of_queries_makes_few_questions(up: FakeUpstream) -> None:
    up.on("GET", PATH, script())
    async with paged(up, []) as pages:
        found = [
            (await pages.served.get(f"{PATH}?integration=i{number}", **NOBODY)).status
            for number in range(50)
        ]

        assert found == [200] * MOST_INTEGRATIONS + [404] * (50 - MOST_INTEGRATIONS)
        assert (await pages.served.get(f"{PATH}?integration=segment", **NOBODY)).status == 200
    assert len(up.requests) == MOST_INTEGRATIONS + 1


def test_places_for_integrations_are_free_again_when_nobody_asks() -> None:
    now = [0.0]
    places = Integrations(lambda: now[0])

    assert all(places.take("a", f"i{number}") for number in range(MOST_INTEGRATIONS))
    assert not places.take("a", "one more")
    assert places.take("b", "one-more")
    now[0] += FORGOTTEN_AFTER_SECONDS
    assert places.take("a", "i0")
    now[0] += 1.0
    assert places.take("a", "one-more")
    assert places.take("a", "i0")
    assert all(places.take("a", f"n{number}") for number in range(MOST_INTEGRATIONS - 2))
    assert not places.take("a", "yet-another")


@pytest.mark.parametrize(
    ("cache_control", "age", "seconds"),
    [
        ("", 0, 60),
        ("no-store", 0, 60),
        ("max-age=5", 0, 60),
        ("max-age=200", 0, 200),
        ("max-age=200", 50, 150),
        ("max-age=200", 190, 60),
        ("max-age=31536000", 0, 300),
        ("s-maxage=100, max-age=31536000", 0, 100),
    ],
)
def test_a_script_is_fresh_for_one_minute_to_five(
    cache_control: str, age: int, seconds: float
) -> None:
    assert freshness(Document(cache_control=cache_control, age=age)) == seconds


FAILURES = [
    pytest.param(answer(500), 503, id="500"),
    pytest.param(answer(403, "<html>"), 403, id="403"),
    pytest.param(answer(429), 503, id="429"),
    pytest.param(answer(302, Location="http://elsewhere.example/"), 503, id="redirect"),
    pytest.param(cut(), 503, id="cut"),
    pytest.param(truncated(SOURCE), 503, id="truncated"),
    pytest.param(answer(200, b"<html>", Content_Type="text/html"), 503, id="garbage"),
    pytest.param(answer(200, b" ", Content_Type=KIND), 503, id="empty"),
    pytest.param(answer(200, b"x" * (MOST_SCRIPT_BYTES + 1), Content_Type=KIND), 503, id="huge"),
    pytest.param(
        answer(200, gzip.compress(b"x" * 100)[:-30], Content_Encoding="gzip", Content_Type=KIND),
        503,
        id="broken gzip",
    ),
]


@pytest.mark.parametrize(("failure", "expected"), FAILURES)
async def test_without_a_copy_a_failure_is_told_in_our_words(
    up: FakeUpstream, failure: Step, expected: int
) -> None:
    up.on("GET", PATH, failure)
    async with paged(up, []) as pages:
        for _ in range(2):
            answered = await pages.served.get(PATH, **NOBODY)

            assert answered.status == expected
            assert answered.json["code"] == expected
        assert pages.calls("scripts", "failed") + pages.calls("scripts", "refused") == 1
    assert {request.path for request in up.requests} == {PATH}


@pytest.mark.parametrize(("failure", "_expected"), FAILURES)
async def test_a_copy_outlives_the_cdns_failures(
    up: FakeUpstream, failure: Step, _expected: int
) -> None:
    up.on("GET", PATH, script(), failure)
    async with paged(up, []) as pages:
        await pages.served.get(PATH, **NOBODY)
        pages.seconds += 300.0
        for _ in range(2):
            answered = await pages.served.get(PATH, **NOBODY)

            assert (answered.status, answered.body) == (200, SOURCE)
            assert int(answered.headers["age"]) >= 300
        assert pages.answers("scripts", "stale") == 2


async def test_a_copy_is_given_while_the_cdn_hangs(up: FakeUpstream) -> None:
    up.on("GET", PATH, script(), hang())
    async with paged(up, []) as pages:
        await pages.served.get(PATH, **NOBODY)
        pages.seconds += 300.0
        asked = asyncio.ensure_future(pages.served.get(PATH, **NOBODY))
        await up.received(2, PATH)
        # Whoever comes after the one that waited is not kept waiting.
        pages.seconds += 10.0

        assert (await pages.served.get(PATH, **NOBODY)).body == SOURCE
        assert (await asked).body == SOURCE
        assert pages.answers("scripts", "stale") == 2


async def test_what_is_stale_is_asked_for_again_and_taken_when_it_changed(
    up: FakeUpstream,
) -> None:
    newer = script(b"newer", ETag='"v2"')
    up.on("GET", PATH, script(Cache_Control="max-age=90"), answer(304), newer)
    async with paged(up, []) as pages:
        bodies = []
        for pause in (0.0, 89.0, 2.0, 89.0, 61.0):
            pages.seconds += pause
            bodies.append((await pages.served.get(PATH, **NOBODY)).body)

        assert bodies == [SOURCE] * 4 + [b"newer"]
    asked = [request.headers.get("If-None-Match") for request in up.requests]
    assert asked == [None, '"v1"', '"v1"']


async def test_that_a_script_is_gone_is_believed(up: FakeUpstream) -> None:
    up.on("GET", PATH, script(), answer(404), script(b"back"))
    async with paged(up, []) as pages:
        found: list[Any] = []
        for pause in (0.0, 301.0, 59.0, 2.0):
            pages.seconds += pause
            found.append((await pages.served.get(PATH, **NOBODY)).status)

        assert found == [200, 404, 404, 200]


async def test_the_relay_page_is_served_beside_it(up: FakeUpstream) -> None:
    up.on("GET", PAGE, answer(200, b"<!doctype html>", Content_Type="text/html"))
    async with paged(up, []) as pages:
        answered = await pages.served.get(PAGE, **NOBODY)

        assert (answered.status, answered.headers["content-type"]) == (200, "text/html")
        assert answered.headers["x-content-type-options"] == "nosniff"


async def test_scripts_can_be_switched_off(up: FakeUpstream) -> None:
    up.on("GET", PATH, script())
    async with paged(up, [], scripts=Scripts(enabled=False)) as pages:
        assert (await pages.served.get(PATH, **NOBODY)).status == 404
        assert "scripts" not in pages.status()
    assert up.requests == []
