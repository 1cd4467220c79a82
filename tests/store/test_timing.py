from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import Hindered
from proxy.store.timing import Pace, Timing

WHY = Hindered("no_space", "full")


def test_the_first_commit_is_due_at_once() -> None:
    timing = Timing(Pace())
    assert timing.pause(1000.0, changed=False) < 0
    assert timing.pause(1000.0, changed=True) < 0


def test_changes_wait_half_a_second_and_soft_ones_a_minute() -> None:
    timing = Timing(Pace())
    timing.attempted(100.0)
    assert timing.pause(100.25, changed=True) == 0.25
    assert timing.pause(100.5, changed=True) == 0
    assert timing.pause(110.0, changed=False) == 50.0


def test_after_trouble_pauses_double_to_a_bound_and_start_over() -> None:
    timing = Timing(Pace())
    pauses = []
    for _ in range(7):
        timing.attempted(0.0, WHY)
        pauses.append(timing.pause(0.0, changed=True))
    assert pauses == [1, 2, 4, 8, 16, 30, 30]
    timing.attempted(0.0)
    assert timing.pause(0.0, changed=True) == 0.5
    timing.attempted(0.0, WHY)
    assert timing.pause(0.0, changed=True) == 1


def test_a_lock_is_tried_more_often() -> None:
    timing = Timing(Pace())
    for _ in range(9):
        timing.attempted(0.0, Hindered("locked", "held"))
    assert timing.pause(0.0, changed=False) == 5


@given(st.integers(1, 5000))
def test_the_pause_is_bounded_however_long_the_trouble(failures: int) -> None:
    timing = Timing(Pace())
    for _ in range(failures):
        timing.attempted(0.0, WHY)
    assert 1 <= timing.pause(0.0, changed=True) <= 30


def test_it_is_looked_through_once_a_minute() -> None:
    timing = Timing(Pace())
    assert [timing.checks(now) for now in (5.0, 6.0, 64.9, 65.0, 66.0, 200.0)] == [
        True,
        False,
        False,
        True,
        False,
        True,
    ]
