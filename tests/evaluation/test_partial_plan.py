"""Plans write what the obvious partial evaluation says, byte for byte, and nothing they decided."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings

from proxy.evaluation.decode import decode_flag
from proxy.evaluation.memberships import Memberships
from proxy.evaluation.model import Flag
from proxy.evaluation.partial import partially_evaluate
from proxy.evaluation.partial_plan import FlagPlan, encode
from proxy.evaluation.selectors import select
from proxy.evaluation.users import evaluation_context, parse_user, plain
from tests.builders import condition, flag, segment
from tests.evaluation.engines import match, usable
from tests.evaluation.strategies import Json, as_json, flag_lists, users

VECTORS = Path(__file__).parent.parent / "vectors" / "partial.json"
NEVER = {"selector": [], "op": "is not", "values": ["(none)"]}


def planned(flags: Mapping[str, Flag], user: Mapping[str, Any]) -> bytes:
    return encode([FlagPlan(flag, match) for flag in flags.values()], user)


def obvious(flags: Mapping[str, Flag], user: Mapping[str, Any]) -> bytes:
    return msgspec.json.encode(partially_evaluate(flags, user, match=match))


@pytest.mark.parametrize(
    "row", msgspec.json.decode(VECTORS.read_bytes()), ids=lambda row: row["name"]
)
def test_plans_leave_what_the_reference_leaves(row: Json) -> None:
    for expected in row["partial"]:
        if expected.get("dependencies") == []:  # says no more than its absence
            del expected["dependencies"]

    written = planned(usable(as_json(row["flags"])), parse_user(as_json(row["user"])))

    assert msgspec.json.decode(written) == row["partial"]


@settings(max_examples=max(40, settings().max_examples // 10))
@given(flag_lists, users)
def test_plans_write_what_the_obvious_way_says_and_nothing_that_the_user_decides(
    flags: list[Json], user: Json
) -> None:
    usables, parsed = usable(as_json(flags)), parse_user(as_json(user))
    written = planned(usables, parsed)

    assert written == obvious(usables, parsed)
    target = {"context": evaluation_context(plain(parsed)), "result": {}}
    for left in msgspec.json.decode(written):
        for one in left["segments"]:
            bucket = one.get("bucket")
            assert bucket is None or select(bucket["selector"], target) is None
            for inner in one.get("conditions") or ():
                for test in inner:
                    assert select(test["selector"], target) is None


OF_USER, OF_GROUP = ["context", "user", "cohort_ids"], ["context", "groups", "org", "cohort_ids"]
BY_COHORT = usable(
    as_json(
        [
            flag("mine", segment("on", condition(OF_USER, "set contains any", "secret"))),
            flag("ours", segment("on", condition(OF_GROUP, "set contains any", "secret"))),
            flag("whole", segment("on", condition(OF_GROUP[:3], "contains", "secret"))),
        ]
    )
)


@pytest.mark.parametrize("held", [(), ("secret",), ("other",)])
def test_memberships_are_looked_up_as_the_list_would_be_read(held: tuple[str, ...]) -> None:
    def cohorts() -> Memberships:
        return Memberships(held.__contains__, lambda: ("secret", "other"))

    user = {"user_id": "u", "groups": {"org": ["acme"]}}
    looked_up = user | {"cohort_ids": cohorts(), "group_cohort_ids": {"org": {"acme": cohorts()}}}
    listed = user | {"cohort_ids": list(held), "group_cohort_ids": {"org": {"acme": list(held)}}}

    assert planned(BY_COHORT, looked_up) == planned(BY_COHORT, listed) == obvious(BY_COHORT, listed)


def test_only_asked_for_cohorts_are_looked_up() -> None:
    asked: list[str] = []

    def holds(cohort_id: str) -> bool:
        asked.append(cohort_id)
        return False

    cohorts = Memberships(holds, lambda: pytest.fail("all cohorts were listed"))
    written = planned(BY_COHORT, {"user_id": "u", "cohort_ids": cohorts})

    assert asked == ["secret"]
    assert msgspec.json.decode(written)[0]["segments"][0]["conditions"] == [[NEVER]]


def test_without_flags_there_is_an_empty_array() -> None:
    assert encode([], {"user_id": "u"}) == b"[]"


def test_a_plan_does_not_remember_a_user() -> None:
    by_user = flag("f", segment("on", condition(["context", "user", "user_id"], "is", "u")))
    plan = FlagPlan(decode_flag(msgspec.json.encode(by_user)), match)
    of_nobody = encode([plan], {})

    assert encode([plan], {"user_id": "u"}) != of_nobody
    assert encode([plan], {}) == of_nobody
