import io

import msgspec
import pytest

from proxy.api.credentials import LOG_PAUSE_SECONDS, Gate, deployment_key
from proxy.api.messages import Response
from proxy.metrics import Metrics
from proxy.secret import Secret
from proxy.snapshots.board import Board
from tests import builders
from tests.builders import KEY


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
