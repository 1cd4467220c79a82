"""What is kept, for how long, and within which bound."""

from hypothesis import given
from hypothesis import strategies as st

from proxy.relay.cache import ENTRY_BYTES, MEMBER_BYTES, Cache

ANSWER = {"a": b'"a":{"key":"on"}'}
SIZE = ENTRY_BYTES + MEMBER_BYTES + len(ANSWER["a"])


class Clock:
    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        return self.now


def test_an_answer_lives_as_long_as_it_may_and_looking_at_it_prolongs_nothing() -> None:
    clock = Clock()
    cache = Cache(10_000, 60.0, clock)
    cache.put(b"q", ANSWER)
    for _ in range(59):
        clock.now += 1
        assert cache.get(b"q") == ANSWER

    clock.now += 1

    assert cache.get(b"q") is None
    assert (len(cache), cache.size) == (0, 0)


def test_a_new_answer_takes_the_place_of_the_old_and_lives_anew() -> None:
    clock = Clock()
    cache = Cache(10_000, 60.0, clock)
    cache.put(b"q", ANSWER)
    clock.now += 30
    cache.put(b"q", {})
    clock.now += 59

    assert cache.get(b"q") == {}
    assert cache.size == ENTRY_BYTES


def test_whom_nobody_asked_for_longest_gives_way() -> None:
    cache = Cache(3 * SIZE, 60.0, Clock())
    for name in (b"1", b"2", b"3"):
        cache.put(name, ANSWER)
    cache.get(b"1")

    cache.put(b"4", ANSWER)

    assert [name for name in (b"1", b"2", b"3", b"4") if cache.get(name)] == [b"1", b"3", b"4"]


def test_what_is_too_large_is_not_kept_and_pushes_nothing_out() -> None:
    cache = Cache(2 * SIZE, 60.0, Clock())
    cache.put(b"1", ANSWER)

    cache.put(b"2", {"a": bytes(2 * SIZE)})

    assert cache.get(b"2") is None
    assert cache.get(b"1") == ANSWER


def test_without_room_or_time_nothing_is_kept() -> None:
    for cache in (Cache(0, 60.0, Clock()), Cache(10_000, 0.0, Clock())):
        cache.put(b"q", {})
        assert cache.get(b"q") is None
        assert (len(cache), cache.size) == (0, 0)


@given(
    st.integers(0, 8 * SIZE),
    st.lists(
        st.tuples(st.integers(0, 9), st.one_of(st.none(), st.integers(0, 3 * SIZE))), max_size=80
    ),
)
def test_never_more_than_the_bound_and_never_another_answer(
    bound: int, steps: list[tuple[int, int | None]]
) -> None:
    clock = Clock()
    cache = Cache(bound, 20.0, clock)
    last: dict[bytes, tuple[float, dict[str, bytes]]] = {}
    for number, length in steps:
        clock.now += 1
        name = b"%d" % number
        if length is None:
            found = cache.get(name)
            if found is not None:
                since, expected = last[name]
                assert found == expected
                assert clock.now - since < 20
        else:
            answer = {"f": bytes(length)}
            cache.put(name, answer)
            if ENTRY_BYTES + MEMBER_BYTES + length <= bound:
                last[name] = clock.now, answer
        assert 0 <= cache.size <= bound
