"""The flags of a deployment, over HTTP."""

from typing import Any

from proxy.admin.flags import MOST_KEPT, FlagsPage
from proxy.snapshots.board import Board
from tests import builders
from tests.admin.port import port
from tests.builders import KEY, flag


async def test_the_flags_in_force_are_told_with_what_is_left_out_and_what_waits() -> None:
    board = Board()
    deployment = builders.deployment(label="Zoë's")
    board.authorise(deployment)
    status: list[dict[str, Any]] = [
        {
            "left_out": [
                {"flag": "bad", "reason": "why", "in_force": True},
                {"flag": "worse", "reason": "why", "in_force": False},
            ],
            "waiting": [{"flag": "slow", "cohorts": ["c1"]}],
        }
    ]

    def of_one(key: str) -> list[dict[str, Any]]:
        assert key == deployment.key.label
        return status

    page = FlagsPage(board, of_one, lambda: 1060.0)
    async with port({"/status/flags": {"GET": page.answer}}) as served:
        code, empty = await served.get("/status/flags?deployment=Zo%C3%AB's")
        assert (code, empty["flags"], empty["version"]) == (200, [], None)
        assert empty["source"] is empty["changed_at"] is empty["confirmed_age_seconds"] is None

        snapshot = builders.snapshot([flag("a"), flag("b")], deployment)
        board.publish(KEY, snapshot, confirmed_at=1030.0)
        for name in ("Zo%C3%AB's", deployment.key.label):
            code, told = await served.get(f"/status/flags?deployment={name}")
            assert code == 200
            flags = told.pop("flags")
            assert [one["key"] for one in flags] == ["a", "b"]
            assert told == {
                "deployment": "Zoë's",
                "version": snapshot.compiled.version,
                "source": "poll",
                "changed_at": 1000.0,
                "confirmed_age_seconds": 30.0,
                "left_out": [
                    {"key": "bad", "reason": "why", "in_force": "earlier version"},
                    {"key": "worse", "reason": "why", "in_force": "nothing"},
                ],
                "waiting": [{"key": "slow", "cohorts": ["c1"]}],
            }
        status.clear()
        _, told = await served.get(f"/status/flags?deployment={deployment.key.label}")
        assert told["left_out"] == told["waiting"] == []


async def test_every_deployment_is_told_of_even_when_there_are_many() -> None:
    board = Board()
    page = FlagsPage(board, lambda _: [], lambda: 0.0)
    keys = [f"server-{number}" for number in range(MOST_KEPT + 2)]
    for key in keys:
        one = builders.deployment(key, label=key.upper())
        board.authorise(one)
        board.publish(key, builders.snapshot([flag(f"of-{key}")], one))
    async with port({"/status/flags": {"GET": page.answer}}) as served:
        for key in (*keys, *keys):
            _, told = await served.get(f"/status/flags?deployment={key.upper()}")
            assert [one["key"] for one in told["flags"]] == [f"of-{key}"]
        code, refused = await served.get("/status/flags")
        assert (code, refused["deployments"][0]) == (400, "SERVER-0")
        code, refused = await served.get(f"/status/flags?deployment={keys[0]}")
        assert code == 404
