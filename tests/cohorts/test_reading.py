import json
import math
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.cohorts.reading import (
    MOST_FIELDS,
    MOST_ID_BYTES,
    MOST_OTHER_BYTES,
    MOST_VALUE_BYTES,
    Body,
    member_ids,
)
from proxy.errors import BodyBroken
from tests.cohorts.bodies import Pieces, fields, read, text_of

TRICKY = st.text(st.sampled_from('",:[]{}\\/ \n\u0000\u007fab1ü日😀\ud800\udc00'), max_size=8)
IDS = st.lists(st.one_of(TRICKY, st.text(st.characters(codec=None), max_size=12)), max_size=12)
OTHERS = st.dictionaries(
    st.text(max_size=6).filter(lambda name: name not in fields([])),
    st.recursive(
        st.one_of(
            st.none(),
            st.booleans(),
            st.integers(),
            st.floats(allow_nan=False, allow_infinity=False),
            TRICKY,
        ),
        lambda part: st.lists(part, max_size=3) | st.dictionaries(TRICKY, part, max_size=3),
        max_leaves=6,
    ),
    max_size=3,
)
PIECES = st.one_of(st.integers(1, 12), st.sampled_from([64, 1 << 20]))
SPACE = st.text(st.sampled_from(" \t\r\n"), max_size=3)


@st.composite
def bodies(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """Return the JSON text of a body in some spelling, and what it says."""
    members = draw(IDS)
    given = list((fields(members) | draw(OTHERS)).items())
    order = draw(st.permutations(given))
    said = dict(order)
    style: dict[str, Any] = {"ensure_ascii": draw(st.booleans())}
    layout = draw(st.sampled_from(["compact", "plain", "pretty", "wild"]))
    if layout == "compact":
        style["separators"] = (",", ":")
    elif layout == "pretty":
        style["indent"] = 2
    elif layout == "wild":
        comma, colon = (draw(SPACE) + mark + draw(SPACE) for mark in ",:")
        style["separators"] = (comma, colon)
    text = json.dumps(said, **style)
    return draw(SPACE) + text + draw(SPACE), said


def encoded(text: str) -> bytes | None:
    """Return the text as UTF-8, None where half a surrogate pair stands in it raw."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return None


@given(body=bodies(), piece=PIECES)
def test_the_members_are_those_of_a_whole_reader(
    body: tuple[str, dict[str, Any]], piece: int
) -> None:
    data = encoded(body[0])
    if data is None:
        return
    members, found = read(data, piece)
    # Two halves of a surrogate pair, spelt one after the other, are read as one character.
    said = json.loads(data)
    assert members == said["memberIds"]
    assert found.fields == {name: said[name] for name in found.fields}
    assert set(found.fields) == {"cohortId", "groupType", "lastModified", "size"}
    assert found.listed
    assert not found.repeated


MENDS: list[Callable[[bytes, random.Random], bytes]] = [
    lambda data, dice: data[: dice.randrange(len(data))],
    lambda data, dice: _spliced(data, dice, b"", 1),
    lambda data, dice: _spliced(data, dice, bytes([dice.choice(b'",:[]{}\\\x00\x0c\xff x1')]), 0),
    lambda data, dice: _spliced(data, dice, bytes([dice.choice(b'",:[]{}\\\x00\x0c\xff x1')]), 1),
    lambda data, dice: data + dice.choice([b"x", b"{}", b"]", b",", b"\x00"]),
    lambda data, dice: dice.choice([b"\xef\xbb\xbf", b"[", b"\x00", b","]) + data,
]


def _spliced(data: bytes, dice: random.Random, put: bytes, instead_of: int) -> bytes:
    at = dice.randrange(len(data))
    return data[:at] + put + data[at + instead_of :]


@given(body=bodies(), piece=PIECES, mend=st.sampled_from(MENDS), dice=st.randoms())
def test_what_a_whole_reader_refuses_is_refused(
    body: tuple[str, dict[str, Any]],
    piece: int,
    mend: Callable[[bytes, random.Random], bytes],
    dice: random.Random,
) -> None:
    data = encoded(body[0])
    if data is None:
        return
    data = mend(data, dice)
    try:
        expected = json.loads(data.decode())
    except ValueError:
        with pytest.raises(BodyBroken):
            read(data, piece)
        return
    try:
        members, _ = read(data, piece)
    except BodyBroken:
        # It is JSON still, but no body, or one that a stricter reader refuses.
        return
    assert isinstance(expected, dict)
    assert members == expected.get("memberIds", [])


@pytest.mark.parametrize("piece", [1, 2, 3, 5, 8, 1 << 20])
@pytest.mark.parametrize(
    "members",
    [
        [],
        [""],
        ["", ""],
        [","],
        ["a", ",", "b"],
        [",", ",", ","],
        ["]", '"]', '"],"', "[", "{}"],
        ["\\", '\\"', '\\\\"', "a\\"],
        ["ü", "日本", "😀", "\ud83d", "\udc00\ud800"],
        ["\x00", "\n", "\x7f", "\u2028"],
        ["one", "one", "two"],
    ],
)
def test_awkward_members_are_found(members: list[str], piece: int) -> None:
    for data in (text_of(members), json.dumps(fields(members), indent=1).encode()):
        assert read(data, piece)[0] == members


def test_an_id_that_looks_like_a_separator_is_split_rightly() -> None:
    assert member_ids(b'"a" ,",","b"') == [b"a", b",", b"b"]
    assert member_ids(b'"a",",","b"') == [b"a", b",", b"b"]
    assert member_ids(b'"a", ", ", "b"') == [b"a", b", ", b"b"]


def test_keys_may_be_spelt_with_escapes() -> None:
    data = rb'{"member\u0049ds":["a"],"\u0073ize":1}'
    members, body = read(data)
    assert members == ["a"]
    assert body.fields == {"size": 1}


@pytest.mark.parametrize("data", [b"{}", b'{"memberIds":null}', b' { "memberIds" : null } '])
def test_a_body_may_list_nobody(data: bytes) -> None:
    members, body = read(data)
    assert members == []
    assert not body.listed


def test_an_empty_list_is_a_list() -> None:
    assert read(b'{"memberIds":[ ]}')[1].listed


def test_a_field_that_comes_twice_is_told() -> None:
    members, body = read(b'{"size":1,"memberIds":["a"],"size":2,"x":1,"x":2}')
    assert body.repeated
    assert body.fields == {"size": 2}
    assert members == ["a"]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "cut"),
        (b"  ", "cut"),
        (b"{", "cut"),
        (b'{"size"', "cut"),
        (b'{"size":', "cut"),
        (b'{"size":1', "cut"),
        (b'{"memberIds":["a"', "cut"),
        (b'{"memberIds":["a', "cut"),
        (b'{"memberIds":["a"]', "cut"),
        (b"[]", "not the JSON"),
        (b"null", "not the JSON"),
        (b"\xef\xbb\xbf{}", "not the JSON"),
        ("{}".encode("utf-16"), "not the JSON"),
        (b"{1:2}", "not the JSON"),
        (b'{"a":1,}', "not the JSON"),
        (b'{"a" 1}', "not the JSON"),
        (b'{"a":1]', "not the JSON"),
        (b'{"a":}', "not the JSON"),
        (b'{"a":,}', "not the JSON"),
        (b'{"a":[1}]}', "not the JSON"),
        (b'{"a":NaN}', "not the JSON"),
        (b'{"a":-Infinity}', "not the JSON"),
        (b'{"a":01}', "not the JSON"),
        (b'{"a":"\xff"}', "not the JSON"),
        (b'{"a":"\x01"}', "not the JSON"),
        (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "not the JSON"),
        (b'{"memberIds":["a",]}', "no text"),
        (b'{"memberIds":["a" "b"]}', "not the JSON"),
        (b'{"memberIds":["a"x]}', "not the JSON"),
        (b'{"memberIds":["\xff"]}', "not the JSON"),
        (b'{"memberIds":["\\x"]}', "not the JSON"),
        (b'{"memberIds":["a\nb"]}', "not the JSON"),
        (b'{"memberIds":["\\ud800",1]}', "no text"),
        (b'{"memberIds":["a",1]}', "no text"),
        (b'{"memberIds":["a",1,"b"]}', "no text"),
        (b'{"memberIds":["\\ud800",1,"b"]}', "no text"),
        (b'{"memberIds":["\\ud800",[[]],"b"]}', "no text"),
        (b'{"memberIds":[1]}', "no text"),
        (b'{"memberIds":[null]}', "no text"),
        (b'{"memberIds":[["a"]]}', "no text"),
        (b'{"memberIds":{}}', "no list"),
        (b'{"memberIds":"a"}', "no list"),
        (b'{"memberIds":["a"],"memberIds":["a"]}', "twice"),
        (b'{"memberIds":null,"memberIds":["a"]}', "twice"),
        (b"{} {}", "follows"),
        (b"{}\x00", "follows"),
    ],
)
@pytest.mark.parametrize("piece", [1, 1 << 20])
def test_broken_bodies_are_refused(data: bytes, reason: str, piece: int) -> None:
    if len(data) > 1000:
        piece = max(piece, 10_000)
    with pytest.raises(BodyBroken) as caught:
        read(data, piece)
    if piece > 1:
        assert reason in str(caught.value)


def test_numbers_beyond_a_double_are_skipped_like_any_other() -> None:
    members, body = read(b'{"a":1e999,"size":-1e999,"memberIds":["a"]}')
    assert members == ["a"]
    assert body.fields == {"size": -math.inf}


@pytest.mark.parametrize("piece", [1 << 14, 1 << 20])
def test_values_and_ids_are_bounded(piece: int) -> None:
    longest = "x" * MOST_ID_BYTES
    assert read(text_of([longest]), piece)[0] == [longest]
    assert read(text_of(["a", longest, "b"]), piece)[0] == ["a", longest, "b"]
    escaped = "\u0001" * MOST_ID_BYTES
    assert read(text_of([escaped]), piece)[0] == [escaped]
    for names in ([longest + "x"], ["a", longest + "x", "b"], [escaped + "x"], ["x" * 10**6]):
        with pytest.raises(BodyBroken, match="a member id is longer"):
            read(text_of(names), piece)

    other = "x" * (MOST_VALUE_BYTES - 2)
    assert read(text_of(["a"], other=other), piece)[0] == ["a"]
    for value in (other + "x", [other], 10 ** (4000)):
        data = text_of(["a"], other=value)
        if isinstance(value, int):
            data = data.replace(b"0" * 4000, b"0" * (MOST_VALUE_BYTES + 1))
        with pytest.raises(BodyBroken, match="a value is longer"):
            read(data, piece)


@pytest.mark.parametrize("name", ["n%d", "size", "\\u0073ize"])
def test_fields_are_bounded_in_number_whether_they_are_known_or_not(name: str) -> None:
    def text(count: int) -> bytes:
        others = ",".join(f'"{name % n if "%" in name else name}":1' for n in range(count - 1))
        return f'{{{others},"memberIds":["a"]}}'.encode()

    assert read(text(MOST_FIELDS))[0] == ["a"]
    with pytest.raises(BodyBroken, match=f"more than {MOST_FIELDS} fields"):
        read(text(MOST_FIELDS + 1))


@pytest.mark.parametrize("where", ["in a value", "in a name"])
def test_what_stands_beside_the_members_is_bounded_in_all(where: str) -> None:
    longest = "x" * (MOST_VALUE_BYTES - 2)
    whole = MOST_OTHER_BYTES // MOST_VALUE_BYTES

    def text(count: int) -> bytes:
        parts = ("", longest) if where == "in a value" else (longest, "")
        return "".join(f'"{parts[0]}":"{parts[1]}",' for _ in range(count)).encode()

    some = b'{"memberIds":["a"],' + text(whole - 1) + b'"z":1}'
    assert read(some)[0] == ["a"]
    with pytest.raises(BodyBroken, match=f"more than {MOST_OTHER_BYTES} bytes beside"):
        read(b'{"memberIds":["a"],' + text(whole) + b'"z":1}')


@given(body=bodies(), piece=st.integers(100, 400))
def test_never_more_than_a_few_pieces_are_held(
    body: tuple[str, dict[str, Any]], piece: int
) -> None:
    members = body[1]["memberIds"] * 50
    text = json.dumps(body[1] | {"memberIds": members}).encode()
    found = Body(Pieces(text, piece), piece)
    longest = max((len(json.dumps(name)) for name in members), default=0)
    for _ in found.members():
        assert len(found._buffer) <= 2 * piece + longest
