"""Official SDKs, unmodified, get from the proxy what the vendor's own engines say."""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import amplitude_experiment as official
import pytest
from amplitude_experiment.evaluation.engine import EvaluationEngine
from amplitude_experiment.evaluation.topological_sort import topological_sort
from amplitude_experiment.evaluation.types import EvaluationFlag
from amplitude_experiment.local.client import LocalEvaluationClient
from amplitude_experiment.remote.client import RemoteEvaluationClient
from amplitude_experiment.remote.fetch_options import FetchOptions
from amplitude_experiment.util.user import user_to_evaluation_context

from proxy.sandbox.server import CLIENT_KEY, SERVER_KEY
from tests.clients.people import users
from tests.clients.running import HERE, Variants, held, need_node, of_python, run
from tests.system.programs import Pair, get_json, wait_for

pytestmark = [
    pytest.mark.system,
    # The vendor's package leaves sockets open and uses what its own dependencies will remove.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning"),
]
USERS = users()


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    pair = Pair(tmp_path_factory.mktemp("clients"), HERE / "flags.yaml")
    with pair.sandbox(), pair.serve():
        yield pair


@pytest.fixture(scope="module")
def flags(pair: Pair) -> list[dict[str, Any]]:
    headers = {"Authorization": f"Api-Key {SERVER_KEY}"}
    served: list[dict[str, Any]] = get_json(f"{pair.upstream}/sdk/v2/flags", headers)
    return served


@pytest.fixture(scope="module")
def node(pair: Pair, flags: list[dict[str, Any]]) -> Callable[..., list[Variants]]:
    """Run a job of `node_clients.js` for all users."""
    need_node()

    def ask(work: str, key: str = SERVER_KEY, **more: Any) -> list[Variants]:
        job = {"work": work, "proxy": pair.proxy, "key": key, "users": USERS, "flags": flags}
        found: list[Variants] = json.loads(run(["node", "node_clients.js"], {**job, **more}))
        return found

    return ask


@pytest.fixture(scope="module")
def expected(flags: list[dict[str, Any]]) -> list[Variants]:
    """What the vendor's Python engine answers for every user."""
    engine = EvaluationEngine()
    loaded = EvaluationFlag.schema().load(flags, many=True)
    in_order = topological_sort({flag.key: flag for flag in loaded})
    return [
        of_python(engine.evaluate(user_to_evaluation_context(official.User(**user)), in_order))
        for user in USERS
    ]


def without_defaults(variants: Variants) -> Variants:
    return {
        key: variant
        for key, variant in variants.items()
        if not variant.get("metadata", {}).get("default")
    }


def test_the_flags_of_this_test_divide_its_users(expected: list[Variants]) -> None:
    for flag in expected[0]:
        seen = {each.get(flag, {}).get("key") for each in expected}
        assert len(seen) > 1 or flag in {"everybody", "nobody"}, f"{flag} gives all {seen}"


def test_the_vendors_two_engines_agree_on_these_flags(
    expected: list[Variants], node: Callable[..., list[Variants]]
) -> None:
    assert [held(variants) for variants in node("oracle")] == expected


def test_python_remote(pair: Pair, expected: list[Variants]) -> None:
    config = official.RemoteEvaluationConfig(server_url=pair.proxy)
    with RemoteEvaluationClient(SERVER_KEY, config) as client:
        found = [of_python(client.fetch_v2(official.User(**user))) for user in USERS]

    assert found == expected


@pytest.mark.parametrize("streaming", [False, True], ids=["polling", "streaming"])
def test_python_local(pair: Pair, expected: list[Variants], streaming: bool) -> None:
    config = official.LocalEvaluationConfig(
        server_url=pair.proxy, stream_updates=streaming, stream_server_url=pair.proxy
    )
    with LocalEvaluationClient(SERVER_KEY, config) as client:
        client.start()
        found = [of_python(client.evaluate_v2(official.User(**user))) for user in USERS]

    assert found == expected


def test_python_remote_with_a_filter_gets_the_flags_and_what_they_need(
    pair: Pair, expected: list[Variants]
) -> None:
    config = official.RemoteEvaluationConfig(server_url=pair.proxy)
    options = FetchOptions(tracksAssignment=False, flagKeys=["behind", "none", "third"])
    people = [{**user, "device_id": f"filtered-{user['device_id']}"} for user in USERS]
    with RemoteEvaluationClient(SERVER_KEY, config) as client:
        found = [of_python(client.fetch_v2(official.User(**user), options)) for user in people]

    wanted = ["holdout-quarter", "colours", "needs-colours", "behind", "third"]
    assert all(list(variants) == wanted for variants in found)


def test_node_remote(node: Callable[..., list[Variants]], expected: list[Variants]) -> None:
    found = [held(variants) for variants in node("nodeRemote")]

    assert [without_defaults(variants) for variants in found] == [
        without_defaults(variants) for variants in expected
    ]


@pytest.mark.parametrize("streaming", [False, True], ids=["polling", "streaming"])
def test_node_local(
    node: Callable[..., list[Variants]], expected: list[Variants], streaming: bool
) -> None:
    found = [held(variants) for variants in node("nodeLocal", streaming=streaming)]

    assert found == expected


def test_browser_remote(node: Callable[..., list[Variants]], expected: list[Variants]) -> None:
    found = [held(variants) for variants in node("browserRemote", CLIENT_KEY)]

    assert found == expected


def test_browser_local(
    node: Callable[..., list[Variants]],
    expected: list[Variants],
    flags: list[dict[str, Any]],
) -> None:
    on_device = {flag["key"] for flag in flags if flag["metadata"]["evaluationMode"] == "local"}

    found = [held(variants) for variants in node("browserLocal", CLIENT_KEY)]

    assert found == [
        {key: variant for key, variant in variants.items() if key in on_device}
        for variants in expected
    ]


def test_the_assignments_of_remote_evaluations_arrive_upstream(
    pair: Pair, expected: list[Variants]
) -> None:
    began = time.time() * 1000
    config = official.RemoteEvaluationConfig(server_url=pair.proxy)
    people = [{**user, "user_id": f"tracked-{user['user_id']}"} for user in USERS[:20]]
    with RemoteEvaluationClient(SERVER_KEY, config) as client:
        variants = {
            user["user_id"]: of_python(client.fetch_v2(official.User(**user))) for user in people
        }

    def arrived() -> dict[str, Any]:
        events = {event["user_id"]: event for event in pair.events()}
        return events if set(variants) <= set(events) else {}

    events = wait_for(arrived, "assignments of all users")

    assert len(variants) == 20
    for user in people:
        event = events[user["user_id"]]
        assert event["event_type"] == "[Experiment] Assignment"
        assert event["device_id"] == user["device_id"]
        assert abs(event["time"] - began) < 60_000
        assert {
            name.removesuffix(".variant"): variant
            for name, variant in event["event_properties"].items()
            if name.endswith(".variant")
        } == {flag: variant["key"] for flag, variant in variants[user["user_id"]].items()}
