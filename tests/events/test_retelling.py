"""An answer that is given again is told exactly when it would be if it were offered anew."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from proxy.evaluation.outcomes import Outcome
from proxy.events.dedupe import DAY_SECONDS, Dedupe
from proxy.events.event import ASSIGNMENT, EXPOSURE
from proxy.events.retelling import Retelling, retelling
from proxy.events.sieve import MOST_OFFERS, Memo
from proxy.settings.reporting import Assignment
from tests.events.builders import NOW, outcome
from tests.events.test_sieve import OUTCOMES, USER, Sieving
from tests.events.test_tracker import tracker_to

ANSWERS: list[tuple[dict[str, Any], list[Outcome], frozenset[str]]] = [
    ({"user_id": "u", "groups": {"org": ["acme", 7], "": ["x"]}}, OUTCOMES, frozenset()),
    ({"user_id": "u"}, OUTCOMES, frozenset({"a"})),
    ({"user_id": 5, "device_id": "d"}, [outcome("a")], frozenset()),
    ({"device_id": "d", "groups": "acme"}, OUTCOMES, frozenset()),
    ({"device_id": True}, OUTCOMES, frozenset()),
    ({"user_id": "u"}, [], frozenset()),
]
KINDS = (ASSIGNMENT, EXPOSURE)


def again(sieving: Sieving, answer: int = 1, place: int = 0) -> Retelling:
    user, outcomes, asked = ANSWERS[answer]
    return retelling(sieving.sieve, place, user, outcomes, asked, assigned=Memo())


def told(sieving: Sieving) -> list[tuple[Any, ...]]:
    return [
        (one.kind, one.subject, [of.flag_key for of in one.outcomes], one.asked, one.at)
        for one in sieving.fresh
    ]


def offer(sieving: Sieving, kind: str, answer: int, at: float) -> None:
    user, outcomes, asked = ANSWERS[answer]
    sieving.sieve.offer(kind, 0, user, outcomes, at, asked=asked if kind == EXPOSURE else ())


def give(kept: Retelling, kind: str, at: float) -> None:
    (kept.track if kind == ASSIGNMENT else kept.expose)(at)


answers = st.integers(0, len(ANSWERS) - 1)
pauses = st.sampled_from([0.0, 1.0, DAY_SECONDS / 2, DAY_SECONDS - 1, DAY_SECONDS, -DAY_SECONDS])
steps = st.lists(
    st.tuples(st.sampled_from(["again", "again", "anew", "lose", "sift"]), answers, pauses),
    max_size=80,
)


@given(st.integers(0, 4), steps, st.sampled_from(KINDS))
@hypothesis_settings(max_examples=300)
def test_what_is_told_again_is_what_would_be_offered_anew(
    capacity: int, steps: list[tuple[str, int, float]], kind: str
) -> None:
    ours, theirs, at = Sieving(capacity), Sieving(capacity), NOW
    kept = [again(ours, answer) for answer in range(len(ANSWERS))]

    for verb, answer, pause in steps:
        at += pause
        if verb == "again":
            give(kept[answer], kind, at)
            offer(theirs, kind, answer, at)
        elif verb == "anew":
            offer(ours, kind, answer, at)
            offer(theirs, kind, answer, at)
        else:
            for sieving in (ours, theirs):
                sieving.sieve.sift()
                if verb == "lose" and sieving.fresh:
                    sieving.sieve.forget(kind, sieving.fresh[-1].key)
    ours.sieve.sift()
    theirs.sieve.sift()

    assert told(ours) == told(theirs)
    assert ours.counts() == theirs.counts()


@pytest.mark.parametrize("kind", KINDS)
def test_what_surely_was_told_is_only_counted(kind: str) -> None:
    sieving = Sieving()
    kept = again(sieving)
    give(kept, kind, NOW)
    sieving.sieve.sift()
    sieving.sieve.news.clear()

    for second in range(3 * MOST_OFFERS):
        give(kept, kind, NOW + second)

    assert not sieving.sieve.news.is_set()
    assert sieving.counts()["offered"] == 1 + 3 * MOST_OFFERS
    assert sieving.counts()["filtered"] == 3 * MOST_OFFERS
    assert len(sieving.fresh) == 1


def test_a_day_later_it_is_told_once_more() -> None:
    sieving = Sieving()
    kept = again(sieving)

    for at in (0.0, 1.0, DAY_SECONDS - 1, DAY_SECONDS, DAY_SECONDS + 1):
        kept.track(NOW + at)
        sieving.sieve.sift()

    assert [fresh.at - NOW for fresh in sieving.fresh] == [0.0, DAY_SECONDS]


def test_what_was_lost_for_good_is_told_once_more() -> None:
    sieving = Sieving()
    kept = again(sieving)
    kept.track(NOW)
    sieving.sieve.sift()
    kept.track(NOW + 1)

    sieving.sieve.forget(ASSIGNMENT, sieving.fresh[0].key)
    kept.track(NOW + 2)
    sieving.sieve.sift()

    assert [fresh.at - NOW for fresh in sieving.fresh] == [0, 2]


def test_what_the_filter_had_no_room_for_is_told_once_more() -> None:
    sieving = Sieving(capacity=2)
    kept = again(sieving)
    kept.track(NOW)
    sieving.sieve.sift()

    # They wait, and will push it out when they are looked at.
    sieving.offer(1, {"user_id": "v"})
    sieving.offer(1, {"user_id": "w"})
    kept.track(NOW)
    sieving.sieve.sift()

    assert [fresh.subject.user_id for fresh in sieving.fresh] == ["u", "v", "w", "u"]


def test_assignments_and_exposures_are_remembered_apart() -> None:
    sieving = Sieving()
    kept = again(sieving)

    for _ in range(2):
        kept.track(NOW)
        sieving.sieve.sift()
        kept.expose(NOW)
        sieving.sieve.sift()

    assert [fresh.kind for fresh in sieving.fresh] == [ASSIGNMENT, EXPOSURE]
    assert sieving.fresh[1].asked == {"a"}


def test_of_the_user_nothing_is_kept_that_events_do_not_tell() -> None:
    user = {**USER, "email": "secret", "groups": {"org": ["acme"], "team": {"secret": 1}}}

    kept = retelling(Sieving().sieve, 0, user, OUTCOMES, (), assigned=Memo())

    assert "secret" not in repr((kept.user_id, kept.device_id, kept.groups))
    assert kept.groups == {"org": ["acme"]}


async def test_assignments_that_are_switched_off_are_not_told_again() -> None:
    up: Any = type("Nowhere", (), {"url": "http://nowhere.invalid"})
    tracker = tracker_to(up, None, Assignment(enabled=False))  # type: ignore[arg-type]
    kept = tracker.retelling(0, USER, OUTCOMES, ())

    kept.track(NOW)
    kept.expose(NOW)
    tracker.measure()

    assert tracker.status()[0]["counts"]["offered"] == 1


@given(st.integers(1, 5), st.lists(st.integers(0, 6), max_size=30), st.integers(0, 6))
def test_a_term_ends_when_the_key_gives_way(capacity: int, keys: list[int], key: int) -> None:
    dedupe = Dedupe(capacity)
    for one in keys:
        dedupe.first(one, 0.0)
    term = dedupe.term(key)
    if term is None:
        assert dedupe.first(key, 0.0)
        return

    for other in range(100, 100 + term.last - dedupe.added - 1):
        dedupe.first(other, 0.0)
    assert dedupe.term(key) == term

    dedupe.first(99, 0.0)
    assert dedupe.added == term.last
    assert dedupe.term(key) is None
