"""The official browser client, as the script of web experiments uses it, behind the proxy."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from proxy.sandbox.server import API_KEY, CLIENT_KEY, SERVER_KEY
from tests.clients.running import held, need_node, run
from tests.system.programs import Pair, call, get_json

pytestmark = pytest.mark.system
FLAGS = """
flags:
  server: {serve: on}
  headline:
    type: experiment
    experiment: exp-1
    delivery: web
    mode: remote
    by: device_id
    variants:
      control:
      treatment:
        payload:
          - {action: mutate, data: {mutations: [{selector: h1, attribute: html, value: better}]}}
    segments:
      - {name: Testers, when: in cohort testers, serve: treatment}
      - {name: Gold, when: plan is gold, serve: control}
      - {name: On a page, when: platform is Web}
    rollout: 0%
  left: {type: experiment, delivery: web, mode: remote}
  right: {type: experiment, delivery: web, mode: remote}
  needy: {delivery: web, mode: remote, needs: {server: on}, serve: on}
exclusion_groups:
  halves: {slots: {left: 50%, right: 50%}}
cohorts: {testers: [ada]}
users: {carl: {plan: gold}}
"""
WEB_KEYS = ("headline", "left", "right", "needy")
PEOPLE: list[dict[str, Any]] = [
    {"user_id": "ada", "device_id": "d0"},
    {"user_id": "carl", "device_id": "d1"},
    *({"user_id": f"u{number}", "device_id": f"d{number}"} for number in range(20)),
    *({"device_id": f"anonymous{number}"} for number in range(5)),
]


class Forwarding(Pair):
    def config(self) -> dict[str, Any]:
        config = super().config()
        # No test may depend on how fast a busy machine is.
        config["configuration"]["webExperiment"] = {"mode": "forward", "timeoutMillis": 30_000}
        config["configuration"]["scriptServerUrl"] = self.upstream
        return config


class Resolving(Pair):
    def config(self) -> dict[str, Any]:
        config = super().config()
        config["configuration"]["scriptServerUrl"] = self.upstream
        return config


@pytest.fixture(scope="module", params=[Resolving, Forwarding], ids=["partial", "forward"])
def pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pair]:
    pair: Pair = request.param(tmp_path_factory.mktemp("web"), FLAGS)
    with pair.sandbox(), pair.serve():
        yield pair


def visits(pair: Pair, key: str = CLIENT_KEY, **more: Any) -> list[dict[str, Any]]:
    need_node()
    job = {"proxy": pair.proxy, "key": key, "users": PEOPLE, **more}
    found: list[dict[str, Any]] = json.loads(run(["node", "web_page.js"], job))
    return found


def expected(pair: Pair, *, knows_plans: bool) -> list[dict[str, str]]:
    """What the vendor's engine says of all flags when it is told what server and page know."""
    flags = get_json(f"{pair.upstream}/sdk/v2/flags", {"Authorization": f"Api-Key {SERVER_KEY}"})
    users = [
        {
            **user,
            "platform": "Web",
            "cohort_ids": ["testers"] if user.get("user_id") == "ada" else [],
            "user_properties": {"plan": "gold"}
            if knows_plans and user.get("user_id") == "carl"
            else {},
        }
        for user in PEOPLE
    ]
    job = {"work": "oracle", "flags": flags, "users": users}
    return [
        {key: one["key"] for key, one in held(variants).items() if key in WEB_KEYS}
        for variants in json.loads(run(["node", "node_clients.js"], job))
    ]


def test_pages_show_what_the_engine_says_of_all_that_is_known(pair: Pair) -> None:
    found = visits(pair, query="?integration=segment&_=7")
    wanted = expected(pair, knows_plans=isinstance(pair, Forwarding))

    assert [one.get("error") for one in found] == [None] * len(PEOPLE)
    for user, page, variants in zip(PEOPLE, found, wanted, strict=True):
        seen = {key: page["variants"][key]["key"] for key in WEB_KEYS}
        assert seen == variants, user
        changed = variants["headline"] == "treatment"
        assert page["heading"] == ("better" if changed else "as it was"), user
        assert page["integration"] == "segment"
    # The users of this test are divided by every flag, and the group keeps its word.
    for key in ("headline", "left", "right"):
        assert len({variants[key] for variants in wanted}) > 1
    assert all("off" in (variants["left"], variants["right"]) for variants in wanted)


def test_a_projects_own_key_works_where_amplitude_resolves(pair: Pair) -> None:
    found = visits(pair, API_KEY, users=PEOPLE[:2])

    errors = [one.get("error") for one in found]
    if isinstance(pair, Forwarding):
        assert errors == [None, None]
    else:
        assert all("401" in str(error) for error in errors)


def test_operators_see_it(pair: Pair) -> None:
    visits(pair, users=PEOPLE[:1])
    status = get_json(f"{pair.operators}/status")["edge"]["web"]
    page = call(f"{pair.operators}/metrics")[1].decode()

    assert status["mode"] == ("forward" if isinstance(pair, Forwarding) else "partial")
    assert status["scripts"]["kept"] >= 1
    assert 'amplitude_proxy_web_answers_total{outcome="miss",what="scripts"}' in page
    for key in (API_KEY, CLIENT_KEY):
        assert key not in page
        assert key not in json.dumps(status)
