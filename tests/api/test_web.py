"""Web flags resolved here: what a page is given, and what it never sees."""

from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from proxy.api.web import MADE_PER_STEP, Plans
from proxy.evaluation.deployment import compile_deployment
from proxy.evaluation.selectors import select
from proxy.settings.schema import Limits
from tests import builders
from tests.builders import KEY, condition, flag, segment
from tests.evaluation import strategies
from tests.serving import Served, encoded, serving

WEB = "/sdk/v2/flags?delivery_method=web"
OF_USER = ["context", "user", "cohort_ids"]
PLAN, PLATFORM = ["context", "user", "user_properties", "plan"], ["context", "user", "platform"]
ALWAYS = [{"selector": [], "op": "is", "values": ["(none)"]}]
NEVER = [{"selector": [], "op": "is not", "values": ["(none)"]}]
NOT_OF_THE_USER = {"groups", "group_properties", "group_cohort_ids", "cohort_ids"}
BUCKET = {
    "selector": ["context", "user", "device_id"],
    "salt": "pepper",
    "allocations": [
        {"range": [0, 100], "distributions": [{"variant": "on", "range": [0, 42949673]}]}
    ],
}

BY_GROUPS = {**BUCKET, "selector": ["context", "user", "groups"]}


def web(key: str, *segments: Any, **more: Any) -> Any:
    return flag(key, *segments, deliveryMethod="web", evaluationMode="remote", **more)


PAGES = [
    web(
        "headline",
        segment("off", condition(OF_USER, "set contains any", "testers"), segmentName="Testers"),
        {
            "conditions": [[condition(PLAN, "is", "gold"), condition(PLATFORM, "is", "Web")]],
            "bucket": BUCKET,
            "variant": "off",
        },
        segment("off"),
        payload=[{"action": "mutate"}],
    ),
    web("banner", dependencies=["group"]),
    flag("group", segment("on", condition(PLAN, "is", "gold")), payload="secret price"),
    flag("api", segment("on", condition(PLAN, "is", "platinum"))),
]


async def told(served: Served, user: Any = None, **headers: str) -> dict[str, Any]:
    header = {} if user is None else {"X_Amp_Exp_User": encoded(user)}
    answer = await served.get(WEB, **header, **headers)
    assert answer.status == 200
    return {one["key"]: one for one in answer.json}


async def test_a_page_gets_web_flags_to_be_evaluated_there_and_what_these_depend_on() -> None:
    async with serving(PAGES) as served:
        flags = await told(served)

        assert list(flags) == ["headline", "banner", "group"]
        assert {one["metadata"]["evaluationMode"] for one in flags.values()} == {"local"}
        assert flags["headline"]["variants"] == PAGES[0]["variants"]
        assert flags["banner"]["dependencies"] == ["group"]
        assert "payload" not in flags["group"]["variants"]["on"]
        # Nothing is known of nobody: the rules are as they came.
        assert flags["headline"]["segments"][1] == PAGES[0]["segments"][1]


async def test_what_the_user_decides_is_decided_here() -> None:
    async with serving(PAGES) as served:
        served.cohorts["User", "ada"] = ["testers"]
        of_ada = (await told(served, {"user_id": "ada", "device_id": "d"}))["headline"]["segments"]
        of_bob = (await told(served, {"user_id": "bob", "user_properties": {"plan": "gold"}}))[
            "headline"
        ]["segments"]

    assert of_ada[0]["conditions"] == [ALWAYS]
    assert "bucket" not in of_ada[1]
    assert of_ada[1]["variant"] == "on"
    assert of_bob[0]["conditions"] == [NEVER]
    assert of_bob[1]["conditions"] == [[condition(PLATFORM, "is", "Web")]]
    assert of_bob[1]["bucket"] == BUCKET


async def test_cohorts_are_known_of_who_is_in_none_and_unknown_of_who_has_no_id() -> None:
    asks = {"conditions": [[condition(OF_USER, "set contains any", "testers")]]}
    async with serving(PAGES) as served:
        for user, left in (
            ({"user_id": "nobody"}, [NEVER]),
            ({"user_id": 7}, [NEVER]),
            ({"device_id": "d"}, asks["conditions"]),
            ({"user_id": None, "device_id": "d"}, asks["conditions"]),
            ({"device_id": "d", "cohort_ids": ["testers"]}, asks["conditions"]),
        ):
            first = (await told(served, user))["headline"]["segments"][0]
            assert first["conditions"] == left, user


async def test_claimed_cohorts_count_where_clients_are_trusted() -> None:
    chosen = builders.settings(trust_client_cohorts=True)
    async with serving(PAGES, chosen) as served:
        flags = await told(served, {"device_id": "d", "cohort_ids": ["testers"]})

        assert flags["headline"]["segments"][0]["conditions"] == [ALWAYS]


@pytest.mark.parametrize(
    "header", ["not base64!", encoded(b"[]"), encoded(b"null"), encoded(b"{"), encoded(b"\xff")]
)
async def test_a_broken_user_is_the_clients_mistake(header: str) -> None:
    async with serving(PAGES) as served:
        answer = await served.get(WEB, X_Amp_Exp_User=header)

        assert answer.status == 400
        assert answer.json["code"] == 400


async def test_a_user_nested_too_deeply_is_refused() -> None:
    chosen = builders.settings(limits=Limits(max_json_depth=4))
    async with serving(PAGES, chosen) as served:
        user = {"user_properties": {"a": {"b": {"c": {"d": 1}}}}}

        assert (await served.get(WEB, X_Amp_Exp_User=encoded(user))).status == 400


async def test_who_has_no_key_gets_nothing() -> None:
    async with serving(PAGES) as served:
        assert (await served.get(WEB, Authorization="Api-Key other")).status == 401
        assert (await served.get(WEB, Authorization="")).status == 401


async def test_equal_answers_have_equal_tags_and_others_have_others() -> None:
    async with serving(PAGES) as served:
        seen: dict[str, bytes] = {}
        for user in ({}, {"user_id": "u"}, {"device_id": "d"}, {"user_id": "v"}):
            header = encoded(user)
            answer = await served.get(WEB, X_Amp_Exp_User=header)
            etag = answer.headers["etag"]
            assert seen.setdefault(etag, answer.body) == answer.body
            assert answer.headers["cache-control"] == "private, no-cache"

            again = await served.get(WEB, X_Amp_Exp_User=header, If_None_Match=etag)
            assert (again.status, again.body, again.headers["etag"]) == (304, b"", etag)
            other = await served.get(WEB, X_Amp_Exp_User=header, If_None_Match='W/"other"')
            assert (other.status, other.body) == (200, answer.body)
        assert len(seen) > 1


async def test_a_change_of_flags_or_cohorts_shows_at_once() -> None:
    async with serving(PAGES) as served:
        user = {"user_id": "ada"}
        assert (await told(served, user))["headline"]["segments"][0]["conditions"] == [NEVER]
        served.cohorts["User", "ada"] = ["testers"]
        assert (await told(served, user))["headline"]["segments"][0]["conditions"] == [ALWAYS]
        served.board.publish(KEY, builders.snapshot([web("new")]))
        assert list(await told(served, user)) == ["new"]


async def test_head_and_the_doubled_slash_work() -> None:
    async with serving(PAGES) as served:
        whole = await served.get("/" + WEB)
        head = await served.ask("HEAD", WEB, {})

        assert (head.status, head.body) == (200, b"")
        assert head.headers["content-length"] == str(len(whole.body))
        assert head.headers["etag"] == whole.headers["etag"]


async def test_resolving_is_measured_and_reports_nothing() -> None:
    async with serving(PAGES) as served:
        await told(served, {"user_id": "ada"})

        assert served.counted("web_evaluation_duration_seconds_count") == 1
        assert served.counted("get_flags_request_total") == 1
        assert served.counted("evaluation_total") == 0
        assert served.tracked == []


async def test_plans_are_made_in_turns_and_those_of_unchanged_flags_only_once() -> None:
    flags = [web(f"f{number}") for number in range(3 * MADE_PER_STEP)]
    first = compile_deployment(msgspec.json.encode(flags))
    second = compile_deployment(msgspec.json.encode([*flags[1:], web("new")]), first)
    plans = Plans()

    assert plans.ready(first) is None
    made = await plans.make(first)
    assert plans.ready(first) == made
    assert len(made) == len(flags)
    renewed = await plans.make(second)
    assert renewed[:-1] == made[1:]
    assert plans.ready(first) == made


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(strategies.flag_lists, st.sampled_from(["web", "web", None]), strategies.users)
@example([web("a", {"variant": "on", "bucket": BY_GROUPS})], "web", {"groups": "\ud800x"})
async def test_no_rule_that_the_user_decides_leaves_here(
    flags: list[strategies.Json], method: str | None, user: strategies.Json
) -> None:
    for one in flags[::2]:
        one["metadata"] = {"deliveryMethod": method, "evaluationMode": "remote"}
    async with serving() as served:
        compiled = compile_deployment(strategies.as_json(flags))
        snapshot = builders.snapshot([])
        served.board.publish(KEY, msgspec.structs.replace(snapshot, compiled=compiled))
        answer = await served.get(WEB, X_Amp_Exp_User=encoded(strategies.as_json(user)))

    assert answer.status == 200
    # Members about groups stand under `context.groups` alone; cohorts are the proxy's own words.
    known = {name: value for name, value in user.items() if name not in NOT_OF_THE_USER}
    for one in answer.json:
        assert one["metadata"]["evaluationMode"] == "local"
        for part in one["segments"]:
            tests = [test for inner in part.get("conditions") or () for test in inner]
            for asked in (*tests, *([part["bucket"]] if part.get("bucket") else [])):
                path = asked["selector"]
                of_the_user = path[:2] == ["context", "user"] and path[2:]
                assert not of_the_user or select(path[2:], known) is None
