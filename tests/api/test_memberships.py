"""Who may ask whose cohorts, and what the answer holds."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from proxy.api.assembly import build_router
from proxy.api.cohorts import Library
from proxy.api.reports import Reports
from proxy.api.routes import Exchange
from proxy.cohorts.building import write_index
from proxy.cohorts.index import Index
from proxy.cohorts.names import digest
from proxy.cohorts.shelf import Cohort, Shelf
from proxy.cohorts.sorting import Digests
from proxy.metrics import Metrics
from proxy.snapshots.board import Board
from tests import builders
from tests.builders import KEY, condition, flag, segment
from tests.evaluation.strategies import as_json
from tests.serving import FLAGS, Served, serving

PATH = "/sdk/v2/memberships/"
NAME = PATH + "{groupType}/{groupName}"


async def test_the_answer_is_sorted_and_limited_to_what_flags_target() -> None:
    of_users, of_orgs = ["context", "user"], ["context", "groups", "org"]
    flags = [
        flag("a", segment("on", condition([*of_users, "cohort_ids"], "set contains any", "b"))),
        flag(
            "c",
            segment(
                "on",
                condition([*of_users, "cohort_ids"], "set does not contain any", "a", "c", "x"),
                condition([*of_orgs, "cohort_ids"], "set contains any", "o", "b"),
            ),
        ),
    ]
    async with serving(flags) as served:
        served.cohorts["User", "u1"] = ["c", "o", "b", "untargeted", "a"]
        served.cohorts["org", "u1"] = ["o", "a"]

        answer = await served.get(PATH + "User/u1")
        assert answer.headers["content-type"] == "application/json; charset=utf-8"
        assert answer.json == ["a", "b", "c"]
        assert (await served.get(PATH + "org/u1")).json == ["o"]


async def test_the_names_of_types_are_decoded_after_splitting() -> None:
    selector = ["context", "groups", "a/b c", "cohort_ids"]
    flags = [flag("f", segment("on", condition(selector, "set contains any", "c1")))]
    async with serving(flags) as served:
        served.cohorts["a/b c", "x/y"] = ["c1"]

        assert (await served.get(PATH + "a%2Fb%20c/x%2Fy")).json == ["c1"]
        assert (await served.get("//sdk/v2/member%73hips/a%2Fb%20c/x/y?d=1")).json == ["c1"]
        assert (await served.get(PATH + "a/b%20c/x/y")).json == []
        assert (await served.get(PATH.replace("/v2/", "%2Fv2/") + "a%2Fb%20c/x/y")).status == 404


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("", "Invalid group type"),
        ("/", "Invalid group type"),
        ("/u1", "Invalid group type"),
        ("User", "Invalid group name"),
        ("User/", "Invalid group name"),
        ("User?a=/b", "Invalid group name"),
        ("User/%FF", "The path is not UTF-8"),
        ("%ED%A0%80/u1", "The path is not UTF-8"),
        ("User/100%", "The path is not percent-encoded"),
        ("User/%zz", "The path is not percent-encoded"),
        ("User/%4", "The path is not percent-encoded"),
        ("User/%%341", "The path is not percent-encoded"),
    ],
)
async def test_paths_that_name_nobody_are_the_clients_mistake(
    served: Served, path: str, reason: str
) -> None:
    answer = await served.get(PATH + path)

    assert (answer.status, answer.json["error"]) == (400, reason)
    assert served.counted("rejected_requests_total", reason="bad_request") == 1


@pytest.mark.parametrize("key", ["client-key", "key-without-a-type"])
async def test_only_server_keys_may_ask_by_default(served: Served, key: str) -> None:
    deployment = builders.deployment(key)
    served.board.authorise(deployment)
    served.board.publish(key, builders.snapshot([], deployment))

    answer = await served.get(PATH + "User/u1", Authorization=f"Api-Key {key}")

    assert answer.status == 403
    assert "server" in answer.json["error"]
    assert (await served.get(PATH + "User/u1")).status == 200


async def test_client_keys_may_ask_where_that_is_allowed() -> None:
    key = "client-key"
    settings = builders.settings(allow_client_memberships=True)
    async with serving(settings=settings) as served:
        deployment = builders.deployment(key)
        served.board.authorise(deployment)
        served.board.publish(key, builders.snapshot([], deployment))

        answer = await served.get(PATH + "User/u1", Authorization=f"Api-Key {key}")

    assert (answer.status, answer.json) == (200, [])


async def test_others_are_refused(served: Served) -> None:
    assert (await served.get(PATH + "User/u1", Authorization="Api-Key nobody")).status == 401
    assert (await served.get("/sdk/v2/memberships")).status == 404
    answer = await served.post(PATH + "User/u1", b"")
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD, OPTIONS")


async def test_pages_may_not_ask(served: Served) -> None:
    asked = {"Origin": "https://shop.example", "Access-Control-Request-Headers": "authorization"}

    answer = await served.ask("OPTIONS", PATH + "User/u1", asked)

    assert answer.status == 204
    assert "access-control-allow-headers" not in answer.headers


async def test_asking_is_counted_without_names(served: Served) -> None:
    await served.get(PATH + "User/u1")
    await served.ask("HEAD", PATH + "User/u2", {})
    await served.get(PATH + "User/")

    assert served.counted("get_members_request_total") == 3
    assert served.counted("get_members_request_error_total") == 1
    for method, status, times in [("GET", "200", 1), ("HEAD", "200", 1), ("GET", "400", 1)]:
        labels = {"method": method, "route": NAME, "status": status}
        assert served.counted("http_server_requests_seconds_count", **labels) == times


async def test_the_head_tells_the_length(served: Served) -> None:
    served.cohorts["User", "u1"] = ["c1"]

    answer = await served.ask("HEAD", PATH + "User/u1", {"Authorization": f"Api-Key {KEY}"})

    assert answer.headers["content-length"] == str(len(msgspec.json.encode(["c1"])))


def cohort(folder: Path, cohort_id: str, group_type: str, *members: str) -> Cohort:
    digests = Digests(folder)
    digests.add(b"".join(map(digest, members)))
    path = folder / f"index-{cohort_id}"
    size, _ = write_index(path, digests, lambda: None)
    return Cohort(
        cohort_id=cohort_id,
        group_type=group_type,
        last_modified=1,
        size=size,
        index=Index.open(path),
        packed=path,
        packed_bytes=0,
        plain_bytes=0,
    )


def test_cohorts_on_the_shelf_are_those_of_users_and_groups(tmp_path: Path) -> None:
    shelf = Shelf()
    shelf.put(0, cohort(tmp_path, "c1", "User", "u1", "5"))
    shelf.put(0, cohort(tmp_path, "g1", "org", "a/b", "acme"))
    shelf.put(1, cohort(tmp_path, "elsewhere", "User", "u1"))
    board = Board()
    snapshot = builders.snapshot(FLAGS)
    board.authorise(snapshot.deployment)
    board.publish(KEY, snapshot)
    router = build_router(
        board,
        Reports(lambda *_: None),
        builders.settings(),
        Metrics(),
        lambda: 0.0,
        is_ready=lambda: True,
        library=Library(
            memberships_of=lambda of, *member: shelf.memberships(of.project_index, *member)
        ),
    )

    def asked(method: str, target: str, body: bytes = b"") -> Any:
        _, exchange = router.begin(method, target, {"authorization": f"Api-Key {KEY}"})
        assert isinstance(exchange, Exchange)
        return msgspec.json.decode(router.finish(exchange, body).body)

    assert asked("GET", PATH + "User/u1") == asked("GET", PATH + "User/5") == ["c1"]
    assert asked("GET", PATH + "org/a%2Fb") == asked("GET", PATH + "org/a/b") == ["g1"]
    assert asked("GET", PATH + "org/u1") == asked("GET", PATH + "User/acme") == []
    for user, member, insider in [
        ({"user_id": 5, "groups": {"org": ["acme", "x"]}}, "on", "on"),
        ({"user_id": "u2", "groups": {"org": ["x", "acme"]}}, "off", "off"),
        ({"user_id": "\ud800", "groups": {"org": ["\ud800"]}}, "off", "off"),
        ({"groups": {"User": ["u1"]}}, "off", "off"),
    ]:
        for target in ("/sdk/v2/vardata", "/sdk/vardata", "/v1/vardata"):
            answer = asked("POST", target, as_json(user))
            assert answer.get("members", {"key": "off"})["key"] == member
            assert answer.get("insiders", {"key": "off"})["key"] == insider
    for held in (*shelf.cohorts(0), *shelf.cohorts(1)):
        held.index.close()
