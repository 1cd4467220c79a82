"""Shares are what the bucketing deals."""

from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given

from proxy.admin.shares import HASHES, LAST_POSITION, MOST_RANGES, percent, percents, shares
from proxy.evaluation.codegen_buckets import chooser, steps
from proxy.evaluation.decode import decode_flag
from proxy.evaluation.model import Bucket
from tests.builders import flag
from tests.evaluation.strategies import buckets

END = LAST_POSITION + 1
VARIANTS = ("on", "off", "x", "missing")


def bucket(*allocations: dict[str, Any]) -> Bucket:
    return read({"selector": [], "salt": "s", "allocations": list(allocations)})


def read(written: dict[str, Any]) -> Bucket:
    found = decode_flag(msgspec.json.encode(flag("f", {"bucket": written}))).segments[0].bucket
    assert found is not None
    return found


def allocation(start: int, end: int, *dealt: tuple[str, int, int]) -> dict[str, Any]:
    distributions = [{"variant": key, "range": [low, high]} for key, low, high in dealt]
    return {"range": [start, end], "distributions": distributions}


@given(buckets)
def test_shares_count_the_hashes_that_the_compiled_bucket_gives_a_variant(
    written: dict[str, Any],
) -> None:
    read_bucket = read(written)
    choose = chooser(steps(read_bucket, {key: key for key in VARIANTS}, ""))
    edges = {0, LAST_POSITION, END}
    for one in read_bucket.allocations:
        for dealt in one.distributions:
            edges |= {min(max(edge, 0), END) for edge in (dealt.start, dealt.end)}
    counted: dict[str | None, int] = {}
    for low, high in pairwise(sorted(edges)):
        for place in range(100):
            if low * 100 + place < HASHES:
                key = choose(low * 100 + place)
                counted[key] = counted.get(key, 0) + high - low

    counted.pop("", None)
    assert shares(read_bucket) == counted


def test_the_usual_ranges_give_the_usual_percentages() -> None:
    halves = allocation(0, 100, ("on", 0, 21474837), ("off", 21474836, 42949673))
    assert percents(shares(bucket(halves)) or {}) == {"on": 50.0, "off": 50.0}
    tenth = allocation(0, 10, ("on", 0, 42949673))
    assert percents(shares(bucket(tenth)) or {}) == {"on": 10.0}
    thirds = [("a", 0, 14316558), ("b", 14316557, 28633116), ("c", 28633115, 42949673)]
    assert percents(shares(bucket(allocation(0, 100, *thirds))) or {}) == {
        "a": 33.33,
        "b": 33.33,
        "c": 33.33,
    }


def test_only_nobody_is_no_percent_and_only_everybody_all_of_them() -> None:
    assert [percent(hashes) for hashes in (0, 1, HASHES - 1, HASHES)] == [0.0, 0.01, 99.99, 100.0]


@pytest.mark.parametrize(("extra", "is_known"), [(0, True), (1, False)])
def test_more_ranges_than_anybody_needs_are_not_added_up(extra: int, is_known: bool) -> None:
    many = [("on", 0, 0)] * (MOST_RANGES + extra)

    assert (shares(bucket(allocation(0, 100, *many))) is not None) is is_known
