"""Bulk evaluation: one answer a line, in order, texts untouched."""

import io
import json
from typing import Any

import pytest

from proxy.cli.lines import Lines, read_case


def flag(key: str = "f", **more: Any) -> dict[str, Any]:
    return {
        "key": key,
        "segments": [{"variant": "on"}],
        "variants": {"on": {"key": "on", "value": "on"}},
        **more,
    }


def answers(*lines: bytes | dict[str, Any]) -> tuple[int, list[Any]]:
    source = b"\n".join(
        line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines
    )
    sink = io.BytesIO()
    failures = Lines().run(io.BytesIO(source), sink)
    assert sink.getvalue().count(b"\n") == len(lines)
    return failures, [json.loads(line) for line in sink.getvalue().splitlines()]


def test_each_line_has_its_answer_in_order() -> None:
    lines = [{"flags": [flag(key)], "user": {}} for key in ("a", "b", "a")]

    failures, found = answers(*lines)

    assert failures == 0
    assert [list(each) for each in found] == [["a"], ["b"], ["a"]]
    assert found[0]["a"] == {"key": "on", "value": "on"}


def test_only_asked_flags_and_what_they_need_are_answered() -> None:
    flags = [flag("a", dependencies=["b"]), flag("b"), flag("c")]

    _, found = answers(
        {"flags": flags, "user": {}, "flag_keys": ["a", "none"]},
        {"flags": flags, "user": {}, "flag_keys": []},
        {"flags": flags, "user": {}, "flag_keys": None},
    )

    assert [list(each) for each in found] == [["b", "a"], ["b", "a", "c"], ["b", "a", "c"]]


def test_results_are_the_engines_own() -> None:
    line = (
        b'{"user":{},"flags":[{"key":"f","segments":[{"variant":"on"}],"variants":{"on":{"key":"x",'
        b'"value":1.50,"payload":{"n":12345678901234567890,"e":1e3},"metadata":{"default":true}}}}]}'
    )
    sink = io.BytesIO()

    Lines().run(io.BytesIO(line), sink)

    assert sink.getvalue() == (
        b'{"f":{"key":"x","value":1.50,"payload":{"n":12345678901234567890,"e":1e3},'
        b'"metadata":{"default":true}}}\n'
    )


def test_cohorts_that_the_user_names_count() -> None:
    condition = {
        "selector": ["context", "user", "cohort_ids"],
        "op": "set contains any",
        "values": ["c"],
    }
    flags = [flag(segments=[{"conditions": [[condition]], "variant": "on"}])]

    _, found = answers(
        {"flags": flags, "user": {"cohort_ids": ["c"]}}, {"flags": flags, "user": {"user_id": "c"}}
    )

    assert [list(each) for each in found] == [["f"], []]


@pytest.mark.parametrize(
    ("written", "seen"),
    [("1e3", "1000"), ("1000.0", "1000.0"), ("100e-2", "1"), ("1e21", "1.0E21"), ("-0", "0")],
)
@pytest.mark.parametrize("form", ["user", "user_json"])
def test_numbers_are_read_by_their_text(written: str, seen: str, form: str) -> None:
    condition = {"selector": ["context", "user", "n"], "op": "is", "values": [seen]}
    flags = json.dumps([flag(segments=[{"conditions": [[condition]], "variant": "on"}])])
    user = f'{{"n": {written}}}'
    line = f'{{"flags": {flags}, "{form}": {user if form == "user" else json.dumps(user)}}}'

    _, found = answers(line.encode())

    assert list(found[0]) == ["f"]


@pytest.mark.parametrize("form", ["user", "user_json"])
def test_half_a_surrogate_pair_is_a_value(form: str) -> None:
    condition = {"selector": ["context", "user", "n"], "op": "is not", "values": ["x"]}
    flags = json.dumps(
        [flag("\u2713 \U0001f600", segments=[{"conditions": [[condition]], "variant": "on"}])]
    )
    user = r'{"n": "\ud800", "m": "\\ud800 \ud83d\ude00 x0xD800"}'
    keys = r'["\u2713 \ud83d\ude00"]'
    text = user if form == "user" else json.dumps(user)

    failures, found = answers(
        f'{{"flags": {flags}, "{form}": {text}, "flag_keys": {keys}}}'.encode()
    )

    assert failures == 0
    assert list(found[0]) == ["\u2713 \U0001f600"]


def test_a_line_is_taken_apart_without_a_change_to_its_texts() -> None:
    user = rb'{"n": "\ud800", "m": "\\ud800 \\\ud83d\ude00 x0xD800"}'

    case = read_case(b'{"flags": [1.0, "\\uDFFF"], "user": ' + user + b"}")

    assert case.user == user
    assert case.flags == rb'[1.0, "\uDFFF"]'
    assert case.flag_keys == b""


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"", "truncated"),
        (b"{", "truncated"),
        (b"[]", "Expected `object`"),
        (b'{"user": {}}', "missing required field `flags`"),
        (b'{"flags": [], "user": {"n": "\\ud800"}', "truncated"),
        (b'{"flags": {}, "user": {}}', "rray"),
        (b'{"flags": []}', "neither `user` nor `user_json`"),
        (b'{"flags": [], "user": []}', "expected a JSON object"),
        (b'{"flags": [], "user": null}', "expected a JSON object"),
        (b'{"flags": [], "user_json": "nothing"}', "malformed"),
        (b'{"flags": [], "user_json": {}}', "Expected `str`"),
        (b'{"flags": [], "user": {}, "flag_keys": "a"}', "Expected `array | null`"),
        (b'{"flags": [], "user": ' + b"[" * 5000 + b"]" * 5000 + b"}", "deep"),
        (b'{"flags": [], "user": {"a": "\xff"}}', "UTF-8"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_line_that_is_no_case_says_so_and_the_run_goes_on(line: bytes, reason: str) -> None:
    good = {"flags": [flag()], "user": {}}

    failures, found = answers(good, line, good)

    assert failures == 1
    assert list(found[1]) == ["error"]
    assert reason.lower() in found[1]["error"].lower()
    assert list(found[0]) == list(found[2]) == ["f"]


def test_a_flag_that_cannot_be_used_is_left_out() -> None:
    failures, found = answers({"flags": [flag("a"), {"key": "broken"}, 7], "user": {}})

    assert failures == 0
    assert list(found[0]) == ["a"]


def test_a_flag_is_never_kept_from_another_line() -> None:
    failures, found = answers(
        {"flags": [flag("a")], "user": {}}, {"flags": [{"key": "a"}], "user": {}}
    )

    assert failures == 0
    assert [list(each) for each in found] == [["a"], []]


def test_the_deployments_remembered_are_bounded() -> None:
    lines = [{"flags": [flag(f"f{number}")], "user": {}} for number in range(300)]

    failures, found = answers(*lines, *lines)

    assert failures == 0
    assert [next(iter(each)) for each in found] == [f"f{number}" for number in range(300)] * 2
