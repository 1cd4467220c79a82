import msgspec
import pytest

from proxy.api.assembly import build_router
from proxy.api.cohorts import Library
from proxy.api.messages import Response
from proxy.api.reports import Reports
from proxy.api.routes import Exchange
from proxy.evaluation.memberships import Memberships
from proxy.evaluation.outcomes import Outcome
from proxy.metrics import Metrics
from proxy.snapshots.board import Board
from proxy.snapshots.snapshot import Deployment
from tests import builders
from tests.builders import KEY, condition, flag, segment
from tests.serving import Served, encoded, serving

AUTHORISED = {"authorization": f"Api-Key {KEY}"}


async def test_what_was_answered_is_tracked(served: Served) -> None:
    await served.get("/sdk/v2/vardata", X_Amp_Exp_User=encoded({"user_id": "u1", "a": 1}))

    (tracked,) = served.tracked
    assert tracked.project_index == 0
    assert {name: tracked.user[name] for name in ("user_id", "a")} == {"user_id": "u1", "a": 1}
    assert {outcome.flag_key for outcome in tracked.outcomes} >= {"plain", "targeted"}
    assert tracked.at > 1_700_000_000


@pytest.mark.parametrize(
    ("wish", "exposed"),
    [("track", 1), ("Track", 1), (" track ", 1), ("no-track", 0), ("", 0), ("true", 0)],
)
@pytest.mark.parametrize("path", ["/sdk/v2/vardata", "/sdk/vardata", "/v1/vardata"])
async def test_exposures_are_offered_when_asked_for(
    served: Served, path: str, wish: str, exposed: int
) -> None:
    await served.get(
        f"{path}?user_id=u1", X_Amp_Exp_Exposure_Track=wish, X_Amp_Exp_Track="no-track"
    )

    assert len(served.exposed) == exposed
    assert served.tracked == []


async def test_an_exposure_tells_which_flags_were_asked_for(served: Served) -> None:
    user = encoded({"user_id": "u1"})
    for keys in ("", encoded(["child", "nowhere"])):
        await served.get(
            "/sdk/v2/vardata",
            X_Amp_Exp_User=user,
            X_Amp_Exp_Flag_Keys=keys,
            X_Amp_Exp_Exposure_Track="track",
        )

    everything, one = served.exposed
    assert (set(everything.asked), set(one.asked)) == (set(), {"child", "nowhere"})
    assert [outcome.flag_key for outcome in one.outcomes] == ["parent", "child"]
    assert (one.project_index, one.user["user_id"]) == (0, "u1")
    assert one.at > 1_700_000_000
    assert len(served.tracked) == 2


async def test_only_evaluations_are_tracked(served: Served) -> None:
    await served.get("/sdk/v2/flags")
    await served.get("/sdk/v2/vardata", X_Amp_Exp_User="%%")
    await served.get("/sdk/v2/vardata", Authorization="Api-Key nobody")

    assert served.tracked == []


async def test_the_answer_comes_from_the_snapshot_at_the_time_of_the_credentials() -> None:
    board = Board()
    old, new = (builders.snapshot([flag(name)]) for name in ("old", "new"))
    board.authorise(old.deployment)
    board.publish(KEY, old)
    tracked: list[Outcome] = []
    router = build_router(
        board,
        Reports(lambda _project, _user, outcomes, _at: tracked.extend(outcomes)),
        builders.settings(),
        Metrics(),
        lambda: 0.0,
        is_ready=lambda: True,
    )

    _, exchange = router.begin("POST", "/sdk/v2/vardata", AUTHORISED)
    board.publish(KEY, new)

    assert isinstance(exchange, Exchange)
    assert set(msgspec.json.decode(router.finish(exchange, b"{}").body)) == {"old"}
    assert [outcome.flag_key for outcome in tracked] == ["old"]
    _, exchange = router.begin("GET", "/sdk/v2/vardata", AUTHORISED)
    assert isinstance(exchange, Exchange)
    answer = router.finish(exchange)
    assert isinstance(answer, Response)
    assert set(msgspec.json.decode(answer.body)) == {"new"}


async def test_a_user_without_a_usable_id_has_no_cohorts_at_all(served: Served) -> None:
    served.cohorts["User", "True"] = ["c1"]
    users: list[dict[str, object]] = [{"user_id": True}, {"user_id": {}}, {"device_id": "d"}]
    for user in users:
        await served.get("/sdk/v2/vardata", X_Amp_Exp_User=encoded(user))
        assert "cohort_ids" not in served.tracked[-1].user


IN_ORG = {"user_id": "u1", "groups": {"org": ["acme", "other"], "team": ["red"]}}


@pytest.mark.parametrize("target", ["/sdk/v2/vardata", "/sdk/vardata", "/v1/vardata"])
async def test_cohorts_of_the_first_group_of_each_type_count(served: Served, target: str) -> None:
    async def decided() -> str:
        answer = await served.post(target, msgspec.json.encode(IN_ORG))
        return str(answer.json.get("insiders", {}).get("key", "off"))

    served.cohorts["org", "other"] = ["g1"]
    served.cohorts["team", "acme"] = ["g1"]
    served.cohorts["User", "acme"] = ["g1"]
    assert await decided() == "off"

    served.cohorts["org", "acme"] = ["g1"]
    assert await decided() == "on"


@pytest.mark.parametrize("groups", ["acme", [], {"org": "acme"}, {"org": []}, {"org": [7]}, None])
async def test_groups_without_a_first_name_have_no_cohorts(served: Served, groups: object) -> None:
    for name in ("acme", "7", "", "a"):
        served.cohorts["org", name] = ["g1"]

    answer = await served.post("/sdk/v2/vardata", msgspec.json.encode({"groups": groups}))

    assert answer.json["insiders"]["key"] == "off"
    assert "group_cohort_ids" not in served.tracked[0].user


async def test_groups_cannot_claim_cohorts(served: Served) -> None:
    user = {**IN_ORG, "group_cohort_ids": {"org": {"acme": ["g1"]}, "team": {"red": ["g1"]}}}

    answer = await served.post("/sdk/v2/vardata", msgspec.json.encode(user))

    assert answer.json["insiders"]["key"] == "off"


@pytest.mark.parametrize("claimed", [["g1"], {"g1": {}}, [None, "g1", "g1", 5]])
async def test_trusted_clients_may_claim_cohorts_for_groups(claimed: object) -> None:
    user = {**IN_ORG, "group_cohort_ids": {"org": {"acme": claimed, "other": ["g3"]}}}
    async with serving(settings=builders.settings(trust_client_cohorts=True)) as served:
        served.cohorts["org", "acme"] = ["g2"]

        answer = await served.post("/sdk/v2/vardata", msgspec.json.encode(user))

        assert answer.json["insiders"]["key"] == "on"
        ids = served.tracked[0].user["group_cohort_ids"]["org"]["acme"].listed()
        assert ids == (["g1", "5", "g2"] if claimed == [None, "g1", "g1", 5] else ["g1", "g2"])


@pytest.mark.parametrize("claims", ["g1", {"org": "g1"}, {"org": ["g1"]}, {"org": {"acme": "g1"}}])
async def test_trusted_claims_of_another_shape_say_nothing(claims: object) -> None:
    user = {**IN_ORG, "cohort_ids": "c1", "group_cohort_ids": claims}
    async with serving(settings=builders.settings(trust_client_cohorts=True)) as served:
        answer = await served.post("/sdk/v2/vardata", msgspec.json.encode(user))

    assert answer.json["insiders"]["key"] == answer.json["members"]["key"] == "off"


async def test_members_of_no_cohort_are_not_in_any() -> None:
    flags = [
        flag("out", segment("on", condition([*of, "cohort_ids"], "set does not contain any", "c")))
        for of in (["context", "user"], ["context", "groups", "org"])
    ]
    flags[1]["key"] = "out of org"
    async with serving(flags) as served:
        answer = await served.post("/sdk/v2/vardata", msgspec.json.encode(IN_ORG))
        assert set(answer.json) == {"out", "out of org"}

        served.cohorts["User", "u1"] = served.cohorts["org", "acme"] = ["c"]
        assert (await served.post("/sdk/v2/vardata", msgspec.json.encode(IN_ORG))).json == {}


@pytest.mark.parametrize("answers", [None, Memberships(lambda _: False, tuple)])
def test_only_types_that_flags_target_are_asked_for(answers: Memberships | None) -> None:
    asked: list[tuple[str, str]] = []

    def memberships_of(_: Deployment, group_type: str, name: str) -> Memberships | None:
        asked.append((group_type, name))
        return answers

    by_org = ["context", "groups", "org", "cohort_ids"]
    targeting = flag("f", segment("off", condition(by_org, "set contains any", "c1")))
    for flags, expected in (([flag("f")], []), ([targeting, flag("g")], [("org", "acme")])):
        asked.clear()
        board = Board()
        board.authorise(builders.deployment())
        board.publish(KEY, builders.snapshot(flags))
        router = build_router(
            board,
            Reports(lambda *_: None),
            builders.settings(),
            Metrics(),
            lambda: 0.0,
            is_ready=lambda: True,
            library=Library(memberships_of=memberships_of),
        )

        _, exchange = router.begin("POST", "/sdk/vardata", AUTHORISED)
        assert isinstance(exchange, Exchange)
        body = router.finish(exchange, msgspec.json.encode(IN_ORG)).body

        assert "on" in body.decode()
        assert asked == expected
