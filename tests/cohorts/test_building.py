import gzip
import hashlib
import os
import random
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.cohorts.building import build, write_index
from proxy.cohorts.jobs import FileMade, Job, Order, Progress
from proxy.cohorts.sorting import Digests
from proxy.errors import BodyBroken
from tests.cohorts.bodies import Told, fields, held, make, make_of, order, served, text_of

NAMES = [f"user-{number}" for number in range(3000)]


def is_this_file(made: FileMade, path: Path) -> bool:
    data = path.read_bytes()
    return made == FileMade(name=path.name, size=len(data), sha256=hashlib.sha256(data).hexdigest())


def test_a_body_becomes_an_index_and_a_packed_body(tmp_path: Path) -> None:
    built = make_of(tmp_path, NAMES[:2000], groupType="org")
    assert (built.cohort_id, built.group_type, built.size) == ("c1", "org", 2000)
    assert built.last_modified == 1_700_000_000_000
    assert held(tmp_path, built, NAMES) == NAMES[:2000]
    assert served(tmp_path, built) == fields(NAMES[:2000], groupType="org")
    for made in (built.index, built.packed):
        path = tmp_path / made.name
        assert is_this_file(made, path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert {path.name for path in tmp_path.iterdir()} == {"body", "made-index", "made-packed"}


def test_a_body_that_is_fit_to_serve_is_kept_to_the_byte(tmp_path: Path) -> None:
    data = gzip.compress(b" " + text_of(NAMES, extra={"a": [1]}) + b"\n")
    built = make(tmp_path, data)
    assert (tmp_path / built.packed.name).read_bytes() == data
    assert served(tmp_path, built)["size"] == 3000


@pytest.mark.parametrize(
    "data",
    [
        gzip.compress(text_of(["a", "b", "a"], size=3)),
        gzip.compress(text_of(["a", "b", "a"], size="2")),
        gzip.compress(text_of(["a", "b", "a"], size=2.0)),
        gzip.compress(b'{"size":3,' + text_of(["a", "b", "a"])[1:]),
        gzip.compress(text_of(["a", "b", "a"])[:20]) + gzip.compress(text_of(["a", "b", "a"])[20:]),
        text_of(["a", "b", "a"]),
    ],
)
def test_another_body_is_written_anew(tmp_path: Path, data: bytes) -> None:
    built = make(tmp_path, data, packed=data[:1] != b"{")
    assert (tmp_path / "made-packed").read_bytes() != data
    assert built.size == 2
    # The list may repeat members; its size counts each once.
    assert served(tmp_path, built) == fields(["a", "b", "a"])


@pytest.mark.parametrize("members", [[], None])
def test_an_empty_cohort_may_say_little_of_itself(
    tmp_path: Path, members: list[str] | None
) -> None:
    built = make_of(tmp_path, [], memberIds=members, size=None, groupType=None)
    assert (built.size, built.group_type) == (0, "User")
    assert served(tmp_path, built) == fields([])
    assert held(tmp_path, built, NAMES) == []


def test_an_empty_cohort_without_members_is_written_anew(tmp_path: Path) -> None:
    data = gzip.compress(text_of([]).replace(b"[]", b"null"))
    assert served(tmp_path, make(tmp_path, data)) == fields([])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"cohortId": "other"}, "cohort that was asked for"),
        ({"cohortId": None}, "cohort that was asked for"),
        ({"cohortId": 1}, "cohort that was asked for"),
        ({"groupType": None}, "groupType"),
        ({"groupType": 1}, "groupType"),
        ({"groupType": ""}, "groupType"),
        ({"groupType": "x" * 1025}, "groupType"),
        ({"groupType": "\ud800"}, "groupType"),
        ({"lastModified": None}, "lastModified"),
        ({"lastModified": "1"}, "lastModified"),
        ({"lastModified": True}, "lastModified"),
        ({"lastModified": -1}, "lastModified"),
        ({"lastModified": 2**63}, "lastModified"),
        ({"memberIds": [1]}, "no text"),
    ],
)
def test_a_body_that_does_not_say_what_it_must_is_broken(
    tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(BodyBroken, match=reason):
        make_of(tmp_path, ["a"], **changes)
    assert [path.name for path in tmp_path.iterdir()] == ["body"]


def test_a_group_type_may_have_any_letters(tmp_path: Path) -> None:
    assert make_of(tmp_path, ["a"], groupType="équipe 😀").group_type == "équipe 😀"


@given(cut=st.floats(0, 1, exclude_max=True))
def test_a_cut_body_leaves_nothing_behind(
    cut: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("cut")
    data = gzip.compress(text_of(NAMES[:100]))
    with pytest.raises(BodyBroken):
        make(folder, data[: int(len(data) * cut)])
    assert [path.name for path in folder.iterdir()] == ["body"]


@given(
    members=st.lists(st.text(st.characters(codec=None), max_size=6), max_size=30),
    packed=st.booleans(),
)
def test_any_members_are_held_and_served(
    members: list[str], packed: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("any")
    text = text_of(members)
    built = make(folder, gzip.compress(text) if packed else text, packed=packed)
    assert built.size == len(set(members))
    assert held(folder, built, members) == members
    assert served(folder, built) == fields(members)


def test_many_members_are_built_in_pieces(tmp_path: Path) -> None:
    dice = random.Random(1)
    members = [f"{dice.getrandbits(64):x}" for _ in range(150_000)]
    told = Told()
    built = build(order(tmp_path, gzip.compress(text_of(members), 1)), told)
    assert built.size == len(set(members))
    assert held(tmp_path, built, members[::10]) == members[::10]
    assert held(tmp_path, built, NAMES) == []
    assert len(told.all) > 4
    assert told.all == sorted(told.all, key=lambda progress: progress.members)
    body_bytes = (tmp_path / "body").stat().st_size
    assert told.all[-1] == Progress(read_bytes=body_bytes, members=150_000)


def test_a_body_that_is_written_anew_is_told_of_to_its_end(tmp_path: Path) -> None:
    told = Told()
    build(order(tmp_path, gzip.compress(text_of(NAMES, size=1))), told)
    assert told.all[-1].members == 3000


def test_a_body_that_cannot_be_linked_is_copied(tmp_path: Path) -> None:
    """Between two file systems there are no second names."""
    shm = Path("/dev/shm")
    if not shm.is_dir() or shm.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("needs /dev/shm as a file system of its own")
    data = gzip.compress(text_of(NAMES))
    body = shm / f"body-{os.getpid()}"
    try:
        body.write_bytes(data)
        job = Job(body=str(body), gzip=True, folder=str(tmp_path), cohort_id="c1")
        built = build(Order(job=job, index="i", packed="p"), lambda _: None)
    finally:
        body.unlink()
    assert is_this_file(built.packed, tmp_path / "p")
    assert (tmp_path / "p").read_bytes() == data


def test_a_folder_that_cannot_be_written_is_the_systems_error(tmp_path: Path) -> None:
    made = order(tmp_path, gzip.compress(text_of(NAMES)))
    gone = Job(body=made.job.body, gzip=True, folder="/dev/null", cohort_id="c1")
    with pytest.raises(NotADirectoryError):
        build(Order(job=gone, index="i", packed="p"), lambda _: None)


def test_more_members_than_an_index_can_hold_are_refused(tmp_path: Path) -> None:
    digests = Digests(tmp_path)
    digests.count = 2**32
    with pytest.raises(BodyBroken, match="more members"):
        write_index(tmp_path / "index", digests, lambda: None)
