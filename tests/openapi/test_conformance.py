"""A running proxy answers as its documents say: every example, and whatever schemathesis makes up.

It makes up the same each time; `CASES=hunt`, thousands of other requests (`make hunt`).
"""

import http.client
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import pytest

from proxy.sandbox.server import CLIENT_KEY, SERVER_KEY
from tests.openapi.reading import Operation, examples_of, hold, operations_of
from tests.system.programs import PATIENCE, ROOT, Pair, get_json

pytestmark = pytest.mark.system

Port = Literal["clients", "operators"]
PORTS: tuple[Port, Port] = ("clients", "operators")
HUNTING = os.environ.get("CASES") == "hunt"
TOKEN = "operators-token"
STREAMS = {"streamFlagConfigs", "streamVariants"}
"""Their answers do not end, so that nobody can wait for the rest."""
CONFIG = Path(__file__).with_name("schemathesis.toml")


class Usual(Pair):
    """As the proxy is when nothing is said; only all of Amplitude is the sandbox."""

    def config(self) -> dict[str, Any]:
        given = super().config()
        given["configuration"] |= {
            "scriptServerUrl": self.upstream,
            "remoteEvaluation": {"serverUrl": self.upstream},
        }
        return given


class Helped(Usual):
    """With all that can be switched on, Amplitude's help included."""

    def config(self) -> dict[str, Any]:
        given = super().config()
        given["configuration"] |= {
            "streams": {"variants": True},
            "remoteEvaluation": {"mode": "merge", "serverUrl": self.upstream},
            "webExperiment": {"mode": "forward"},
        }
        given["configuration"]["metrics"]["bearerToken"] = TOKEN
        return given


class Side:
    """One port of a running proxy."""

    def __init__(self, port: Port, url: str, authorization: str) -> None:
        self.port = port
        self.url = url
        self.authorization = authorization
        headers = {"Authorization": authorization}
        self.document: dict[str, Any] = get_json(f"{url}/openapi.json", headers)

    def operations(self) -> Iterator[Operation]:
        return operations_of(self.document)

    @contextmanager
    def asked(
        self, method: str, target: str, headers: dict[str, str], body: bytes | None = None
    ) -> Iterator[http.client.HTTPResponse]:
        """Ask; what the answer has no end of is not waited for."""
        where = urlsplit(self.url)
        connection = http.client.HTTPConnection(where.netloc, timeout=PATIENCE)
        try:
            connection.request(method, target, body, headers)
            yield connection.getresponse()
        finally:
            connection.close()


class Running:
    """A proxy and its two ports."""

    def __init__(self, pair: Pair, token: str) -> None:
        bearer = f"Bearer {token}"
        self.clients = Side("clients", pair.proxy, f"Api-Key {SERVER_KEY}")
        self.operators = Side("operators", pair.operators, bearer)

    def side(self, port: Port) -> Side:
        return self.clients if port == "clients" else self.operators


@pytest.fixture(scope="module", params=[Usual, Helped])
def running(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    directory = tmp_path_factory.mktemp("described")
    pair = request.param(directory, ROOT / "config" / "sandbox.yaml")
    with pair.sandbox(), pair.serve():
        yield Running(pair, TOKEN)


EACH = [(pair, port) for pair in (Usual, Helped) for port in PORTS]
# What is asked for most, and what is closed; a hunt takes its time.
SOME = EACH if HUNTING else [(Usual, "clients"), (Helped, "operators")]


@pytest.mark.parametrize("port", PORTS)
def test_every_example_is_answered_as_described(running: Running, port: Port) -> None:
    side, asked = running.side(port), set()
    for operation in side.operations():
        if operation.is_stream:
            continue
        for example in examples_of(operation):
            headers = {**example.headers}
            if port == "operators":
                headers["Authorization"] = side.authorization
            with side.asked(operation.method, example.target, headers, example.body) as answer:
                body = answer.read()
                assert answer.status == 200, (operation.name, example.name, body[:500])
                hold(operation, answer.status, dict(answer.headers), body)
            asked.add(operation.name)
    assert len(asked) >= len(side.document["paths"]) - len(STREAMS) - 1


@pytest.mark.parametrize("port", PORTS)
def test_nobody_is_let_in_without_a_key(running: Running, port: Port) -> None:
    side = running.side(port)
    for operation in side.operations():
        if (
            operation.text.get("security", side.document["security"])
            and "401" in (operation.text["responses"])
        ):
            for example in examples_of(operation):
                headers = {**example.headers, "Authorization": "Bearer nobody"}
                with side.asked(operation.method, example.target, headers, example.body) as answer:
                    assert answer.status == 401, (operation.name, example.name)
                    hold(operation, answer.status, dict(answer.headers), answer.read())


def test_keys_of_pages_are_refused_as_described(running: Running) -> None:
    side, refused = running.clients, set()
    for operation in side.operations():
        if "403" not in operation.text["responses"] or operation.text["tags"] == [
            "web experiments"
        ]:
            continue
        for example in examples_of(operation):
            headers = {**example.headers, "Authorization": f"Api-Key {CLIENT_KEY}"}
            with side.asked(operation.method, example.target, headers, example.body) as answer:
                hold(operation, answer.status, dict(answer.headers), answer.read())
                if answer.status == 403:
                    refused.add(operation.name)
    assert refused == {"evaluateBatch", "memberships"}


def test_streams_begin_as_described(running: Running) -> None:
    side, begun = running.clients, 0
    with side.asked(
        "POST", "/ofrep/v1/evaluate/flags", {"Authorization": side.authorization}, b"{}"
    ) as answer:
        (stream,) = json.loads(answer.read())["eventStreams"]
    channel = stream["endpoint"]["requestUri"]
    for operation in side.operations():
        if not operation.is_stream:
            continue
        target = channel if "{channel}" in operation.path else operation.path
        with side.asked("GET", target, {"Authorization": side.authorization}) as answer:
            first = answer.readline()
            hold(operation, answer.status, dict(answer.headers), b"")
            assert first.startswith((b"data: ", b"event: ", b"id: "))
        begun += 1
        broken = {"Authorization": "Api-Key nobody", "X-Amp-Exp-User": "{"}
        with side.asked("GET", target + "x", broken) as answer:
            assert answer.status == 404
        if operation.text.get("security") != []:
            with side.asked("GET", target, broken) as answer:
                hold(operation, answer.status, dict(answer.headers), answer.read())
                assert answer.status == 401
    assert begun == sum("stream" in path for path in side.document["paths"]) >= 2


@pytest.mark.parametrize(("running", "port"), SOME, indirect=["running"], scope="module")
def test_whatever_is_asked_the_answer_is_as_described(running: Running, port: Port) -> None:
    side = running.side(port)
    cases = ("-n", "2000") if HUNTING else ("-n", "6", "--generation-deterministic")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG)),
            *("run", f"{side.url}/openapi.json", *cases),
            *("--header", f"Authorization: {side.authorization}"),
        ],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=None if HUNTING else 10 * PATIENCE,
    )

    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    print(done.stdout)
