"""The conformance vectors: what the reference engine answers, every row of every file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from proxy.evaluation.bucketing import bucket_hash
from proxy.evaluation.decode import FlagRefused, decode_flag, raw_flag_key, split_flags
from proxy.evaluation.dependencies import CycleError, order
from proxy.evaluation.interpreter import interpret_with_trace
from proxy.evaluation.partial import partially_evaluate
from proxy.evaluation.results import encode
from proxy.evaluation.text import text
from proxy.evaluation.users import parse_json, parse_user
from proxy.evaluation.versions import parse_version
from tests.evaluation.engines import Engine, every_engine, match, usable

VECTORS = Path(__file__).parent.parent / "vectors"

Row = dict[str, msgspec.Raw]
"""A vector's members as they stand in the file: numbers keep their text."""


def rows(name: str, wanted: Callable[[Row], bool] = lambda _: True) -> list[Any]:
    """The rows of one file, each with its own name."""
    read = msgspec.json.decode((VECTORS / f"{name}.json").read_bytes(), type=list[Row])
    return [pytest.param(row, id=plain(row, "name")) for row in read if wanted(row)]


def table(name: str) -> list[dict[str, Any]]:
    read: list[dict[str, Any]] = msgspec.json.decode((VECTORS / f"{name}.json").read_bytes())
    return read


def plain(row: Row, member: str) -> Any:
    raw = row.get(member)
    return None if raw is None else msgspec.json.decode(raw)


def body_of(row: Row) -> bytes:
    return bytes(row["flags"])


def user_of(row: Row) -> bytes:
    text_of_user = plain(row, "user_json")
    return bytes(row["user"]) if text_of_user is None else text_of_user.encode()


def same_meaning(result: dict[str, Any]) -> dict[str, Any]:
    """A variant without the members whose absence means the same."""
    return {
        name: member
        for name, member in result.items()
        if not (member is None and name in ("value", "payload", "metadata"))
        and not (name == "metadata" and member == {})
    }


def expected_of(row: Row) -> dict[str, Any]:
    return {key: same_meaning(result) for key, result in plain(row, "expected").items()}


@every_engine
@pytest.mark.parametrize("row", [*rows("public"), *rows("anchors"), *rows("traces")])
def test_the_results_are_those_of_the_reference(row: Row, engine: Engine) -> None:
    expected = expected_of(row)

    results = engine(body_of(row), user_of(row), plain(row, "flag_keys") or ())

    assert results == expected
    assert list(results) == list(expected)


@every_engine
@pytest.mark.parametrize("row", rows("failures"))
def test_where_engines_fail_the_choice_is_ours(row: Row, engine: Engine) -> None:
    choice = plain(row, "choice")

    results = engine(body_of(row), user_of(row), plain(row, "flag_keys") or ())

    for key, variant in choice.get("keys", {}).items():
        assert results[key]["key"] == variant
    for key in choice.get("rejected", ()):
        assert key not in results


@pytest.mark.parametrize("row", rows("failures"))
def test_only_the_rejected_flags_are_refused(row: Row) -> None:
    rejected = plain(row, "choice").get("rejected", [])
    refused = []
    for raw in split_flags(body_of(row)):
        try:
            decode_flag(raw)
        except FlagRefused:
            refused.append(raw_flag_key(raw) or "f")  # one row's fault is the missing key

    assert refused == rejected


@every_engine
@pytest.mark.parametrize("row", rows("failures", lambda row: "error" in plain(row, "choice")))
def test_a_cycle_leaves_out_its_flags_and_no_other(row: Row, engine: Engine) -> None:
    free = [flag["key"] for flag in plain(row, "flags") if not flag.get("dependencies")]

    results = engine(body_of(row), user_of(row), ())

    assert list(results) == free


@pytest.mark.parametrize("row", rows("topo"))
def test_flags_come_in_the_order_of_their_dependencies(row: Row) -> None:
    flags = {flag.key: flag for flag in map(decode_flag, split_flags(body_of(row)))}
    keys = plain(row, "flag_keys") or ()

    if plain(row, "error") == "cycle":
        with pytest.raises(CycleError) as caught:
            order(flags, keys, lambda flag: flag.dependencies)
        assert list(caught.value.path) == plain(row, "path")
    else:
        ordered = order(flags, keys, lambda flag: flag.dependencies)
        assert [flag.key for flag in ordered] == plain(row, "order")


def test_every_hash_is_the_reference_s() -> None:
    for row in table("bucketing"):
        hashed = bucket_hash(row["salt"], row["value"])

        assert (hashed, hashed % 100, hashed // 100) == (
            row["hash"],
            row["allocation"],
            row["distribution"],
        )


@pytest.mark.parametrize("row", table("semver"), ids=lambda row: repr(row["text"]))
def test_versions_read_as_the_reference_reads_them(row: dict[str, Any]) -> None:
    version = parse_version(row["text"])

    if row["parsed"] is None:
        assert version is None
    else:
        assert version is not None
        assert row["parsed"] == {
            "major": version.major,
            "minor": version.minor,
            "patch": version.patch,
            "prerelease": None if version.released else version.prerelease,
        }


@pytest.mark.parametrize("row", table("number_text"), ids=lambda row: row["json"])
def test_numbers_are_written_as_the_reference_writes_them(row: dict[str, Any]) -> None:
    number = parse_json(row["json"].encode())

    assert text(number) == row["text"]
    assert isinstance(number, int) == (row["kind"] == "int")


@pytest.mark.parametrize("row", rows("partial"))
def test_partial_evaluation_leaves_what_the_reference_leaves(row: Row) -> None:
    expected = plain(row, "partial")
    for flag in expected:
        if flag.get("dependencies") == []:  # says no more than its absence
            del flag["dependencies"]

    partial = partially_evaluate(usable(body_of(row)), parse_user(user_of(row)), match=match)

    assert msgspec.json.decode(msgspec.json.encode(partial)) == expected


# The traces come from the JavaScript engine, which answers some single conditions otherwise than
# the reference: where it does, our trace tells what the reference, and so our engine, does.
# Here is what each such step tells: for each inner list tried, whether the conditions held.
OTHERWISE = {
    ("random 2", "a", 3): ("null `set is not` holds", [[True, False]]),
    ("random 2", "b", 0): ("null `set is not` holds", [[True, False], [False]]),
    ("random 3", "a", 1): ("no numbers: `greater` compares the texts", [[True, True]]),
    ("random 4", "a", 0): ("a whole number keeps its last digit", [[False]]),
    ("random 4", "b", 0): ("a whole number keeps its last digit", [[False]]),
    ("random 4", "b", 2): (
        "no numbers: `greater` compares the texts",
        [[False], [True, False], [False]],
    ),
}


def held(step: dict[str, Any]) -> list[list[bool]]:
    return [[tried["matched"] for tried in inner] for inner in step["conditionResult"]]


@pytest.mark.parametrize("row", rows("traces"))
def test_traces_tell_every_step(row: Row) -> None:
    expected = plain(row, "traces")

    _, traces = interpret_with_trace(usable(body_of(row)), parse_user(user_of(row)), match=match)

    told = msgspec.json.decode(encode(traces))
    for (name, key, index), (_, ours) in OTHERWISE.items():
        if name == plain(row, "name"):
            step = told[key]["steps"][index]
            assert held(step) == ours
            assert step["conditionsPassed"] == any(map(all, ours))
            assert step != expected[key]["steps"][index]
            expected[key]["steps"][index] = step
    assert told == expected
