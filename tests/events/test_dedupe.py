from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from proxy.events.dedupe import DAY_SECONDS, Dedupe
from proxy.events.sameness import key_of

MILLION = 1_048_576


class Obvious:
    """The last `capacity` times that a key was new, and when; nothing clever."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.told: list[tuple[int, float] | None] = []

    def first(self, key: int, at: float) -> bool:
        recent = self.told[-self.capacity :] if self.capacity else []
        if any(one and one[0] == key and abs(at - one[1]) < DAY_SECONDS for one in recent):
            return False
        self.forget(key)
        self.told.append((key, at))
        return True

    def forget(self, key: int) -> None:
        self.told = [None if one and one[0] == key else one for one in self.told]


# Few keys, many of which meet in one slot of the table.
keys = st.sampled_from([low + (high << 64) for low in (0, 1, 2, 64, 128, 129) for high in (0, 9)])
steps = st.lists(
    st.tuples(st.sampled_from(["first", "first", "first", "forget"]), keys, st.floats(0, 40_000)),
    max_size=60,
)


@given(st.integers(0, 9), steps)
def test_it_remembers_what_an_obvious_list_remembers(
    capacity: int, steps: list[tuple[str, int, float]]
) -> None:
    dedupe, obvious, at = Dedupe(capacity), Obvious(capacity), 0.0

    for verb, key, pause in steps:
        at += pause
        if verb == "forget":
            dedupe.forget(key)
            obvious.forget(key)
        else:
            assert dedupe.first(key, at) == obvious.first(key, at)


def test_a_day_counts_from_the_first_time_and_is_not_renewed() -> None:
    dedupe = Dedupe(10)

    assert dedupe.first(5, 1000.0)
    assert not dedupe.first(5, 1000.0 + DAY_SECONDS - 1)
    assert dedupe.first(5, 1000.0 + DAY_SECONDS)
    assert not dedupe.first(5, 1000.0 + DAY_SECONDS + 1)


def test_a_clock_that_steps_back_makes_nothing_new() -> None:
    dedupe = Dedupe(10)

    assert dedupe.first(5, 1000.0)
    assert not dedupe.first(5, 10.0)


def test_what_was_taken_back_is_new_again() -> None:
    dedupe = Dedupe(10)
    dedupe.first(5, 0.0)

    dedupe.forget(5)
    dedupe.forget(6)

    assert dedupe.first(5, 1.0)


def test_the_place_of_what_was_taken_back_is_used_again() -> None:
    dedupe = Dedupe(2)
    for key in (4, 8):  # both belong in the same slot
        dedupe.first(key, 0.0)

    dedupe.forget(4)

    assert dedupe.first(9, 0.0)
    assert not dedupe.first(8, 0.0)
    assert not dedupe.first(9, 0.0)


def test_capacity_zero_remembers_nothing() -> None:
    dedupe = Dedupe(0)

    assert dedupe.first(5, 0.0)
    dedupe.forget(5)
    assert dedupe.first(5, 0.0)


def test_a_million_entries_take_less_than_120_megabytes() -> None:
    before = resident_bytes()
    dedupe = Dedupe(MILLION)
    empty = resident_bytes()
    for number in range(MILLION):
        dedupe.first(key_of(f"user-{number}"), 0.0)

    assert not dedupe.first(key_of("user-0"), 1.0)
    assert dedupe.first(key_of("one more"), 1.0)
    assert dedupe.first(key_of("user-0"), 1.0), "the oldest gave way"
    assert empty - before < 5_000_000, "no memory before it is needed"
    assert resident_bytes() - before < 60_000_000


def resident_bytes() -> int:
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * 4096


def test_a_clock_that_was_far_ahead_silences_nobody() -> None:
    dedupe = Dedupe(10)
    wrong, right = 2_000_000_000.0, 1_700_000_000.0

    assert dedupe.first(1, wrong)
    assert dedupe.first(1, right)
    assert not dedupe.first(1, right - 5)
    assert not dedupe.first(1, right + DAY_SECONDS - 1)
    assert dedupe.first(1, right + DAY_SECONDS)
