import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.cohorts.sorting import FEW, Digests

DIGEST = st.one_of(
    st.binary(min_size=16, max_size=16),
    # Equal first words, so that the second decides; and equal digests.
    st.sampled_from([bytes(8) + bytes([n]) * 8 for n in range(4)]),
)


def key(digest: bytes) -> tuple[int, int]:
    return int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little")


def ascending(digests: Digests) -> list[bytes]:
    data = b"".join(words.tobytes() for words in digests.ascending())
    return [data[at : at + 16] for at in range(0, len(data), 16)]


@given(lots=st.lists(st.lists(DIGEST, max_size=20), max_size=8), lot=st.integers(1, 40))
def test_digests_come_back_ascending_each_once(
    lots: list[list[bytes]], lot: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    digests = Digests(tmp_path_factory.mktemp("sorting"), lot)
    for some in lots:
        digests.add(b"".join(some))
    everything = [digest for some in lots for digest in some]
    assert digests.count == len(everything)
    assert ascending(digests) == sorted(set(everything), key=key)
    digests.close()


@pytest.mark.parametrize("lot", [1 << 16, 1 << 20])
def test_many_digests_are_sorted_in_parts(lot: int, tmp_path: Path) -> None:
    digests = Digests(tmp_path, lot)
    data = os.urandom(16 * (FEW + 1000))
    for at in range(0, len(data), 16 * 10_000):
        digests.add(data[at : at + 16 * 10_000])
    digests.add(data[:1600])
    words = np.concatenate(list(digests.ascending()))
    digests.close()
    assert len(words) == FEW + 1000
    assert bool((words[1:, 0] >= words[:-1, 0]).all())
    assert sorted(words.tobytes()) == sorted(data)


def test_nothing_is_left_in_the_folder(tmp_path: Path) -> None:
    digests = Digests(tmp_path, 10)
    digests.add(os.urandom(1600))
    assert list(tmp_path.iterdir()) == []
    digests.close()


def test_a_member_repeated_over_and_over_takes_no_room(tmp_path: Path) -> None:
    digests = Digests(tmp_path, 1000)
    for _ in range(50):
        digests.add(bytes(range(16)) * 1000)
    assert digests._spill is not None
    assert digests._spill.seek(0, os.SEEK_END) == 50 * 16
    assert ascending(digests) == [bytes(range(16))]
    digests.close()


def test_a_spill_that_lost_bytes_is_an_error(tmp_path: Path) -> None:
    digests = Digests(tmp_path, 10)
    digests.add(os.urandom(160))
    assert digests._spill is not None
    digests._spill.truncate(32)
    with pytest.raises(OSError, match="error"):
        ascending(digests)
    digests.close()
