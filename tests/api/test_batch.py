"""Many users by one request."""

import asyncio
import gzip
import io
import threading
from collections.abc import AsyncIterator
from functools import partial
from itertools import pairwise
from typing import Any

import aiohttp
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.api.batch import batch as offer
from proxy.api.batch import split
from proxy.api.features import Offer, Tools
from proxy.api.holding import Holding
from proxy.api.long_bodies import LongBodies
from proxy.api.messages import Request, Response
from proxy.api.routes import Route
from proxy.errors import BadRequest
from proxy.settings.schema import Limits
from proxy.snapshots.snapshot import Snapshot
from tests import builders
from tests.builders import KEY, flag
from tests.serving import Served, Tracked, encoded, serving

PATH = "/sdk/v2/vardata/batch"
ALLOWED = {"Authorization": f"Api-Key {KEY}"}


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serving() as served:
        yield served


async def asked(
    served: Served, body: bytes, path: str = PATH, **headers: str
) -> tuple[int, dict[str, str], Any]:
    """Status, headers and decoded body of the answer to a batch."""
    async with (
        aiohttp.ClientSession(f"http://127.0.0.1:{served.port}") as client,
        client.post(path, data=io.BytesIO(body), headers={**ALLOWED, **headers}) as answer,
    ):
        text = await answer.read()
        found = msgspec.json.decode(text) if text.startswith((b"[", b"{")) else text
        return answer.status, dict(answer.headers), found


async def batch(served: Served, *users: Any, **headers: str) -> list[Any]:
    status, _, found = await asked(served, msgspec.json.encode(users), **headers)
    assert status == 200
    assert isinstance(found, list)
    return found


async def test_every_user_is_answered_in_order(served: Served) -> None:
    found = await batch(served, {"user_id": "u1"}, {"user_id": "u2"}, {"user_id": "u1"})

    assert [list(each) for each in found] == [
        ["plain", "targeted", "dark", "parent", "child", "members", "insiders"],
        ["plain", "dark", "parent", "child", "members", "insiders"],
        ["plain", "targeted", "dark", "parent", "child", "members", "insiders"],
    ]
    assert found[0]["plain"]["payload"] == {"colour": "blue"}


async def test_the_answer_is_streamed(served: Served) -> None:
    _, headers, _ = await asked(served, b"[{}]")

    assert headers["Transfer-Encoding"] == "chunked"
    assert headers["Content-Type"] == "application/json; charset=utf-8"


async def test_no_user_no_answer(served: Served) -> None:
    assert await batch(served) == []
    assert await asked(served, b" [ ] ")
    assert served.tracked == []


DEEP: Any = 1
for _ in range(100):
    DEEP = {"a": DEEP}
USERS = st.one_of(
    st.fixed_dictionaries({"user_id": st.sampled_from(["u1", "u2", "ü3"])}),
    st.fixed_dictionaries({"device_id": st.text(), "user_properties": st.just({"a": [1, None]})}),
    st.sampled_from([{}, None, 5, "u1", [], [{"user_id": "u1"}], DEEP, {"user_id": DEEP}]),
    st.just({"user_id": "u1", "user_properties": {"many": [1] * 50_001}}),
)


def known(user: dict[str, Any]) -> dict[str, Any]:
    """What a request told of a user."""
    return {name: value for name, value in user.items() if name != "cohort_ids"}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(USERS, max_size=6))
def test_an_element_is_what_the_user_alone_would_be_answered(users: list[Any]) -> None:
    async def compare() -> None:
        limits = Limits(max_batch_users=1000)
        async with serving(settings=builders.settings(limits=limits)) as served:
            alone = []
            for user in users:
                answer = await served.post("/sdk/v2/vardata", msgspec.json.encode(user))
                alone.append(answer.json)
            tracked = [known(each.user) for each in served.tracked]
            served.tracked.clear()
            assert await batch(served, *users) == alone
            assert [known(each.user) for each in served.tracked] == tracked

    asyncio.run(compare())


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["user_id", "groups", "user_properties"]), inner)
    ),
    max_leaves=8,
)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.binary(max_size=30) | ANYTHING.map(msgspec.json.encode), max_size=10))
def test_no_body_is_too_much_for_it(bodies: list[bytes]) -> None:
    async def ask_all() -> None:
        async with serving() as served:
            for body in bodies:
                status, _, found = await asked(served, body)
                assert (status, type(found)) in ((200, list), (400, dict))

    asyncio.run(ask_all())


async def test_half_a_surrogate_pair_is_read_as_for_one_user(served: Served) -> None:
    status, _, found = await asked(served, b'[{"user_id":"\\ud800"},{"user_id":"u1"},7]')

    assert status == 200
    assert [("plain" in each, each.get("code")) for each in found] == [
        (True, None),
        (True, None),
        (False, 400),
    ]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{}", 400),
        (b'{"users":[]}', 400),
        (b"null", 400),
        (b"[", 400),
        (b"[{}}", 400),
        (b"[{},]", 400),
        (b'["\xff]', 400),
        (b"[" * 100_000 + b"]" * 100_000, 400),
        (b"[" + b"{}," * 1000 + b"{}]", 413),
        (b"[" + b"0," * 400_000 + b"0]", 413),
        (b"[" + b" " * 9_000_000 + b"]", 413),
    ],
)
async def test_what_is_no_batch_is_refused_as_a_whole(
    served: Served, body: bytes, status: int
) -> None:
    found, _, error = await asked(served, body)

    assert (found, error["code"]) == (status, status)
    assert error["error"]
    assert served.tracked == []


async def test_there_may_be_just_as_many_users_as_the_limit_says() -> None:
    limits = Limits(max_batch_users=3)
    async with serving(settings=builders.settings(limits=limits)) as served:
        assert (await asked(served, b"[{},{},{}]"))[0] == 200
        assert (await asked(served, b"[{},{},{},{}]"))[0] == 413


async def test_a_batch_may_be_longer_than_other_bodies() -> None:
    limits = Limits(max_body_bytes=1024, max_inflated_bytes=1024, max_batch_bytes=100_000)
    user = {"user_id": "u1", "user_properties": {"text": "x" * 3000}}
    async with serving(settings=builders.settings(limits=limits)) as served:
        body = msgspec.json.encode([user] * 20)
        assert len((await asked(served, body))[2]) == 20
        packed = {"Content-Encoding": "gzip"}
        assert len((await asked(served, gzip.compress(body), **packed))[2]) == 20
        assert (await asked(served, body * 2))[0] == 413
        assert (await asked(served, gzip.compress(body * 2), **packed))[0] == 413
        assert (await asked(served, b"no gzip", **packed))[0] == 400
        assert (await asked(served, body, **{"Content-Encoding": "br"}))[0] == 415


async def test_a_batch_may_be_restricted_to_some_flags(served: Served) -> None:
    (by_header,) = await batch(served, {}, **{"X-Amp-Exp-Flag-Keys": encoded(["plain"])})
    _, _, by_query = await asked(served, b"[{}]", f"{PATH}?flag_keys=child,nowhere")

    assert list(by_header) == ["plain"]
    assert list(by_query[0]) == ["parent", "child"]


async def test_wishes_about_tracking_are_for_all_users(served: Served) -> None:
    people = [{"user_id": "u1"}, {"user_id": "u2"}]

    await batch(served, *people)
    await batch(served, *people, **{"X-Amp-Exp-Track": "no-track"})
    await batch(
        served, *people, **{"X-Amp-Exp-Track": "no-track", "X-Amp-Exp-Exposure-Track": "track"}
    )

    assert [each.user["user_id"] for each in served.tracked] == ["u1", "u2"]
    assert [each.user["user_id"] for each in served.exposed] == ["u1", "u2"]
    assert served.counted("evaluation_total") == 6
    assert served.counted("evaluation_request_total") == 3


async def test_a_batch_needs_a_key_too(served: Served) -> None:
    assert (await asked(served, b"[{}]", Authorization="Api-Key nobody"))[0] == 401


@pytest.mark.parametrize(("key", "status"), [("client-key", 403), ("key-without-a-type", 200)])
async def test_a_batch_is_not_for_keys_that_are_on_web_pages(
    served: Served, key: str, status: int
) -> None:
    snapshot = builders.snapshot([flag("plain")], builders.deployment(key))
    served.board.authorise(snapshot.deployment)
    served.board.publish(key, snapshot)

    assert (await asked(served, b"[{}]", Authorization=f"Api-Key {key}"))[0] == status


async def test_no_web_page_may_read_the_answer_to_a_batch(served: Served) -> None:
    for body in (b"[{}]", b"no array"):
        _, headers, _ = await asked(served, body, Origin="https://example.com")
        assert "Access-Control-Allow-Origin" not in headers


async def test_long_batches_are_taken_apart_one_after_the_other(served: Served) -> None:
    """In many threads at once they would keep everybody else waiting for the interpreter."""
    before = set(threading.enumerate())
    body = b'[{"user_id":"\\ud800","user_properties":{"a":"%b"}}]' % (b"x" * 2_000_000)

    found = await asyncio.gather(*(asked(served, body) for _ in range(6)))

    made = [each for each in threading.enumerate() if each not in before]
    assert [status for status, _, _ in found] == [200] * 6
    # A thread that has just finished may not be idle yet when the next body is handed over.
    assert len([each for each in made if each.name.startswith("asyncio_")]) <= 2


async def test_a_batch_is_answered_from_one_snapshot(served: Served) -> None:
    people = [{"user_id": f"u{number}"} for number in range(1000)]
    asking = asyncio.gather(batch(served, *people))
    while not served.tracked:
        await asyncio.sleep(0)
    served.board.publish(KEY, builders.snapshot([flag("other")]))

    (found,) = await asking
    assert all("plain" in each for each in found)
    assert len(found) == 1000


async def test_others_have_their_turn_between_the_users_of_batches(served: Served) -> None:
    """However slow or fast the machine is: no turn of the loop evaluates a whole batch."""
    people = [{"user_id": f"u{number}"} for number in range(1000)]
    asking = asyncio.gather(*(batch(served, *people) for _ in range(4)))
    evaluated = [0]
    while not asking.done():
        await asyncio.sleep(0)
        evaluated.append(len(served.tracked))

    assert evaluated[-1] == 4000
    assert max(after - before for before, after in pairwise(evaluated)) < 1000
    assert [len(found) for found in await asking] == [1000] * 4


async def test_a_client_that_leaves_ends_its_batch(served: Served) -> None:
    people = [
        {"user_id": f"u{number}", "user_properties": {"a": "b" * 1000}} for number in range(1000)
    ]
    body = msgspec.json.encode(people)
    head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: Api-Key {KEY}\r\n"
    _, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    await writer.drain()
    while not served.tracked:
        await asyncio.sleep(0)
    writer.transport.abort()

    async with asyncio.timeout(30):
        while served.server.connections_open():
            await asyncio.sleep(0)
    assert len(served.tracked) < len(people)
    assert (await asked(served, b"[{}]"))[0] == 200


async def test_what_long_bodies_hold_is_bounded_and_given_back() -> None:
    async with serving(features=[partial(offer, most_held=2500)]) as bounded:
        for _ in range(5):
            assert (await asked(bounded, b"[" + b" " * 1000 + b"{}]"))[0] == 200
        status, headers, _ = await asked(bounded, b"[" + b" " * 3000 + b"{}]")
        assert (status, int(headers["Retry-After"]) > 0) == (503, True)
        assert bounded.counted("rejected_requests_total", reason="busy") == 1
        assert (await asked(bounded, b"[{}]"))[0] == 200


async def test_the_end_of_an_answer_waits_until_what_it_told_is_safe() -> None:
    safe: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    tracked: list[Tracked] = []
    async with serving(durable=lambda: safe if tracked else None) as served:
        tracked = served.tracked
        async with served.connection() as (reader, writer):
            head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: Api-Key {KEY}\r\n"
            writer.write(f"{head}Content-Length: 4\r\n\r\n[{{}}]".encode())
            await reader.readuntil(b"1\r\n]\r\n")
            end = asyncio.gather(reader.readexactly(5))
            for _ in range(100):
                await asyncio.sleep(0)
            assert not end.done()
            safe.set_result(True)
            (ending,) = await end
            assert ending == b"0\r\n\r\n"


async def test_a_handler_of_long_bodies_that_breaks_shows_nothing(
    log_lines: io.StringIO,
) -> None:
    def broken(_request: Request, _snapshot: Snapshot) -> Response:
        raise ValueError("secret")

    def feature(tools: Tools) -> Offer:
        bodies = LongBodies(lambda: 1000, 1000, tools.metrics.rejected)
        return Offer({"/it": Route("/it", guarded={"POST": broken}, waits=bodies.to)})

    async with serving(features=[feature]) as served:
        answer = await served.post("/it", b"[]")

    assert answer.json == {"code": 500, "error": "Internal error"}
    assert "handler failed" in log_lines.getvalue()


@given(st.lists(st.integers(0, 10), max_size=20))
def test_never_is_more_held_than_there_is_room_for(sizes: list[int]) -> None:
    holding, held = Holding(15), 0
    for size in sizes:
        has_room = holding.take(size)
        assert has_room is (held + size <= 15)
        held += size if has_room else 0
    for size in (held,):
        holding.give_back(size)
    with holding.during(15) as has_room:
        assert has_room
        assert not holding.take(1)
    assert holding.take(15)


def test_users_are_divided_as_they_stand() -> None:
    users = split(b'[ {"a" : 1} ,[2], null]', 10)

    assert [bytes(user) for user in users] == [b'{"a" : 1}', b"[2]", b"null"]
    with pytest.raises(BadRequest):
        split(b"[1,2,3]", 2)
