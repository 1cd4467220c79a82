"""Official remote clients get merged variants: the proxy's own and Amplitude's."""

import json
from collections.abc import Iterator
from typing import Any

import amplitude_experiment as official
import pytest
from amplitude_experiment.remote.client import RemoteEvaluationClient
from amplitude_experiment.remote.fetch_options import FetchOptions

from proxy.sandbox.server import SERVER_KEY
from tests.clients.running import Variants, held, need_node, of_python, run
from tests.system.programs import Pair, get_json, wait_for

pytestmark = [
    pytest.mark.system,
    # The vendor's package leaves sockets open and uses what its own dependencies will remove.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning"),
]
FLAGS = """
flags:
  here: {serve: on}
  targeted: {segments: [{when: plan is pro, serve: on}]}
  there: {mode: remote, segments: [{when: plan is pro, serve: on}]}
  both: {mode: remote, type: experiment, experiment: exp-1}
users:
  ada: {plan: pro}
"""
USERS = [{"user_id": "ada", "device_id": "d1"}, {"user_id": "bob", "device_id": "d2"}]
# Amplitude knows ada's plan, the proxy does not: what is evaluated here is off for her.
PLANS = [("on", "off", "on"), ("on", "off", "off")]


class Merging(Pair):
    def config(self) -> dict[str, Any]:
        config = super().config()
        config["configuration"]["remoteEvaluation"] = {
            "mode": "merge",
            "serverUrl": self.upstream,
            "timeoutMillis": 30_000,
        }
        return config


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    pair = Merging(tmp_path_factory.mktemp("merging"), FLAGS)
    with pair.sandbox(), pair.serve():
        yield pair


def relayed(pair: Pair) -> dict[str, int]:
    return dict(get_json(f"{pair.operators}/status")["edge"]["remote_evaluation"])


def plans(found: list[Variants]) -> list[tuple[str, ...]]:
    return [
        tuple(variants[key]["key"] for key in ("here", "targeted", "there")) for variants in found
    ]


def test_python_gets_both_parts(pair: Pair) -> None:
    config = official.RemoteEvaluationConfig(server_url=pair.proxy)
    with RemoteEvaluationClient(SERVER_KEY, config) as client:
        found = [of_python(client.fetch_v2(official.User(**user))) for user in USERS]
        options = FetchOptions(tracksAssignment=False, flagKeys=["there"])
        some = of_python(client.fetch_v2(official.User(**USERS[0]), options))

    assert plans(found) == PLANS
    assert set(found[0]) == {"here", "targeted", "there", "both"}
    assert found[0]["both"]["metadata"]["experimentKey"] == "exp-1"
    assert {key: variant["key"] for key, variant in some.items()} == {"there": "on"}
    assert relayed(pair)["answers_kept"] >= 3

    def told() -> dict[bool, set[str]]:
        """Which flags each side noted for ada: Amplitude its own part, the proxy the other."""
        flags: dict[bool, set[str]] = {}
        for event in pair.events():
            if event["user_id"] == "ada":
                names = {name.removesuffix(".variant") for name in event["event_properties"]}
                theirs = event.get("library") == "remote-evaluation"
                flags.setdefault(theirs, set()).update(names & {"here", "targeted", "there"})
        return flags if len(flags) == 2 else {}

    assert wait_for(told, "assignments of both sides") == {
        True: {"there"},
        False: {"here", "targeted"},
    }


def test_node_gets_both_parts(pair: Pair) -> None:
    need_node()
    job = {"work": "nodeRemote", "proxy": pair.proxy, "key": SERVER_KEY, "users": USERS}

    found = [held(variants) for variants in json.loads(run(["node", "node_clients.js"], job))]

    assert plans(found) == PLANS
