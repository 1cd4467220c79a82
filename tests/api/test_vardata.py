import msgspec

from proxy.api.assembly import build_router
from proxy.api.messages import Response
from proxy.api.routes import Exchange
from proxy.evaluation.outcomes import Outcome
from proxy.metrics import Metrics
from proxy.snapshots.board import Board
from tests import builders
from tests.builders import KEY, flag
from tests.serving import Served, encoded

AUTHORISED = {"authorization": f"Api-Key {KEY}"}


async def test_what_was_answered_is_tracked(served: Served) -> None:
    await served.get("/sdk/v2/vardata", X_Amp_Exp_User=encoded({"user_id": "u1", "a": 1}))

    (tracked,) = served.tracked
    assert tracked.project_index == 0
    assert tracked.user == {"user_id": "u1", "a": 1, "cohort_ids": []}
    assert {outcome.flag_key for outcome in tracked.outcomes} >= {"plain", "targeted"}
    assert tracked.at > 1_700_000_000


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
        lambda _project, _user, outcomes, _at: tracked.extend(outcomes),
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
