"""When nobody is asked, and who tries first."""

from hypothesis import given
from hypothesis import strategies as st

from proxy.relay.breaker import FIRST_PAUSE, LONGEST_PAUSE, MOST_FAILURES, Breaker


class Rig:
    """A breaker whose clock and chance a test moves."""

    def __init__(self) -> None:
        self.now = 100.0
        self.chance = 1.0
        self.breaker = Breaker(lambda: self.now, lambda: self.chance)

    def fail(self, rest: float | None = None) -> bool:
        turn = self.breaker.begin()
        assert turn is not None
        return self.breaker.fail(turn, rest)

    def succeed(self) -> bool:
        turn = self.breaker.begin()
        assert turn is not None
        return self.breaker.succeed(turn)

    def open(self) -> None:
        opened = [self.fail() for _ in range(MOST_FAILURES)]
        assert opened == [False] * (MOST_FAILURES - 1) + [True]


def test_failures_in_a_row_open_it() -> None:
    rig = Rig()
    rig.open()

    assert rig.breaker.is_open
    assert rig.breaker.begin() is None
    assert rig.breaker.seconds_left == FIRST_PAUSE


def test_a_success_in_between_starts_the_count_over() -> None:
    rig = Rig()
    for _ in range(3):
        for _ in range(MOST_FAILURES - 1):
            assert not rig.fail()
        assert not rig.succeed()

    assert not rig.breaker.is_open


def test_after_the_pause_one_tries_and_its_success_lets_all_in() -> None:
    rig = Rig()
    rig.open()
    rig.now += FIRST_PAUSE

    probe = rig.breaker.begin()

    assert probe is not None
    assert not rig.breaker.lets_in()
    assert rig.breaker.begin() is None
    assert rig.breaker.succeed(probe)
    assert not rig.breaker.is_open
    assert {rig.breaker.begin(), rig.breaker.begin()} != {None}


def test_each_failed_try_doubles_the_pause_up_to_a_minute_and_chance_shortens_it() -> None:
    rig = Rig()
    rig.open()
    pauses = [rig.breaker.seconds_left]
    for _ in range(8):
        rig.now += rig.breaker.seconds_left
        assert rig.fail()
        pauses.append(rig.breaker.seconds_left)
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]

    rig.now += LONGEST_PAUSE
    rig.chance = 0.25
    rig.fail()
    assert rig.breaker.seconds_left == LONGEST_PAUSE / 4


def test_after_a_success_the_pauses_start_over() -> None:
    rig = Rig()
    for _ in range(3):
        rig.open()
        assert rig.breaker.seconds_left == FIRST_PAUSE
        rig.now += FIRST_PAUSE
        assert rig.succeed()


def test_a_wish_to_rest_is_kept_at_once_and_at_least() -> None:
    rig = Rig()

    assert rig.fail(30.0)

    assert rig.breaker.seconds_left == 30.0
    rig.now += 29.9
    assert rig.breaker.begin() is None
    rig.now += 0.2
    assert rig.breaker.begin() is not None


def test_who_began_before_it_opened_has_no_say() -> None:
    rig = Rig()
    early = [rig.breaker.begin() for _ in range(3)]
    rig.open()
    for turn in early:
        assert turn is not None
        assert not rig.breaker.fail(turn)
        assert not rig.breaker.succeed(turn)

    assert rig.breaker.is_open
    assert rig.breaker.seconds_left == FIRST_PAUSE


def test_a_try_of_which_nothing_was_learnt_leaves_room_for_another() -> None:
    rig = Rig()
    rig.open()
    rig.now += FIRST_PAUSE
    probe = rig.breaker.begin()
    assert probe is not None
    assert rig.breaker.begin() is None

    rig.breaker.give_up(probe)

    assert rig.breaker.begin() is not None


@given(st.lists(st.sampled_from(["begin", "fail", "succeed", "give up", "wait"]), max_size=60))
def test_whatever_happens_an_open_one_lets_in_one_at_a_time_and_opens_again(
    steps: list[str],
) -> None:
    rig = Rig()
    under_way: list[tuple[int, bool]] = []
    for step in steps:
        if step == "begin":
            was_open = rig.breaker.is_open
            turn = rig.breaker.begin()
            if turn is not None:
                trying = [of for of, probe in under_way if probe and of == turn]
                assert not (was_open and trying)
                under_way.append((turn, was_open))
        elif step == "wait":
            rig.now += 1.0
        elif under_way:
            turn, _ = under_way.pop(0)
            {
                "fail": rig.breaker.fail,
                "succeed": rig.breaker.succeed,
                "give up": rig.breaker.give_up,
            }[step](turn)
        assert 0 <= rig.breaker.seconds_left <= LONGEST_PAUSE

    for turn, _ in under_way:
        rig.breaker.give_up(turn)
    rig.now += LONGEST_PAUSE
    assert rig.breaker.begin() is not None
