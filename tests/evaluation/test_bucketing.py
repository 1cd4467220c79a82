import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.evaluation.bucketing import bucket_hash, choose
from proxy.evaluation.model import Allocation, Bucket, Distribution

EVERYONE = 42_949_673


def bucket(*allocations: tuple[int, int, list[tuple[str, int, int]]]) -> Bucket:
    return Bucket(
        selector=("context", "user", "user_id"),
        salt="salt",
        allocations=tuple(
            Allocation(
                start=start,
                end=end,
                distributions=tuple(
                    Distribution(variant=variant, start=low, end=high)
                    for variant, low, high in distributions
                ),
            )
            for start, end, distributions in allocations
        ),
    )


def test_a_lone_surrogate_is_hashed_as_a_question_mark() -> None:
    assert bucket_hash("s", "\ud800x") == bucket_hash("s", "?x")
    assert bucket_hash("\udfff", "é") == bucket_hash("?", "é")


@pytest.mark.parametrize("value", [None, ""])
def test_without_a_value_there_is_only_the_default(value: str | None) -> None:
    everyone = bucket((0, 100, [("on", 0, EVERYONE)]))

    assert choose(everyone, value, "off") == "off"
    assert choose(everyone, value, None) is None


@given(st.text(min_size=1))
def test_full_ranges_take_everybody(value: str) -> None:
    assert choose(bucket((0, 100, [("on", 0, EVERYONE)])), value, "off") == "on"


@given(st.text(min_size=1), st.integers(0, 100), st.integers(0, EVERYONE))
def test_the_first_range_that_holds_the_hash_answers(value: str, share: int, cut: int) -> None:
    hashed = bucket_hash("salt", value)
    halves = bucket((0, share, [("a", 0, cut), ("b", max(cut - 2, 0), EVERYONE)]))

    chosen = choose(halves, value, "off")

    if hashed % 100 >= share:
        assert chosen == "off"
    else:
        assert chosen == ("a" if hashed // 100 < cut else "b")


@given(st.text(min_size=1))
def test_an_allocation_whose_distributions_miss_goes_on_to_the_next(value: str) -> None:
    two = bucket((0, 100, [("none", 0, 0)]), (0, 100, [("on", 0, EVERYONE)]))

    assert choose(two, value, "off") == "on"
    assert choose(bucket((0, 100, [])), value, "off") == "off"
