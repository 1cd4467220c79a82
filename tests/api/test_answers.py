"""What is kept of answers: within its bound, as long as it is in force, and of use."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from proxy.api.answers import (
    AT_FIRST,
    FREE,
    GUEST_BYTES,
    MOST_SAVED,
    PAUSE_SECONDS,
    PRICE,
    WORTH,
    Answer,
    Answers,
    GuestBook,
)
from proxy.api.editions import BODY, Edition, Editions, Key
from proxy.api.reports import Anew, Reports
from proxy.metrics import Metrics
from proxy.snapshots.board import Board
from tests import builders
from tests.builders import KEY, flag

MEBIBYTE = 1 << 20
SNAPSHOTS = [builders.snapshot([flag(name)]) for name in ("a", "b", "c")]


class Cache:
    """Answers of one deployment, whose flags change."""

    def __init__(self, most_bytes: int = MEBIBYTE) -> None:
        self.metrics = Metrics()
        reports = Reports(lambda *_: None)
        self.answers = Answers(
            most_bytes, self.metrics, lambda _fresh: Anew(reports, 0, {}, [], ())
        )
        self.board = Board()
        self.editions = Editions(self.board, None, self.answers.retire, trusts_claims=False)
        self.board.authorise(SNAPSHOTS[0].deployment)
        self.publish(0)

    def publish(self, number: int) -> None:
        self.snapshot = SNAPSHOTS[number]
        self.board.publish(KEY, self.snapshot)

    @property
    def edition(self) -> Edition:
        edition = self.editions.of(self.snapshot)
        assert edition is not None
        return edition

    def key(self, name: int) -> Key:
        return self.edition.number, BODY, "", str(name)

    def ask(self, name: int, size: int = 100) -> Answer | None:
        """Do what a request does; return the answer that was kept."""
        key = self.key(name)
        found = self.answers.kept.get(key)
        if found is not None:
            self.answers.found(found)
        elif self.answers.missed(key):
            self.answers.keep((key, self.edition, bytes(size), 0, {}, [], []))
        return found

    def learn(self, *names: int, size: int = 100) -> None:
        for _ in range(2):
            for name in names:
                self.ask(name, size)

    def kept(self) -> list[int]:
        return sorted(int(key[3]) for key in self.answers.kept if key[0] == self.edition.number)

    def counted(self, name: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"amplitude_proxy_answer_cache_{name}")


def test_an_answer_is_kept_when_it_is_asked_for_again() -> None:
    cache = Cache()

    found = [cache.ask(1) is not None for _ in range(4)]

    assert found == [False, False, True, True]
    assert (cache.counted("hits_total"), cache.counted("misses_total")) == (2, 2)
    assert cache.counted("answers") == 1
    assert cache.counted("bytes") == cache.answers.size > 100
    assert cache.answers.status() == {
        "answers": 1,
        "bytes": cache.answers.size,
        "max_bytes": MEBIBYTE,
        "hits": 2,
        "misses": 2,
        "evictions": 0,
    }


def test_those_who_come_once_leave_nothing() -> None:
    cache = Cache()

    for name in range(1000):
        assert cache.ask(name) is None

    # Some meet in the guest book by accident.
    assert len(cache.kept()) < 100


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60_000)), max_size=200))
@hypothesis_settings(max_examples=100)
def test_the_bound_holds_whatever_is_asked(asked: list[tuple[int, int]]) -> None:
    cache = Cache()

    for name, size in asked:
        cache.ask(name, size)
        answer = cache.answers.kept.get(cache.key(name))
        if answer is not None and size % 3 == 0:
            cache.answers.keep_packed(answer, bytes(size // 3))

        kept = cache.answers.kept.values()
        assert cache.answers.size == sum(one.size for one in kept) <= MEBIBYTE
        assert cache.edition.kept == len(kept)
        assert all(one.size >= len(one.body) + len(one.packed) for one in kept)


def test_who_asks_often_stays_and_the_oldest_goes() -> None:
    cache = Cache()
    cache.learn(1, 2, size=50_000)

    for name in range(10, 40):
        cache.ask(1)
        cache.learn(name, size=50_000)

    assert 1 in cache.kept()
    assert 2 not in cache.kept()
    assert 39 in cache.kept()
    assert cache.counted("evictions_total") == cache.answers.status()["evictions"] > 0


def test_when_all_are_asked_for_one_goes_nevertheless() -> None:
    cache = Cache()
    for name in range(40):
        cache.learn(name, size=50_000)
        for kept in cache.kept():
            cache.ask(kept)

    assert 0 < len(cache.kept()) < 21
    assert 39 in cache.kept()


def test_more_than_can_be_kept_do_not_push_each_other_out() -> None:
    cache = Cache()

    hits = [sum(cache.ask(name, 50_000) is not None for name in range(60)) for _ in range(12)]

    # There is room for twenty of the sixty.
    assert hits[-1] >= 15


def test_an_answer_too_large_for_its_share_is_not_kept() -> None:
    cache = Cache()

    cache.learn(1, size=MEBIBYTE // 16)
    cache.learn(2, size=MEBIBYTE // 16 - 2000)

    assert cache.kept() == [2]


def test_a_bound_of_nothing_keeps_nothing() -> None:
    cache = Cache(0)

    cache.learn(1, 1, 1, size=0)

    assert cache.answers.size == len(cache.answers.kept) == 0


def test_a_packed_form_is_not_kept_of_what_is_gone() -> None:
    cache = Cache()
    cache.learn(1)
    [answer] = cache.answers.kept.values()
    size = cache.answers.size
    cache.answers.keep_packed(answer, b"packed")
    cache.answers.keep_packed(answer, b"packed again")
    assert (answer.packed, cache.answers.size) == (b"packed", size + 6)

    cache.publish(1)
    cache.learn(*range(10))
    cache.answers.keep_packed(answer, b"packed")

    assert cache.answers.size == sum(one.size for one in cache.answers.kept.values())


def test_what_is_out_of_force_is_swept_out_little_by_little() -> None:
    cache = Cache()
    cache.learn(*range(100))
    full = cache.answers.size
    cache.publish(1)

    # Who is known from before is kept at once.
    sizes = []
    for name in range(60):
        cache.ask(name)
        sizes.append(cache.answers.size)

    assert sizes[1] > full - 10 * (full // 100)
    assert cache.kept() == list(range(60))
    assert len(cache.answers.kept) == 60
    assert cache.answers.size == sum(one.size for one in cache.answers.kept.values())


def test_sweeping_spares_what_is_in_force() -> None:
    cache = Cache()
    cache.learn(*range(20))
    cache.publish(1)
    for _ in range(3):
        for name in range(20, 60):
            cache.ask(name)

    assert cache.kept() == list(range(20, 60))
    assert len(cache.answers.kept) == 40


def test_an_answer_of_flags_out_of_force_is_not_kept() -> None:
    cache = Cache()
    old, key = cache.edition, cache.key(1)
    cache.publish(1)
    cache.learn(2)

    cache.answers.keep((key, old, b"old", 0, {}, [], []))

    assert not old.is_live
    assert key not in cache.answers.kept


async def test_a_crowd_of_strangers_uses_up_the_credit() -> None:
    cache = Cache()

    for name in range(AT_FIRST):
        cache.answers.missed((0, BODY, "", str(name)))

    assert cache.answers.credit == 0


def test_hits_pay_for_look_ups_in_vain() -> None:
    cache = Cache()
    cache.learn(1)
    cache.answers.credit = 10

    cache.ask(1)
    assert cache.answers.credit == 10 + WORTH
    cache.ask(2)
    assert cache.answers.credit == 10 + WORTH - 1
    cache.ask(2)
    assert cache.answers.credit == 10 + WORTH - 2 - PRICE

    cache.answers.credit = MOST_SAVED
    cache.ask(1)
    assert cache.answers.credit == MOST_SAVED


@pytest.mark.looptime
async def test_credit_comes_back_after_a_pause(looptime: Any) -> None:
    cache = Cache()
    cache.answers.credit = 1

    cache.ask(1)
    cache.ask(2)
    assert cache.answers.credit == -1
    await asyncio.sleep(PAUSE_SECONDS / 2)
    assert cache.answers.credit == -1

    await asyncio.sleep(PAUSE_SECONDS)
    assert cache.answers.credit == FREE
    await asyncio.sleep(PAUSE_SECONDS)
    assert cache.answers.credit == FREE


def test_a_change_of_flags_pays_for_what_was_kept() -> None:
    cache = Cache()
    cache.learn(*range(100))
    cache.answers.credit = 50
    cache.publish(1)

    for name in range(100):
        cache.ask(name)

    assert cache.kept() == list(range(100))
    assert cache.answers.credit == 50


@given(st.lists(st.integers(), max_size=300))
def test_the_guest_book_forgets_nobody_of_the_last_page(names: list[int]) -> None:
    book = GuestBook(64 * 64 * GUEST_BYTES)
    assert book.room == 128

    last: dict[int, int] = {}
    for moment, name in enumerate(names):
        if moment - last.get(name, -1000) <= book.room:
            assert book.knows(name)
        else:
            book.knows(name)
        last[name] = moment


def test_the_guest_book_forgets_who_stays_away() -> None:
    book = GuestBook(64 * 64 * GUEST_BYTES)
    assert not book.knows(1)
    for name in range(2, 2 + 3 * book.room):
        book.knows(name)

    assert not book.knows(1)


def test_a_guest_book_of_many_pages_knows_its_guests() -> None:
    book = GuestBook(64 * 64 * GUEST_BYTES)

    for name in range(1, 150 * book.room):
        book.knows(name)
        assert book.knows(name)
