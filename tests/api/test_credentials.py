import base64
import io
from collections.abc import Callable, Sequence

import msgspec
import pytest

from proxy.api.complaints import LOG_PAUSE_SECONDS
from proxy.api.credentials import (
    INVALID_PROJECT,
    Gate,
    ProjectGate,
    deployment_key,
    openfeature_key,
    project_keys,
)
from proxy.api.messages import Response
from proxy.metrics import Metrics
from proxy.secret import Secret
from proxy.settings.schema import Project
from proxy.snapshots.board import Board
from tests import builders
from tests.builders import KEY

PROJECTS = tuple(
    Project(api_key=Secret(f"api-{name}"), secret_key=Secret(f"secret:{name}:é"))
    for name in ("a", "b")
)


@pytest.mark.parametrize(
    ("header", "key"),
    [
        ("Api-Key abc", "abc"),
        ("api-key  abc ", "abc"),
        (" API-KEY a b", "a b"),
        ("Api-Key", ""),
        ("Api-Key ", ""),
        ("Bearer abc", ""),
        ("", ""),
        ("abc", ""),
    ],
)
def test_the_key_is_what_follows_the_scheme(header: str, key: str) -> None:
    assert deployment_key({"authorization": header}) == key
    assert deployment_key({}) == ""


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ({"authorization": "Bearer abc"}, "abc"),
        ({"authorization": " bEARER  abc "}, "abc"),
        ({"x-api-key": " abc "}, "abc"),
        ({"authorization": "Bearer abc", "x-api-key": "other"}, "abc"),
        ({"authorization": "Bearer ", "x-api-key": "abc"}, "abc"),
        ({"authorization": "Basic YTpi", "x-api-key": "abc"}, "abc"),
        ({"authorization": "Api-Key abc"}, ""),
        ({}, ""),
    ],
)
def test_openfeature_gives_the_key_in_other_ways(headers: dict[str, str], key: str) -> None:
    assert openfeature_key(headers) == key


async def test_unknown_keys_wait_while_deployments_are_not_listed(log_lines: io.StringIO) -> None:
    board, metrics = Board(), Metrics()
    gate = Gate(board, rejected=metrics.rejected, clock=lambda: 0.0)
    board.pending = True

    waiting = gate.admit({"authorization": "Api-Key server-unknown"})
    without = gate.admit({})
    board.pending = False
    unknown = gate.admit({"authorization": "Api-Key server-unknown"})

    assert isinstance(waiting, Response)
    assert isinstance(without, Response)
    assert isinstance(unknown, Response)
    assert [waiting.status, without.status, unknown.status] == [503, 401, 401]
    assert isinstance(msgspec.json.decode(waiting.body), dict)
    counted = metrics.registry.get_sample_value
    name = "amplitude_proxy_rejected_requests_total"
    assert counted(name, {"reason": "pending"}) == 1
    assert counted(name, {"reason": "unknown_deployment"}) == 2
    assert "refused" in log_lines.getvalue()


async def test_a_known_key_gets_its_snapshot() -> None:
    board = Board()
    snapshot = builders.snapshot([])
    board.authorise(snapshot.deployment)
    board.publish(KEY, snapshot)
    gate = Gate(board, rejected=Metrics().rejected, clock=lambda: 0.0)

    assert gate.admit({"authorization": f"Api-Key {KEY}"}) is snapshot


async def test_a_flood_of_unknown_keys_is_a_line_now_and_then_without_any_key(
    log_lines: io.StringIO,
) -> None:
    board, now = Board(), [1000.0]
    board.authorise(builders.deployment("server-valid-key"))
    gate = Gate(board, rejected=Metrics().rejected, clock=lambda: now[0])

    for number in range(1000):
        gate.admit({"authorization": f"Api-Key oddly-named-{number}"})
    now[0] += LOG_PAUSE_SECONDS
    gate.admit({"authorization": "Api-Key oddly-named-last"})

    lines = [msgspec.json.decode(line) for line in log_lines.getvalue().splitlines()]
    assert [line["refused"] for line in lines] == [1, 1000]
    assert lines[1]["key"] == Secret("oddly-named-last").label
    assert "oddly" not in log_lines.getvalue()
    assert "server-valid-key" not in log_lines.getvalue()


def basic(text: str | bytes) -> dict[str, str]:
    raw = text.encode() if isinstance(text, str) else text
    return {"authorization": "Basic " + base64.b64encode(raw).decode()}


@pytest.mark.parametrize(
    ("header", "keys"),
    [
        ("Basic YTpi", ("a", "b")),
        ("bAsIc   YTpi  ", ("a", "b")),
        ("Basic YTpiOmM6", ("a", "b:c:")),
        ("Basic YTpiOg==", ("a", "b:")),
        ("Basic YTpiOg", ("a", "b:")),
        ("Basic YTo=", ("a", "")),
        ("Basic YQ", ("a", "")),
        ("Basic OmI", ("", "b")),
        ("Basic YTo/Pz4=", ("a", "??>")),
        ("Basic YTo_Pz4", ("a", "??>")),
        ("Basic /zph", ("", "")),
        ("Basic a", ("", "")),
        ("Basic a=b", ("", "")),
        ("Basic é", ("", "")),
        ("Basic \udcff", ("", "")),
        ("Basic", ("", "")),
        ("BasicYTpi", ("", "")),
        ("Api-Key YTpi", ("", "")),
        ("", ("", "")),
    ],
)
def test_project_keys_in_every_form(header: str, keys: tuple[str, str]) -> None:
    assert project_keys({"authorization": header}) == keys
    assert project_keys({}) == ("", "")


def gate_of(
    projects: Sequence[Project],
    metrics: Metrics | None = None,
    clock: Callable[[], float] = lambda: 0.0,
) -> ProjectGate:
    gate = ProjectGate(rejected=(metrics or Metrics()).rejected, clock=clock)
    gate.know(dict(enumerate(projects)))
    return gate


def test_both_keys_of_one_project_let_in_and_nothing_else() -> None:
    metrics = Metrics()
    gate = gate_of(PROJECTS, metrics)

    assert gate.admit(basic("api-a:secret:a:é")) == 0
    assert gate.admit(basic("api-b:secret:b:é")) == 1
    wrong: list[str | bytes] = [
        "api-a:secret:b:é", "api-b:", "api-b", ":", "", "api-c:secret:a:é", "api-a:secret",
        "API-A:secret:a:é", "api-a:secret:a:é ", ":secret:a:é", b"api-a:\xff",
    ]  # fmt: skip
    assert all(gate.admit(basic(text)) is INVALID_PROJECT for text in wrong)
    counted = metrics.registry.get_sample_value
    name = "amplitude_proxy_rejected_requests_total"
    assert counted(name, {"reason": "unknown_project"}) == len(wrong)


def test_of_projects_with_the_same_api_key_the_first_counts() -> None:
    twice = (PROJECTS[0], Project(api_key=PROJECTS[0].api_key, secret_key=Secret("other")))
    gate = gate_of(twice)

    assert gate.admit(basic("api-a:secret:a:é")) == 0
    assert gate.admit(basic("api-a:other")) is INVALID_PROJECT


def test_a_rotated_secret_key_lets_in_and_the_old_one_does_not() -> None:
    gate = gate_of(PROJECTS)

    gate.know({1: PROJECTS[1], 7: Project(api_key=PROJECTS[0].api_key, secret_key=Secret("new"))})

    assert gate.admit(basic("api-a:new")) == 7
    assert gate.admit(basic("api-a:secret:a:é")) is INVALID_PROJECT
    assert gate.admit(basic("api-b:secret:b:é")) == 1


def test_strangers_to_projects_are_a_line_now_and_then_without_any_key(
    log_lines: io.StringIO,
) -> None:
    now = [1000.0]
    gate = gate_of(PROJECTS, clock=lambda: now[0])

    gate.admit({})
    for number in range(100):
        gate.admit(basic(f"oddly-named-{number}:guessed"))
    now[0] += LOG_PAUSE_SECONDS
    gate.admit(basic("api-a:guessed"))

    lines = [msgspec.json.decode(line) for line in log_lines.getvalue().splitlines()]
    assert [(line["key"], line["refused"]) for line in lines] == [
        ("none", 1),
        (Secret("api-a").label, 101),
    ]
    for word in ("oddly", "guessed", "api-a", "secret:"):
        assert word not in log_lines.getvalue()
