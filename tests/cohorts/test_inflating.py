import gzip
import hashlib
import io
import os
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.cohorts.inflating import FREE_BYTES, Text
from proxy.errors import BodyBroken


def whole(data: bytes, *, packed: bool = True, most: int = 1 << 16) -> tuple[bytes, Text]:
    text = Text(io.BytesIO(data), gzip=packed)
    pieces = list(iter(lambda: text.read(most), b""))
    assert all(len(piece) <= most for piece in pieces)
    assert text.read(most) == b""
    return b"".join(pieces), text


@given(plain=st.binary(max_size=300), most=st.integers(1, 50), packed=st.booleans())
def test_the_text_comes_whole_and_counted(plain: bytes, most: int, packed: bool) -> None:
    data = gzip.compress(plain) if packed else plain
    found, text = whole(data, packed=packed, most=most)
    assert found == plain
    assert (text.read_bytes, text.plain_bytes) == (len(data), len(plain))
    assert text.sha256.digest() == hashlib.sha256(data).digest()
    assert text.streams == int(packed)


def test_what_inflates_from_the_very_last_bytes_is_not_lost() -> None:
    plain = bytes(1 << 20)
    assert whole(gzip.compress(plain), most=1000)[0] == plain


def test_several_streams_are_one_text() -> None:
    data = gzip.compress(b"one") + gzip.compress(b"") + gzip.compress(b"two")
    found, text = whole(data)
    assert found == b"onetwo"
    assert text.streams == 3


@given(st.data())
def test_a_cut_stream_is_broken(draw: st.DataObject) -> None:
    data = gzip.compress(b"some text, and some more text")
    cut = draw.draw(st.integers(0, len(data) - 1))
    with pytest.raises(BodyBroken, match="cut"):
        whole(data[:cut])


@pytest.mark.parametrize("most", [1, 7, 1 << 20])
def test_a_broken_stream_is_broken(most: int) -> None:
    good = gzip.compress(os.urandom(1000))
    for data in (b"{}", good[:-5] + bytes(5), good + b"\x00", good + b"rest", good[1:]):
        with pytest.raises(BodyBroken, match="gzip"):
            whole(data, most=most)


def test_a_bomb_is_left_unexploded() -> None:
    squeezer = zlib.compressobj(9, zlib.DEFLATED, 31)
    zeros = bytes(1 << 20)
    bomb = b"".join(squeezer.compress(zeros) for _ in range(200)) + squeezer.flush()
    text = Text(io.BytesIO(bomb), gzip=True)
    with pytest.raises(BodyBroken, match="100 times"):
        list(iter(lambda: text.read(1 << 20), b""))
    assert text.plain_bytes <= FREE_BYTES
