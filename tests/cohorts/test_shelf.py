from collections.abc import Callable
from pathlib import Path

import pytest

from proxy.cohorts.index import Index
from proxy.cohorts.shelf import Cohort, Shelf
from tests.cohorts.bodies import make_of

LETTERS = ["a", "b", "c"]


@pytest.fixture
def made(tmp_path: Path) -> "Maker":
    return Maker(tmp_path)


class Maker:
    """Makes cohorts, each in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0

    def __call__(self, cohort_id: str, members: list[str], group_type: str = "User") -> Cohort:
        self._count += 1
        folder = self._folder / str(self._count)
        folder.mkdir()
        built = make_of(folder, members, groupType=group_type)
        return Cohort(
            cohort_id=cohort_id,
            group_type=built.group_type,
            last_modified=built.last_modified,
            size=built.size,
            index=Index.open(folder / built.index.name),
            packed=folder / built.packed.name,
            packed_bytes=built.packed.size,
            plain_bytes=built.plain_bytes,
            checksum=built.index.sha256,
        )


def test_a_shelf_starts_empty() -> None:
    shelf = Shelf()
    assert shelf.get(0, "one") is None
    assert shelf.cohorts(0) == []
    assert shelf.memberships(0, "User", "a").listed() == []
    shelf.drop(0, "one")


def test_members_are_found_in_the_cohorts_of_their_project_and_type(made: Maker) -> None:
    shelf = Shelf()
    shelf.put(0, made("one", ["a", "b"]))
    shelf.put(0, made("two", ["a"]))
    shelf.put(0, made("orgs", ["a"], "org"))
    shelf.put(1, made("three", ["a"]))

    user = shelf.memberships(0, "User", "a")
    assert user.listed() == ["one", "two"]
    assert user.any_of(["two"])
    assert not user.any_of(["orgs", "three", "none"])
    assert shelf.memberships(0, "org", "a").listed() == ["orgs"]
    assert shelf.memberships(0, "User", "b").listed() == ["one"]
    assert shelf.memberships(1, "User", "a").listed() == ["three"]
    assert shelf.memberships(0, "User", "\ud800").listed() == []


def test_a_new_version_takes_the_place_of_the_old(made: Maker) -> None:
    shelf = Shelf()
    first, second = made("one", ["a"]), made("one", ["b"])
    shelf.put(0, first)
    before = shelf.memberships(0, "User", "a")
    shelf.put(0, made("two", []))
    shelf.put(0, second)
    assert shelf.get(0, "one") is second
    assert [cohort.cohort_id for cohort in shelf.cohorts(0)] == ["one", "two"]
    assert shelf.memberships(0, "User", "a").listed() == []
    # Who asked before the swap is answered to the end from what was in force then.
    assert before.listed() == ["one"]


def test_a_dropped_cohort_has_no_members(made: Maker) -> None:
    shelf = Shelf()
    shelf.put(0, made("one", ["a"]))
    shelf.put(0, made("two", ["a"]))
    shelf.drop(0, "one")
    assert shelf.get(0, "one") is None
    assert shelf.memberships(0, "User", "a").listed() == ["two"]


def test_a_holding_stands_for_who_is_in_which_cohort(made: Maker) -> None:
    here, there = Shelf(), Shelf()
    assert here.holding(0).content == here.holding(1).content

    here.put(0, made("one", ["a"]))
    here.put(0, made("two", ["b"]))
    there.put(5, made("gone", ["a"]))
    there.put(5, made("two", ["b"]))
    there.put(5, made("one", ["c"]))
    there.put(5, made("one", ["a"]))
    assert here.holding(0).content != there.holding(5).content
    there.drop(5, "gone")

    assert here.holding(0).content == there.holding(5).content
    assert here.holding(1).content == 0


def test_each_change_gives_another_holding(made: Maker) -> None:
    shelf = Shelf()
    first = made("one", ["a"])
    seen = [shelf.holding(0)]
    changes: tuple[Callable[[], object], ...] = (
        lambda: shelf.put(0, first),
        lambda: shelf.put(0, first),
        lambda: shelf.put(0, made("one", ["b"])),
        lambda: shelf.put(0, made("one", ["b"], "org")),
        lambda: shelf.put(0, made("two", [])),
        lambda: shelf.drop(0, "two"),
    )
    for change in changes:
        before = shelf.changes
        change()
        assert shelf.changes == before + 1
        seen.append(shelf.holding(0))

    assert len({id(one) for one in seen}) == len(seen)
    assert len({one.content for one in seen}) == 5
    shelf.drop(0, "two")
    assert shelf.holding(0) is seen[-1]
