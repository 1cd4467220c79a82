"""Who is let in at the operators' port, over HTTP."""

import base64
import io
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from proxy.admin.guard import LINE_PAUSE_SECONDS, Guard, is_loopback, is_own_name
from proxy.admin.pages import Pages
from proxy.admin.server import OperatorsServer
from proxy.api.sockets import bind
from proxy.metrics import Metrics
from proxy.secret import Secret
from proxy.settings.schema import OperatorsPort

TOKEN = "hush-operators-token"
PASSWORD = "hush-operators-password"
BEARER = OperatorsPort(bearer_token=Secret(TOKEN))
BASIC = OperatorsPort(basic_user="zoë", basic_password=Secret(PASSWORD))
BOTH = OperatorsPort(bearer_token=Secret(TOKEN), basic_user="zoë", basic_password=Secret(PASSWORD))
PAGES = ("/status", "/metrics", "/nothing")
NO_NAME = ("localhost", "LOCALHOST:9090", "proxy.localhost", "localhost.", "127.0.0.1:80")
IPS = ("[::1]:9090", "10.1.2.3", "[fe80::1]")


def basic(pair: str, encoding: str = "utf-8") -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(pair.encode(encoding)).decode()}"}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


class Port:
    """An operators' port that listens, its metrics, and a clock that tests move."""

    def __init__(self, access: OperatorsPort) -> None:
        self.metrics = Metrics()
        self.now = 0.0
        self.guard = Guard(access, self.metrics, clock=lambda: self.now)

    def refused(self, reason: str) -> float:
        value = self.metrics.registry.get_sample_value(
            "amplitude_proxy_operators_refused_total", {"reason": reason}
        )
        assert value is not None
        return value

    async def ask(
        self, path: str, headers: Mapping[str, str] | None = None, method: str = "GET"
    ) -> tuple[int, Mapping[str, str], Any]:
        async with self.session.request(method, path, headers=headers) as answer:
            assert answer.headers["Cache-Control"] == "no-store"
            body = await answer.read()
            is_json = answer.content_type == "application/json" and body
            return answer.status, answer.headers, await answer.json() if is_json else body

    @asynccontextmanager
    async def open(self, host: str = "127.0.0.1") -> AsyncIterator["Port"]:
        pages = Pages(
            self.metrics.registry,
            metrics_path="metrics",
            is_ready=lambda: False,
            readiness=lambda: [("prod", False, "no flags yet")],
            status=lambda: {"version": "1"},
        )
        bound = bind(host, 0)
        self.guard.stand_at(bound)
        server = OperatorsServer(pages, self.guard)
        port = bound[0].getsockname()[1]
        await server.open(bound)
        try:
            async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as self.session:
                yield self
        finally:
            await server.close()


@pytest.mark.parametrize(
    ("access", "headers", "status"),
    [
        (OperatorsPort(), {}, 200),
        (OperatorsPort(), bearer("anything"), 200),
        (BEARER, {}, 401),
        (BEARER, bearer(TOKEN), 200),
        (BEARER, {"authorization": f"bearer  {TOKEN} "}, 200),
        (BEARER, bearer(TOKEN + "x"), 401),
        (BEARER, bearer(TOKEN[:-1]), 401),
        (BEARER, bearer(""), 401),
        (BEARER, {"Authorization": TOKEN}, 401),
        (BEARER, {"Authorization": f"Api-Key {TOKEN}"}, 401),
        (BEARER, basic(f"zoë:{PASSWORD}"), 401),
        (BEARER, basic(":"), 401),
        (BASIC, basic(f"zoë:{PASSWORD}"), 200),
        (BASIC, {}, 401),
        (BASIC, bearer(TOKEN), 401),
        (BASIC, basic(f"zoë:{PASSWORD}:"), 401),
        (BASIC, basic("zoë:"), 401),
        (BASIC, basic(f":{PASSWORD}"), 401),
        (BASIC, basic(f"zoe:{PASSWORD}"), 401),
        (BASIC, basic(f"zoë:{PASSWORD}", "latin-1"), 401),
        (BASIC, {"Authorization": "Basic %%%"}, 401),
        (BASIC, {"Authorization": "Basic"}, 401),
        (BASIC, {"Authorization": "Basic é"}, 401),
        (BOTH, bearer(TOKEN), 200),
        (BOTH, basic(f"zoë:{PASSWORD}"), 200),
        (BOTH, basic(f"zoë:{TOKEN}"), 401),
    ],
)
async def test_only_the_credential_opens_the_port(
    access: OperatorsPort, headers: dict[str, str], status: int
) -> None:
    async with Port(access).open() as port:
        for path in PAGES:
            expected = 404 if status == 200 and path == "/nothing" else status
            assert (await port.ask(path, headers))[0] == expected
        assert (await port.ask("/status", headers, "HEAD"))[0] == status
        assert (await port.ask("/status", headers, "POST"))[0] == (405 if status == 200 else 401)


@pytest.mark.parametrize(
    ("access", "schemes"),
    [(BEARER, ["Bearer"]), (BASIC, ["Basic"]), (BOTH, ["Basic", "Bearer"])],
)
async def test_who_is_refused_learns_how_to_log_in(
    access: OperatorsPort, schemes: list[str]
) -> None:
    async with Port(access).open() as port:
        status, headers, body = await port.ask("/status")

    assert status == 401
    assert body == {"code": 401, "error": "The operators' port wants a credential"}
    asked = headers["WWW-Authenticate"]
    assert [scheme for scheme in ("Basic", "Bearer") if f"{scheme} realm=" in asked] == schemes


@pytest.mark.parametrize("headers", [{}, bearer("wrong"), {"Sec-Fetch-Site": "cross-site"}])
async def test_probes_are_answered_to_everybody_but_without_reasons(
    headers: dict[str, str],
) -> None:
    async with Port(BOTH).open() as port:
        assert (await port.ask("/livez", headers))[::2] == (200, b"OK")
        assert (await port.ask("/readyz", headers))[::2] == (503, {"ready": False})
        assert (await port.ask("/readyz", headers, "HEAD"))[0] == 503
        assert (await port.ask("/readyz", headers, "POST"))[0] in (401, 403)
        _, _, body = await port.ask("/readyz", bearer(TOKEN))

    assert body["parts"] == [{"name": "prod", "ready": False, "reason": "no flags yet"}]


@pytest.mark.parametrize("host", [*NO_NAME, *IPS])
async def test_an_open_port_on_this_machine_is_asked_for_as_what_it_is(host: str) -> None:
    async with Port(OperatorsPort()).open() as port:
        assert (await port.ask("/status", {"Host": host}))[0] == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "localhost.evil.example:9090", "127.0.0.1.evil.example", "notlocalhost"],
)
async def test_a_name_that_was_made_to_lead_here_is_refused(host: str) -> None:
    headers = {"Host": host}
    async with Port(OperatorsPort()).open() as port:
        status, answered, body = await port.ask("/status", headers)
        assert (await port.ask("/readyz", headers))[::2] == (503, {"ready": False})
        assert port.refused("foreign_host") == 2

    assert status == 403
    assert "localhost" in body["error"]
    assert "WWW-Authenticate" not in answered


async def test_any_name_leads_to_a_port_that_others_reach_or_that_wants_a_credential() -> None:
    headers = {"Host": "flags-operators.prod.svc:9090"}
    async with Port(OperatorsPort()).open("0.0.0.0") as port:
        assert (await port.ask("/status", headers))[0] == 200
    async with Port(BEARER).open() as port:
        assert (await port.ask("/status", {**headers, **bearer(TOKEN)}))[0] == 200


FOLLOWED = {
    "Sec-Fetch-Site": "cross-site",
    "Sec-Fetch-Mode": "navigate",
    "Sec-Fetch-Dest": "document",
}


@pytest.mark.parametrize("access", [OperatorsPort(), BASIC])
async def test_pages_of_other_sites_do_not_make_a_browser_ask(access: OperatorsPort) -> None:
    known = basic(f"zoë:{PASSWORD}")
    async with Port(access).open() as port:
        for site, status in (("cross-site", 403), ("same-origin", 200), ("none", 200)):
            headers = {**known, "Sec-Fetch-Site": site, "Sec-Fetch-Mode": "cors"}
            assert (await port.ask("/status", headers))[0] == status
        for changed in (
            {"Sec-Fetch-Mode": "no-cors"},
            {"Sec-Fetch-Dest": "iframe"},
        ):
            assert (await port.ask("/", {**known, **FOLLOWED, **changed}))[0] == 403
        assert (await port.ask("/", {**known, **FOLLOWED}, "POST"))[0] == 403
        assert (await port.ask("/status", {**known, **FOLLOWED}))[0] == 403
        # The page itself is not among the pages of this test.
        assert (await port.ask("/", {**known, **FOLLOWED}))[0] == 404
        assert port.refused("cross_site") == 5


@pytest.mark.parametrize("access", [OperatorsPort(), BASIC])
async def test_a_page_of_another_origin_cannot_post(access: OperatorsPort) -> None:
    def told(**headers: str) -> dict[str, str]:
        return {**basic(f"zoë:{PASSWORD}"), "Origin": "http://other.internal", **headers}

    kind = "Content-Type"
    async with Port(access).open() as port:
        for headers in (
            told(),
            told(**{kind: "text/plain"}),
            told(**{kind: "text/plain; application/json"}),
            told(**{kind: "text/plain", "Sec-Fetch-Site": "same-site"}),
        ):
            assert (await port.ask("/livez", headers, "POST"))[0] == 403
        # For JSON a browser asks first; no answer to that lets it.
        status, answered, _ = await port.ask("/livez", told(), "OPTIONS")
        assert status == 405
        assert not any(name.startswith("Access-Control") for name in answered)
        for headers in (
            told(**{kind: "Application/JSON; charset=utf-8"}),
            basic(f"zoë:{PASSWORD}"),
        ):
            assert (await port.ask("/livez", headers, "POST"))[0] == 405, "it has come through"
        assert port.refused("cross_site") == 4


async def test_another_credential_counts_from_the_next_request_on() -> None:
    async with Port(BEARER).open() as port:
        assert (await port.ask("/status", bearer(TOKEN)))[0] == 200
        port.guard.take(OperatorsPort(bearer_token=Secret("another-token")))
        assert (await port.ask("/status", bearer(TOKEN)))[0] == 401
        assert (await port.ask("/status", bearer("another-token")))[0] == 200


async def test_refusals_are_counted_and_logged_now_and_then(log_lines: io.StringIO) -> None:
    async with Port(BOTH).open() as port:
        for _ in range(5):
            await port.ask("/status", bearer("a-wrong-one"))
            await port.ask("/readyz", basic("zoë:another-wrong-one"))
        await port.ask("/status")
        for _ in range(3):
            await port.ask("/readyz")

        assert port.refused("wrong_credential") == 10
        assert port.refused("no_credential") == 1, "a probe has none"
        said = log_lines.getvalue()
        assert said.count("operators' port refused a request") == 2

        port.now = LINE_PAUSE_SECONDS
        await port.ask("/status", bearer("a-wrong-one"))

    said = log_lines.getvalue()
    assert said.count("operators' port refused a request") == 3
    assert "127.0.0.1" in said
    for secret in (TOKEN, PASSWORD, "a-wrong-one", "another-wrong-one"):
        assert secret not in said


@pytest.mark.parametrize(
    ("access", "host", "says"),
    [
        (OperatorsPort(), "127.0.0.1", "metrics.host opens it to others"),
        (OperatorsPort(), "0.0.0.0", "metrics.bearerToken or metrics.basicUser close it"),
        (BOTH, "0.0.0.0", "who has the credential"),
    ],
)
async def test_the_start_says_to_whom_the_port_is_open(
    log_lines: io.StringIO, access: OperatorsPort, host: str, says: str
) -> None:
    async with Port(access).open(host):
        said = log_lines.getvalue()

    assert says in said
    assert "info" in said
    assert TOKEN not in said
    assert PASSWORD not in said


def test_what_is_no_address_is_no_loopback_and_no_name_of_ours() -> None:
    assert is_loopback("127.8.8.8")
    assert is_loopback("::1")
    assert not is_loopback("10.0.0.1")
    assert not is_loopback("a-socket")
    assert not is_own_name("")
    assert not is_own_name("a:b:c")
