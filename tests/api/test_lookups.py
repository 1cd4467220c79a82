"""What a request costs in hashes and look-ups: counted by the interpreter's own profiler."""

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec
import pytest

from proxy.api.assembly import build_router
from proxy.api.cohorts import Library
from proxy.api.reports import Reports
from proxy.api.routes import Exchange, Router
from proxy.cohorts.index import Index
from proxy.cohorts.names import digest_of_bytes
from proxy.cohorts.shelf import Cohort, Shelf
from proxy.metrics import Metrics
from proxy.snapshots.board import Board
from tests import builders
from tests.builders import KEY, condition, flag, segment
from tests.cohorts.bodies import make_of

IN_COUNTRY = condition(["context", "user", "country"], "is", "de")
LOOK_UP = Index.holds.__code__


def asks_user(*cohort_ids: str, op: str = "set contains any") -> dict[str, Any]:
    return condition(["context", "user", "cohort_ids"], op, *cohort_ids)


def asks_org(*cohort_ids: str) -> dict[str, Any]:
    return condition(["context", "groups", "org", "cohort_ids"], "set contains any", *cohort_ids)


FLAGS = [
    flag("plain"),
    flag("one", segment("on", asks_user("u1"))),
    flag("two", segment("on", asks_user("u1", "u2"))),
    flag("not", segment("on", asks_user("u3", op="set does not contain any"))),
    flag("german", segment("on", IN_COUNTRY, asks_user("u4"))),
    flag("company", segment("on", asks_org("o1"))),
    flag("companies", segment("on", asks_org("o1", "o2"))),
]


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    shelf = Shelf()
    types = {"u1": "User", "u2": "User", "u3": "User", "u4": "User", "o1": "org", "o2": "org"}
    for cohort_id, group_type in [*types.items(), *((f"x{n}", "User") for n in range(20))]:
        folder = tmp_path / cohort_id
        folder.mkdir()
        built = make_of(folder, ["someone"], groupType=group_type)
        index = Index.open(folder / built.index.name)
        cohort = Cohort(
            cohort_id=cohort_id,
            group_type=group_type,
            last_modified=1,
            size=1,
            index=index,
            packed=folder,
            packed_bytes=0,
            plain_bytes=0,
        )
        shelf.put(0, cohort)
    yield shelf
    for held in shelf.cohorts(0):
        held.index.close()


@pytest.fixture
def router(shelf: Shelf) -> Router:
    return serving(shelf, FLAGS)


def serving(shelf: Shelf, flags: list[dict[str, Any]]) -> Router:
    board = Board()
    snapshot = builders.snapshot(flags)
    board.authorise(snapshot.deployment)
    board.publish(KEY, snapshot)
    return build_router(
        board,
        Reports(track=lambda *_: None),
        builders.settings(),
        Metrics(),
        lambda: 0.0,
        is_ready=lambda: True,
        library=Library(
            memberships_of=lambda of, *member: shelf.memberships(of.project_index, *member)
        ),
    )


@contextmanager
def counted() -> Iterator[Counter[str]]:
    """Count the hashes of members, and the look-ups in indexes, while the block runs."""
    counts: Counter[str] = Counter()

    def count(frame: FrameType, event: str, called: Any) -> None:
        if event == "c_call" and called is digest_of_bytes:
            counts["hashes"] += 1
        elif event == "call" and frame.f_code is LOOK_UP:
            counts["look-ups"] += 1

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        yield counts
    finally:
        sys.setprofile(before)


def cost(router: Router, user: dict[str, Any]) -> dict[str, int]:
    """What the evaluation of a user costs."""
    target = "/sdk/v2/vardata"
    _, exchange = router.begin("POST", target, {"authorization": f"Api-Key {KEY}"})
    assert isinstance(exchange, Exchange)
    with counted() as counts:
        answer = router.finish(exchange, msgspec.json.encode(user))
    assert answer.status == 200
    return dict(counts)


def test_a_user_id_is_hashed_once_however_many_conditions_ask(router: Router) -> None:
    # Four cohorts are asked about; of the 20 that no condition names none is looked at.
    assert cost(router, {"user_id": "ada", "country": "de"}) == {"hashes": 1, "look-ups": 4}


def test_what_another_condition_decided_is_not_looked_up(router: Router) -> None:
    assert cost(router, {"user_id": "ada", "country": "fr"}) == {"hashes": 1, "look-ups": 3}


def test_where_no_condition_asks_nothing_is_hashed(router: Router, shelf: Shelf) -> None:
    german = flag("german", segment("on", IN_COUNTRY, asks_user("u4")))
    others = serving(shelf, [flag("plain"), german])

    assert cost(others, {"user_id": "ada", "country": "fr"}) == {}
    assert cost(others, {"user_id": "ada", "country": "de"}) == {"hashes": 1, "look-ups": 1}
    assert cost(router, {"device_id": "ada"}) == {}


def test_a_group_is_hashed_once_beside_its_user(router: Router) -> None:
    user = {"user_id": "ada", "country": "fr", "groups": {"org": ["acme", "other"]}}

    assert cost(router, user) == {"hashes": 2, "look-ups": 5}


def test_memberships_are_listed_with_one_hash(router: Router) -> None:
    target = "/sdk/v2/memberships/User/ada"
    _, exchange = router.begin("GET", target, {"authorization": f"Api-Key {KEY}"})
    assert isinstance(exchange, Exchange)

    with counted() as counts:
        router.finish(exchange, b"")

    assert counts == {"hashes": 1, "look-ups": 4}
