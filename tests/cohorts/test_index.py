import struct
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.cohorts.building import write_index
from proxy.cohorts.index import FOOTER, Index, bits_for, footer
from proxy.cohorts.names import digest
from proxy.cohorts.sorting import Digests
from proxy.errors import CohortError, IndexBroken

DIGESTS = st.binary(min_size=16, max_size=16)


def index_of(folder: Path, digests: list[bytes]) -> Index:
    collected = Digests(folder)
    collected.add(b"".join(digests))
    path = folder / "index"
    path.unlink(missing_ok=True)
    write_index(path, collected, lambda: None)
    return Index.open(path)


@given(members=st.sets(DIGESTS, max_size=200), strangers=st.lists(DIGESTS))
def test_an_index_holds_its_members_and_nobody_else(
    members: set[bytes], strangers: list[bytes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    index = index_of(tmp_path_factory.mktemp("index"), list(members))
    assert index.count == len(members)
    assert all(map(index.holds, members))
    assert [index.holds(other) for other in strangers] == [other in members for other in strangers]
    index.close()


def test_an_empty_index_holds_nobody(tmp_path: Path) -> None:
    index = index_of(tmp_path, [])
    assert index.count == 0
    assert not index.holds(bytes(16))
    assert not index.holds(digest("u1"))


def test_bytes_across_two_digests_are_no_member(tmp_path: Path) -> None:
    """All zeros lie across two digests whose ends and beginnings are zeros."""
    first = b"\x01" + bytes(15)
    second = b"\x00\x01" + bytes(14)
    index = index_of(tmp_path, [first, second])
    data = (tmp_path / "index").read_bytes()
    assert data.find(bytes(16)) == 1
    assert not index.holds(bytes(16))
    assert index.holds(first)
    assert index.holds(second)


def test_a_member_behind_bytes_that_look_like_it_is_found(tmp_path: Path) -> None:
    one = struct.pack("<QQ", 7, 7)
    shifted = struct.pack("<QQ", 6, 7), struct.pack("<QQ", 7, 0)
    index = index_of(tmp_path, [*shifted, one])
    assert (tmp_path / "index").read_bytes().find(one) == 8
    assert index.holds(one)
    assert not index_of(tmp_path, list(shifted)).holds(one)


@given(st.integers(min_value=0, max_value=2**33))
def test_a_bucket_holds_eight_to_sixteen_digests(count: int) -> None:
    share = count / 2 ** bits_for(count)
    assert share <= 16
    assert share > 8 or bits_for(count) == 0


@pytest.fixture
def data(tmp_path: Path) -> bytes:
    index_of(tmp_path, [digest(str(number)) for number in range(100)]).close()
    return (tmp_path / "index").read_bytes()


def broken(folder: Path, data: bytes) -> str:
    path = folder / "broken"
    path.write_bytes(data)
    with pytest.raises(IndexBroken) as caught:
        Index.open(path)
    assert isinstance(caught.value, CohortError)
    return str(caught.value)


def test_a_cut_file_is_no_index(tmp_path: Path, data: bytes) -> None:
    assert "shorter than its footer" in broken(tmp_path, data[:10])
    assert "shorter than its footer" in broken(tmp_path, b"")
    assert "no index" in broken(tmp_path, data[:-1])
    assert "size" in broken(tmp_path, data[16:])
    assert "size" in broken(tmp_path, data[-64:])


def test_a_damaged_footer_is_no_index(tmp_path: Path, data: bytes) -> None:
    for place in range(-64, 0):
        mangled = bytearray(data)
        mangled[place] ^= 1
        assert broken(tmp_path, bytes(mangled))


def test_another_format_is_named(tmp_path: Path, data: bytes) -> None:
    start = FOOTER.pack(b"COHORTIX", 2, 3, 100, b"", 0)[:-4]
    other = data[:-64] + start + zlib.crc32(start).to_bytes(4, "little")
    assert "format 2" in broken(tmp_path, other)


def test_a_wild_number_of_buckets_costs_nothing(tmp_path: Path, data: bytes) -> None:
    assert "size" in broken(tmp_path, data[:-64] + footer(100, 2**31))


def test_a_missing_index_is_the_systems_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Index.open(tmp_path / "none")


def test_a_closed_index_answers_nobody(tmp_path: Path) -> None:
    index = index_of(tmp_path, [digest("u1")])
    index.close()
    with pytest.raises(ValueError, match="closed"):
        index.holds(digest("u1"))


def test_an_index_outlives_its_file(tmp_path: Path) -> None:
    index = index_of(tmp_path, [digest("u1")])
    (tmp_path / "index").unlink()
    assert index.holds(digest("u1"))
