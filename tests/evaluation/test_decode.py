import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.evaluation.decode import DEEPEST, FlagRefused, decode_flag, raw_flag_key, split_flags
from proxy.evaluation.model import Allocation, Bucket, Condition, Distribution, Flag, Segment

CONDITION = {"selector": ["context", "user", "a"], "op": "is", "values": ["x"]}
BUCKET = {
    "selector": ["context", "user", "user_id"],
    "salt": "s",
    "allocations": [
        {"range": [0, 100], "distributions": [{"variant": "on", "range": [0, 42949673]}]}
    ],
}
SEGMENT = {
    "conditions": [[CONDITION]],
    "bucket": BUCKET,
    "variant": "off",
    "metadata": {"segmentName": "S"},
}
FLAG = {
    "key": "f",
    "variants": {"on": {"key": "on", "value": "on", "payload": {"a": 1}, "metadata": {"m": 1}}},
    "segments": [SEGMENT],
    "dependencies": ["g"],
    "metadata": {"flagVersion": 1},
}


NO_CONDITIONS: list[Any] = [{}, "x", [None], [{}], [[None]]]


def decoded(flag: Any) -> Flag:
    return decode_flag(json.dumps(flag).encode())


def of_condition(**changes: Any) -> dict[str, Any]:
    return {**FLAG, "segments": [{"conditions": [[{**CONDITION, **changes}]]}]}


def of_bucket(**changes: Any) -> dict[str, Any]:
    return {**FLAG, "segments": [{"bucket": {**BUCKET, **changes}}]}


def of_range(numbers: Any) -> dict[str, Any]:
    return of_bucket(allocations=[{"range": numbers, "distributions": []}])


def without(members: dict[str, Any], name: str) -> dict[str, Any]:
    return {other: member for other, member in members.items() if other != name}


def test_a_whole_flag_is_read() -> None:
    flag = decoded(FLAG)

    assert flag.key == "f"
    assert flag.dependencies == ("g",)
    assert flag.metadata == {"flagVersion": msgspec.Raw(b"1")}
    variant = flag.variants["on"]
    assert variant.key == "on"
    assert variant.value == msgspec.Raw(b'"on"')
    assert variant.payload == msgspec.Raw(b'{"a": 1}')
    assert variant.metadata == {"m": msgspec.Raw(b"1")}
    distribution = Distribution(variant="on", start=0, end=42949673)
    assert flag.segments == (
        Segment(
            conditions=((Condition(selector=("context", "user", "a"), op="is", values=("x",)),),),
            bucket=Bucket(
                selector=("context", "user", "user_id"),
                salt="s",
                allocations=(Allocation(start=0, end=100, distributions=(distribution,)),),
            ),
            variant="off",
            metadata={"segmentName": msgspec.Raw(b'"S"')},
        ),
    )


@pytest.mark.parametrize("absent", [{}, dict.fromkeys(["dependencies", "metadata"])])
def test_optional_members_may_be_absent_or_null(absent: dict[str, None]) -> None:
    segment = {name: None for name in SEGMENT if absent}
    variant = {"key": "on", **{name: None for name in ("value", "payload", "metadata") if absent}}

    flag = decoded({"key": "f", "variants": {"v": variant}, "segments": [segment], **absent})

    assert flag.dependencies == ()
    assert flag.metadata == {}
    assert flag.segments == (Segment(),)
    assert (flag.variants["v"].value, flag.variants["v"].payload) == (None, None)
    assert flag.variants["v"].metadata == {}


def test_unknown_members_are_ignored_at_every_level() -> None:
    def with_notes(value: Any) -> Any:
        if isinstance(value, dict):
            inner = {name: with_notes(member) for name, member in value.items()}
            return inner if "payload" in value else {**inner, "note": {"deep": [None]}}
        return list(map(with_notes, value)) if isinstance(value, list) else value

    noted = {**with_notes({**FLAG, "variants": {}, "metadata": {}, "segments": []})}
    noted["segments"] = [{**with_notes(without(SEGMENT, "metadata")), "metadata": {}}]
    noted |= {"variants": {"on": {"key": "on", "note": 1}}, "metadata": {}}

    flag = decoded(noted)

    assert flag.segments == (
        Segment(
            conditions=decoded(FLAG).segments[0].conditions,
            bucket=decoded(FLAG).segments[0].bucket,
            variant="off",
        ),
    )


def test_what_is_the_customer_s_stays_the_text_that_came() -> None:
    raw = (
        b'{"key":"f","segments":[],"metadata":{"n": 1.50},"variants":{"v":{"key":"v",'
        b'"value": 1e3 ,"payload":{"big" : 12345678901234567890,"n":null}}}}'
    )

    flag = decode_flag(raw)

    variant = flag.variants["v"]
    assert variant.value == msgspec.Raw(b"1e3")
    assert variant.payload == msgspec.Raw(b'{"big" : 12345678901234567890,"n":null}')
    assert flag.metadata["n"] == msgspec.Raw(b"1.50")


def test_repeats_count_once_and_the_order_stays() -> None:
    flag = decoded({**of_condition(values=["b", "a", "b"]), "dependencies": ["z", "a", "z"]})

    assert flag.dependencies == ("z", "a")
    (segment,) = flag.segments
    assert segment.conditions is not None
    condition = segment.conditions[0][0]
    assert condition.values == ("b", "a")
    assert condition.repeated == ("b", "a", "b")


def test_bare_numbers_and_booleans_are_texts() -> None:
    raw = json.dumps(of_condition(values=[1, True, "x"])).encode().replace(b"[1,", b"[1.0, 1e3,")

    (segment,) = decode_flag(raw).segments

    assert segment.conditions is not None
    assert segment.conditions[0][0].values == ("1.0", "1e3", "true", "x")


@pytest.mark.parametrize(
    ("numbers", "start", "end"),
    [
        ([0, 100], 0, 100),
        (["0", "100"], 0, 100),
        ([-5, 2**70], -5, 2**70),
        ([0, 4294967295, 7], 0, 4294967295),
        (["-9999999999999999999999", "1e2"], -9999999999999999999999, 100),
    ],
)
def test_a_range_is_two_integers_of_any_size(numbers: list[Any], start: int, end: int) -> None:
    (segment,) = decoded(of_range(numbers)).segments

    assert segment.bucket is not None
    (allocation,) = segment.bucket.allocations
    assert (allocation.start, allocation.end) == (start, end)


@pytest.mark.parametrize(
    "flag",
    [None, [], "f", 1]
    + [without(FLAG, name) for name in ("key", "variants", "segments")]
    + [{**FLAG, name: None} for name in ("key", "variants", "segments")]
    + [{**FLAG, "key": ["f"]}, {**FLAG, "key": {}}, {**FLAG, "variants": []}]
    + [
        {**FLAG, "variants": {"on": variant}}
        for variant in ({"value": 1}, None, "on", {"key": None})
    ]
    + [{**FLAG, "metadata": "x"}, {**FLAG, "metadata": []}, {**FLAG, "dependencies": "g"}]
    + [{**FLAG, "dependencies": [None]}, {**FLAG, "segments": [None]}, {**FLAG, "segments": {}}]
    + [{**FLAG, "segments": [{"conditions": broken}]} for broken in NO_CONDITIONS]
    + [{**FLAG, "segments": [{"variant": ["on"]}]}, {**FLAG, "segments": [{"metadata": 1}]}]
    + [{**FLAG, "segments": [{"conditions": [[without(CONDITION, name)]]}]} for name in CONDITION]
    + [of_condition(values="x"), of_condition(values=[None]), of_condition(values=[["x"]])]
    + [of_condition(selector=[None]), of_condition(op=None), of_condition(selector="a")]
    + [{**FLAG, "segments": [{"bucket": without(BUCKET, name)}]} for name in BUCKET]
    + [{**FLAG, "segments": [{"bucket": []}]}, of_bucket(salt=None), of_bucket(allocations=[{}])]
    + [of_bucket(allocations=[{"range": [0, 100], "distributions": [{"variant": "on"}]}])]
    + [of_range(broken) for broken in (None, [], [0], [0, 100.0], [0, None], [0, "x"], [0, ""])]
    + [of_range(broken) for broken in ([0, True], [0, 1, 1.5], [0, "1.5"], "01", [0, "9" * 5000])],
)
def test_what_breaks_the_schema_is_refused_with_a_reason(flag: Any) -> None:
    with pytest.raises(FlagRefused) as caught:
        decoded(flag)

    assert 5 < len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b'{"key":', "truncated"),
        (b'{"key":"f","segments":[],"variants":{"v":{"key":"v","payload":"\xff"}}}', "UTF-8"),
        (b'{"key":"\\ud800","segments":[],"variants":{}}', "surrogate"),
        (b'{"key":"f","segments":[],"variants":{},"x":' + b"[" * 9999 + b"]" * 9999 + b"}", "deep"),
        (b'{"key":"f","segments":[],"variants":{},"x":01}', "malformed"),
    ],
)
def test_what_cannot_be_read_is_refused_with_a_reason(raw: bytes, reason: str) -> None:
    with pytest.raises(FlagRefused, match=reason):
        decode_flag(raw)


def test_nesting_counts_levels_not_brackets() -> None:
    def of_payload(payload: str) -> bytes:
        variant = f'{{"key":"v","payload":{payload}}}'
        return f'{{"key":"f","segments":[],"variants":{{"v":{variant}}}}}'.encode()

    wide, deep = "[" + "[]," * 999 + '"[["]', "[" * (DEEPEST - 3) + "]" * (DEEPEST - 3)

    assert decode_flag(of_payload(wide)).key == decode_flag(of_payload(deep)).key == "f"
    with pytest.raises(FlagRefused, match="deep"):
        decode_flag(of_payload(f"[{deep}]"))


@given(st.binary(max_size=30) | st.text(alphabet='{}[]",:key1\\ud8', max_size=30).map(str.encode))
def test_no_bytes_do_worse_than_being_refused(raw: bytes) -> None:
    with pytest.raises(FlagRefused):
        decode_flag(raw)
    assert raw_flag_key(raw) is None or raw.strip()[:1] == b"{"
    try:
        elements = split_flags(raw)
    except ValueError:
        return
    assert isinstance(elements, list)


def test_flags_are_split_as_they_came() -> None:
    body = b' [ {"a" : 1} ,{"b":[1, 2],"c":"],["}, null,\n{} ] '

    assert split_flags(body) == [b'{"a" : 1}', b'{"b":[1, 2],"c":"],["}', b"null", b"{}"]
    assert split_flags(b"[]") == []


DEEP = b'{"deep":' + b"[" * 9999 + b"]" * 9999 + b"}"


@pytest.mark.parametrize("bad", [b'{"key":"\\ud800,[{\\""}', DEEP])
def test_an_element_that_cannot_be_decoded_leaves_the_others(bad: bytes) -> None:
    body = b' [{"a": "],"} , ' + bad + b',[1, "\\\\"] ]\n'

    assert split_flags(body) == [b'{"a": "],"}', bad, b'[1, "\\\\"]']


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"null",
        b"<html>",
        b'[{"a":1}',
        b'[{"a":1},',
        b"[{]",
        b"[1]x",
        b'["\xff"]',
        b"[1 2]",
        b'["\\ud800"',
        b'["\\ud800",x]',
        b'["\\ud800"]]',
        b'{"a":"\\ud800"}',
        b'["\\ud800",]',
        b"[" * 9999,
        b"[1," + DEEP,
        b"[1 2," + DEEP + b"]",
        b"[" + DEEP + b"]x",
    ],
)
def test_a_garbled_body_is_a_value_error(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        split_flags(body)


@pytest.mark.parametrize(
    ("raw", "key"),
    [
        (b'{"variants":{"a":{"key":"no"}}, "key" : "f\\n" }', "f\n"),
        (b'{"key":1}', None),
        (b'{"deep":' + b"[" * 9999 + b"]" * 9999 + b',"key":"f"}', "f"),
        (b'{"key":"\\ud800"}', None),
        (b'{"key":"f"', None),
        (b'{"key":"f"}x', None),
        (b"[]", None),
        (b"", None),
    ],
)
def test_the_key_of_a_broken_flag_is_made_out_where_it_can_be(raw: bytes, key: str | None) -> None:
    assert raw_flag_key(raw) == key
