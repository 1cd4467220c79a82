import math
from string import hexdigits
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import Damaged
from proxy.store import manifest
from proxy.store.records import Record, StoredFile, bytes_of, names_of

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
names = st.text(hexdigits.lower(), min_size=1, max_size=32).map(str.lower)
files = st.builds(StoredFile, names, st.integers(0, 1 << 40), texts)
metas = st.dictionaries(texts, texts | st.integers(-(1 << 60), 1 << 60), max_size=3)
records = st.builds(
    Record,
    texts,
    texts,
    metas.map(lambda meta: msgspec.Raw(msgspec.json.encode(meta))),
    st.dictionaries(texts, files, max_size=3),
)
ONE = manifest.encode(
    [Record("k", "i", msgspec.Raw(b'{"a":1}'), {"r": StoredFile("ab", 2, "cd")})], 12.5
)


@given(st.lists(records, max_size=3), st.floats(0, 1e12))
def test_what_is_encoded_is_decoded(some: list[Record], at: float) -> None:
    data = manifest.encode(some, at)

    assert manifest.decode(data) == manifest.Manifest(at, tuple(some))
    assert manifest.format_of(data) == manifest.FORMAT


def test_every_flipped_bit_is_found_out() -> None:
    for at in range(len(ONE) - 1):
        for bit in range(8):
            data = bytearray(ONE)
            data[at] ^= 1 << bit
            with pytest.raises(Damaged):
                check(bytes(data))


def check(data: bytes) -> None:
    """Do as a reader does: what is newer is not decoded."""
    if manifest.format_of(data) == manifest.FORMAT:
        manifest.decode(data)


@pytest.mark.parametrize("length", range(len(ONE) - 1))
def test_what_is_cut_is_found_out(length: int) -> None:
    with pytest.raises(Damaged):
        check(ONE[:length])


@pytest.mark.parametrize(
    "text",
    [
        {"format": 2},
        {"format": 99, "sha256": "", "content": {}},
        {"format": 2, "sha256": 5, "content": "packed"},
    ],
)
def test_a_newer_format_may_look_anyhow(text: dict[str, Any]) -> None:
    assert manifest.format_of(msgspec.json.encode(text)) == text["format"]


@pytest.mark.parametrize("text", [{}, {"format": "2"}, [], {"format": None}, {"format": 2.5}])
def test_what_names_no_format_is_damaged(text: object) -> None:
    with pytest.raises(Damaged):
        manifest.format_of(msgspec.json.encode(text))


def test_nesting_without_end_is_damaged() -> None:
    with pytest.raises(Damaged):
        manifest.format_of(b'{"x":' * 100_000)


def test_an_older_format_than_the_first_is_damaged() -> None:
    data = msgspec.json.encode({"format": 0, "sha256": "", "content": {}})
    assert manifest.format_of(data) == manifest.FORMAT
    with pytest.raises(Damaged):
        manifest.decode(data)


@pytest.mark.parametrize(
    "file",
    [
        StoredFile("../x", 1, ""),
        StoredFile("a/b", 1, ""),
        StoredFile(".x", 1, ""),
        StoredFile("", 1, ""),
        StoredFile("x\n", 1, ""),
        StoredFile("x", -1, ""),
    ],
)
def test_names_that_lead_elsewhere_are_damage(file: StoredFile) -> None:
    data = manifest.encode([Record("k", "i", msgspec.Raw(b"{}"), {"r": file})], math.pi)
    with pytest.raises(Damaged, match="cannot have written"):
        manifest.decode(data)


def test_content_of_another_shape_is_damage() -> None:
    """Whoever wrote it, with a right checksum: it is not a state."""
    content = b'{"written_at":"now","records":[]}'
    data = msgspec.json.encode(
        {"format": 1, "sha256": manifest._digest(content), "content": msgspec.Raw(content)}
    )
    with pytest.raises(Damaged, match="cannot be read"):
        manifest.decode(data)


def test_a_file_that_two_records_share_counts_once() -> None:
    shared = StoredFile("a", 5, "")
    both = {
        ("k", str(n)): Record("k", str(n), msgspec.Raw(b"{}"), {"r": shared, "s": shared})
        for n in range(2)
    }
    assert (names_of(both), bytes_of(both)) == ({"a"}, 5)
    assert [one.key for one in both.values()] == list(both)
