import asyncio
import io
from collections.abc import Iterable
from typing import Any, ClassVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from proxy.api.admission import Admission
from proxy.api.doorman import Visitor
from proxy.api.messages import Response
from proxy.api.overload import FEWEST_BEATS
from proxy.metrics import Metrics
from proxy.settings.admission import Admission as Given
from proxy.settings.schema import Limits, Settings
from proxy.snapshots.snapshot import Deployment
from tests import builders
from tests.builders import KEY, flag
from tests.serving import Answer, Served, read_answer, serving

VARDATA = "/sdk/v2/vardata"
CLIENT_KEY = "client-test-key"
SERVER, CLIENT = builders.deployment(), builders.deployment(CLIENT_KEY)


class Desk:
    """An admission on a clock that stands still, and all that it has done."""

    def __init__(self, **given: Any) -> None:
        self.now = 1000.0
        self.metrics = Metrics()
        self.held: list[float] = []
        self.drawn = 0.0
        self.it = Admission(Given(**given), self.metrics, lambda: self.now, lambda: self.drawn)

    def visitor(self, host: str | None = "1.1.1.1") -> Visitor:
        peer = None if host is None else (host, 1)
        return self.it.doorman.enter(peer, self.held.append)

    def ask(
        self, visitor: Visitor, deployment: Deployment | None = CLIENT, **headers: str
    ) -> Response | None:
        given = {name.lower().replace("_", "-"): value for name, value in headers.items()}
        return self.it.refusal(visitor, given, deployment)

    def statuses(
        self, count: int, visitor: Visitor, deployment: Deployment | None = CLIENT, **headers: str
    ) -> list[int]:
        answers = [self.ask(visitor, deployment, **headers) for _ in range(count)]
        return [200 if answer is None else answer.status for answer in answers]

    def counted(self, name: str, tier: str, reason: str) -> float:
        labels = {"tier": tier, "reason": reason}
        name = f"amplitude_proxy_admission_{name}_total"
        return self.metrics.registry.get_sample_value(name, labels) or 0.0


def test_an_address_gets_its_burst_and_then_its_rate() -> None:
    desk = Desk(requests_per_address=10, burst_per_address=3)
    first, second = desk.visitor(), desk.visitor()

    assert desk.statuses(3, first) == [200] * 3
    assert desk.statuses(2, second) == [429] * 2
    assert desk.statuses(1, desk.visitor("2.2.2.2")) == [200]
    desk.now += 0.1
    assert desk.statuses(2, second) == [200, 429]
    assert desk.counted("refused", "address", "rate") == 3
    assert desk.held == [0.5] * 3


def test_a_server_key_counts_for_its_deployment_only() -> None:
    desk = Desk(requests_per_address=1, burst_per_address=1, requests_per_deployment=2)
    visitor = desk.visitor()

    assert desk.statuses(11, visitor, SERVER) == [200] * 10 + [429]
    assert desk.statuses(2, visitor, CLIENT) == [200, 429]
    assert desk.counted("refused", "deployment", "rate") == 1
    assert desk.counted("refused", "address", "rate") == 1


def test_one_deployment_leaves_others_alone_and_a_refused_address_costs_it_nothing() -> None:
    desk = Desk(
        requests_per_address=1,
        burst_per_address=1,
        requests_per_deployment=1,
        burst_per_deployment=2,
    )
    greedy = desk.visitor()

    assert desk.statuses(50, greedy).count(200) == 1
    assert desk.statuses(1, desk.visitor("2.2.2.2")) == [200]
    assert desk.statuses(1, desk.visitor("3.3.3.3")) == [429]
    other = builders.deployment("client-other-key")
    assert desk.statuses(1, desk.visitor("4.4.4.4"), other) == [200]


def test_requests_without_a_deployment_count_for_their_address() -> None:
    desk = Desk(requests_per_address=1, burst_per_address=2, requests_per_deployment=1)

    assert desk.statuses(3, desk.visitor(), None) == [200, 200, 429]


def test_behind_a_proxy_the_client_counts_and_is_not_held() -> None:
    desk = Desk(requests_per_address=1, burst_per_address=1, trusted_proxies=("10.0.0.0/8",))
    proxy = desk.visitor("10.0.0.1")

    assert desk.statuses(2, proxy, X_Forwarded_For="1.1.1.1") == [200, 429]
    assert desk.statuses(2, proxy, X_Forwarded_For="2.2.2.2") == [200, 429]
    assert desk.held == []
    # Nobody else's word counts.
    liar = desk.visitor("9.9.9.9")
    assert desk.statuses(1, liar, X_Forwarded_For="3.3.3.3") == [200]
    assert desk.statuses(1, liar, X_Forwarded_For="4.4.4.4") == [429]


def test_a_balancer_that_nobody_named_is_hinted_at(log_lines: io.StringIO) -> None:
    desk = Desk(requests_per_address=1, burst_per_address=1)

    assert desk.statuses(2, desk.visitor("10.0.0.1")) == [200, 429]
    desk.now += 60
    balancer = {"X-Forwarded-For": "1.1.1.1"}
    visitor = desk.visitor("10.0.0.2")
    assert [desk.it.refusal(visitor, balancer, CLIENT) is None for _ in range(2)] == [True, False]
    lines = [msgspec.json.decode(line) for line in log_lines.getvalue().splitlines()]
    assert ["trustedProxies" in line.get("hint", "") for line in lines] == [False, True]


def test_the_unix_socket_has_no_address_to_count_for() -> None:
    desk = Desk(requests_per_address=1, burst_per_address=1, unknown_keys_per_address=1)
    local = desk.visitor(None)

    assert desk.statuses(5, local) == [200] * 5
    for _ in range(5):
        desk.it.stranger(local, {})
    assert desk.held == []


def test_strangers_are_slowed_but_hear_the_same() -> None:
    desk = Desk(unknown_keys_per_address=60)
    visitor, answer = desk.visitor(), Response(401)

    assert all(desk.it.check(answer, {}, visitor) is answer for _ in range(60))
    assert desk.held == []
    assert desk.it.check(answer, {}, visitor) is answer
    assert desk.held == [0.5]
    assert desk.counted("refused", "address", "unknown_key") == 1
    # Others of the same address are served, and a second later so is one more of them.
    assert desk.statuses(5, visitor) == [200] * 5
    desk.now += 1
    desk.it.check(answer, {}, visitor)
    assert desk.held == [0.5]
    waiting = Response(503)
    assert desk.it.check(waiting, {}, visitor) is waiting


def test_queue_delay_turns_a_share_away() -> None:
    desk = Desk(queue_delay_millis=20)
    visitor = desk.visitor()
    for _ in range(FEWEST_BEATS):
        desk.it.overload.beat(1.0)

    answer = desk.ask(visitor, SERVER)
    assert answer is not None
    assert answer.status == 503
    desk.drawn = 0.99
    assert desk.ask(visitor, SERVER) is None
    assert desk.counted("refused", "process", "queue_delay") == 1
    assert desk.it.status()["shed_share"] > 0


@given(drawn=st.floats(0, 1, exclude_max=True))
def test_when_to_come_back_is_drawn_within_bounds(drawn: float) -> None:
    rated = Desk(requests_per_address=1, burst_per_address=1)
    shedding = Desk(queue_delay_millis=20)
    for _ in range(FEWEST_BEATS * 20):
        shedding.it.overload.beat(1.0)
    for desk, least, most in ((rated, 1, 4), (shedding, 2, 9)):
        desk.drawn = drawn if desk is rated else drawn * 0.9
        visitor = desk.visitor()
        answer = [desk.ask(visitor) for _ in range(2)][-1]
        assert answer is not None
        seconds = int(dict(answer.headers)["Retry-After"])
        assert least <= seconds <= most
        assert isinstance(msgspec.json.decode(answer.body), dict)


def test_every_time_to_come_back_is_drawn() -> None:
    desk = Desk(requests_per_address=1, burst_per_address=1)
    visitor = desk.visitor()
    desk.ask(visitor)
    found = set()
    for part in range(100):
        desk.drawn = part / 100
        answer = desk.ask(visitor)
        assert answer is not None
        found.add(dict(answer.headers)["Retry-After"])

    assert found == {"1", "2", "3", "4"}


def test_a_flood_from_a_hundred_thousand_addresses_is_a_few_lines_and_a_bounded_table(
    log_lines: io.StringIO,
) -> None:
    desk = Desk(requests_per_address=1, burst_per_address=1, trusted_proxies=("10.0.0.0/8",))
    proxy = desk.visitor("10.0.0.1")
    for number in range(100_000):
        address = f"{number >> 16}.{number >> 8 & 255}.{number & 255}.1"
        desk.ask(proxy, X_Forwarded_For=f"1.{address[:-2]}")
        if not number % 100:
            desk.ask(proxy, X_Forwarded_For=f"1.{address[:-2]}")

    assert desk.it.addresses_known() <= 65_536
    name = "amplitude_proxy_admission_addresses"
    assert desk.metrics.registry.get_sample_value(name) == desk.it.addresses_known()
    lines = [msgspec.json.decode(line) for line in log_lines.getvalue().splitlines()]
    assert [(line["tier"], line["reason"]) for line in lines] == [("address", "rate")]
    desk.now += 60
    desk.ask(proxy, X_Forwarded_For="7.7.7.7")
    desk.ask(proxy, X_Forwarded_For="7.7.7.7")
    last = msgspec.json.decode(log_lines.getvalue().splitlines()[-1])
    assert (last["address"], last["refused"]) == ("7.7.7.7", 1000)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["1.1.1.1", "10.0.0.1", None]),
        st.sampled_from([SERVER, CLIENT, None, "stranger", "late"]),
        st.sampled_from([{}, {"x-forwarded-for": "2.2.2.2"}]),
    ),
    max_size=60,
)
TIGHT: dict[str, Any] = {
    "requests_per_address": 1,
    "burst_per_address": 2,
    "requests_per_deployment": 1,
    "burst_per_deployment": 3,
    "unknown_keys_per_address": 1,
    "connections": 2,
    "connections_per_address": 1,
    "queue_delay_millis": 1,
    "trusted_proxies": ("10.0.0.0/8",),
}


@hypothesis_settings(max_examples=60, deadline=None)
@given(steps=STEPS)
def test_logging_only_changes_no_answer_and_counts_the_same(steps: Iterable[Any]) -> None:
    logging, strict = Desk(log_only=True, **TIGHT), Desk(**TIGHT)
    for host, what, headers in steps:
        for desk in (logging, strict):
            if what == "late":
                for _ in range(FEWEST_BEATS):
                    desk.it.overload.beat(9.0)
                continue
            visitor = desk.visitor(host)
            if what == "stranger":
                answer = Response(401)
                found = desk.it.check(answer, headers, visitor)
                assert desk is strict or found is answer
                continue
            found_or_none = desk.it.refusal(visitor, headers, what)
            assert desk is strict or found_or_none is None
        assert logging.held == []

    reasons = [
        ("address", "connections"), ("process", "connections"), ("address", "rate"),
        ("deployment", "rate"), ("process", "queue_delay"), ("address", "unknown_key"),
    ]  # fmt: skip
    for reason in reasons:
        assert logging.counted("refused", *reason) == 0
        assert strict.counted("would_refuse", *reason) == 0
        if "connections" in reason:
            assert logging.counted("would_refuse", *reason) == strict.counted("refused", *reason)


def edge(patience_millis: int = 10_000, **given: Any) -> Settings:
    limits = Limits(request_timeout_millis=patience_millis)
    return builders.settings(admission=Given(**given), limits=limits)


def listed_client(served: Served) -> None:
    served.board.authorise(CLIENT)
    served.board.publish(CLIENT_KEY, builders.snapshot([flag("plain")], CLIENT))


def request(target: str, key: str = CLIENT_KEY, method: str = "GET") -> bytes:
    lines = (f"{method} {target} HTTP/1.1", "Host: x", f"Authorization: Api-Key {key}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def test_too_many_requests_are_429_and_probes_and_servers_are_answered() -> None:
    async with serving(settings=edge(requests_per_address=1, burst_per_address=3)) as served:
        listed_client(served)
        asked = {"Authorization": f"Api-Key {CLIENT_KEY}"}
        assert (await served.ask("GET", VARDATA, asked)).status == 200
        refused: list[Answer] = []
        while len(refused) < 10:
            answer = await served.ask("GET", VARDATA, asked)
            refused += [answer] if answer.status != 200 else []

        for answer in refused:
            assert answer.status == 429
            assert answer.json["code"] == 429
            assert 1 <= int(answer.headers["retry-after"]) <= 4
            assert answer.headers["access-control-allow-origin"] == "*"
            assert "Retry-After" in answer.headers["access-control-expose-headers"]
        for target in ("/status", "/ready", "/", "/nothing"):
            assert (await served.get(target)).status < 429
        assert (await served.ask("OPTIONS", VARDATA, {})).status == 204
        assert (await served.get(VARDATA)).status == 200
        times = "http_request_duration_seconds_count"
        assert served.counted(times, route=VARDATA, status="4xx") == len(refused)


async def test_who_was_refused_is_not_listened_to_for_a_moment() -> None:
    async with serving(settings=edge(requests_per_address=1, burst_per_address=1)) as served:
        listed_client(served)
        began = asyncio.get_running_loop().time()
        async with served.connection() as (reader, writer):
            status = 200
            while status == 200:
                writer.write(request(VARDATA))
                status = (await read_answer(reader)).status
            assert status == 429
            writer.write(request("/status"))
            # It is another one's turn meanwhile.
            assert (await served.get(VARDATA)).status == 200
            assert (await read_answer(reader)).status == 200
            assert asyncio.get_running_loop().time() - began >= 0.4


async def test_a_refused_pipeline_is_answered_in_order_and_bounded_in_pace() -> None:
    async with serving(settings=edge(requests_per_address=1, burst_per_address=5)) as served:
        listed_client(served)
        async with served.connection() as (reader, writer):
            writer.write(request(VARDATA) * 7)
            statuses = [(await read_answer(reader)).status for _ in range(7)]

    assert statuses[:5] == [200] * 5
    assert 429 in statuses
    assert set(statuses) <= {200, 429}


async def test_uploads_beyond_the_rate_are_asked_to_come_again() -> None:
    class Taking:
        bounds: ClassVar = {"/2/httpapi": 1000}

        def read(self, path: str, body: bytes, address: str | None) -> Any:
            return body

        async def keep(self, found: Any) -> tuple[int, bytes]:
            return 200, b"{}"

    settings = edge(requests_per_address=1, burst_per_address=2)
    async with serving(settings=settings, desk=Taking()) as served:
        answer = await served.post("/2/httpapi", b"{}")
        assert answer.status == 200
        while answer.status == 200:
            answer = await served.post("/2/httpapi", b"{}")

    assert (answer.status, answer.json["code"]) == (503, 503)


async def test_connections_beyond_the_bound_are_told_so_and_seen_off() -> None:
    async with serving(settings=edge(500, connections_per_address=2)) as served:
        async with served.connection() as first, served.connection() as second:
            for reader, writer in (first, second):
                writer.write(request(VARDATA, KEY))
                assert (await read_answer(reader)).status == 200
            answer = await served.get(VARDATA)
            assert (answer.status, answer.headers["connection"]) == (503, "close")
            assert int(answer.headers["retry-after"]) >= 2
            assert (await served.get("/status")).status == 200
            assert (await served.get(VARDATA, Authorization="")).status == 503
            # One that says nothing does not stay, either.
            async with served.connection() as (reader, _):
                assert await reader.read() == b""
        while served.server.connections_open():
            await asyncio.sleep(0)
        assert (await served.get(VARDATA)).status == 200
    tiers = {"tier": "address", "reason": "connections"}
    assert served.counted("admission_refused_total", **tiers) == 4


async def test_a_crowd_beyond_that_is_hung_up_on() -> None:
    async with serving(settings=edge(connections=1)) as served:
        pairs = [await asyncio.open_connection("127.0.0.1", served.port) for _ in range(400)]
        ended = [asyncio.create_task(reader.read()) for reader, _ in pairs]
        done, _ = await asyncio.wait(ended, return_when=asyncio.FIRST_COMPLETED)
        assert done
        assert served.server.connections_open() <= 400
        for _, writer in pairs:
            writer.close()
        await asyncio.gather(*ended, return_exceptions=True)
    assert served.counted("admission_refused_total", tier="process", reason="connections") == 399


async def test_connections_are_shown_by_what_they_do() -> None:
    settings = builders.settings(limits=Limits(request_timeout_millis=4000))
    async with (
        serving(settings=settings) as served,
        served.connection(),
        served.connection() as (_, arriving),
    ):
        arriving.write(b"GET /")
        shown: dict[str, Any] = {}
        while (shown.get("idle"), shown.get("arriving")) != (1, 1):
            await poll()
            shown = served.server.status()
        assert served.counted("client_connections", state="arriving") == 1
    assert (shown["busy"], shown["held"]) == (0, 0)
    assert shown["event_loop_delay_seconds"] >= 0


async def poll() -> None:
    await asyncio.sleep(0.01)


async def test_logging_only_answers_everything() -> None:
    tight = {name: value for name, value in TIGHT.items() if name != "trusted_proxies"}
    async with serving(settings=edge(log_only=True, **tight)) as served:
        listed_client(served)
        for _ in range(20):
            async with served.connection(), served.connection() as (reader, writer):
                writer.write(request(VARDATA) + request(VARDATA, KEY) + request(VARDATA, "x"))
                assert [(await read_answer(reader)).status for _ in range(3)] == [200, 200, 401]

    for tier, reason in (("address", "rate"), ("deployment", "rate"), ("address", "connections")):
        assert served.counted("admission_would_refuse_total", tier=tier, reason=reason) > 0
        assert served.counted("admission_refused_total", tier=tier, reason=reason) == 0


@pytest.mark.parametrize("given", [{}, {"burst_per_address": 5}, {"trusted_proxies": ("::1",)}])
async def test_without_bounds_nothing_is_in_the_way(given: dict[str, Any]) -> None:
    async with serving(settings=edge(**given)) as served:
        assert not served.server._carrier._router.admission.is_on
        assert (await served.get(VARDATA)).status == 200


@pytest.mark.parametrize(
    "header", ["1" * 65_536, "," * 60_000, "10.0.0.1," * 9_000, "\xff", "for=,,;;\"'", "[[[:::"]
)
@pytest.mark.parametrize("name", ["X-Forwarded-For", "Forwarded"])
async def test_no_forwarded_header_is_an_error(name: Any, header: str) -> None:
    settings = edge(public_edge=True, trusted_proxies=("127.0.0.0/8",), forwarded_header=name)
    async with serving(settings=settings) as served:
        answer = await served.ask("GET", VARDATA, {name: header})
        assert answer.status == 200
