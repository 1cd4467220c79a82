"""What readers have not taken: a law for its sums, and who is cut first."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from proxy.api.stream_unread import FRESH_SECONDS, Unread

MOST = 1000
READERS: list[Any] = [object() for _ in range(6)]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["wrote", "taken", "look"]),
        st.sampled_from(READERS),
        st.integers(0, 400),
        st.floats(0, FRESH_SECONDS),
    ),
    max_size=40,
)


@given(steps=STEPS)
def test_the_sums_are_those_of_a_plain_list(steps: list[tuple[str, Any, int, float]]) -> None:
    unread, now = Unread(MOST), 0.0
    plain: list[tuple[Any, int, float]] = []
    for what, reader, size, pause in steps:
        now += pause
        if what != "look":
            plain = [entry for entry in plain if entry[0] is not reader]
        if what == "wrote":
            unread.wrote(reader, size, now)
            plain += [(reader, size, now)] * bool(size)
        elif what == "taken":
            unread.taken(reader)
        fresh = sum(size for _, size, since in plain if now - since < FRESH_SECONDS)
        assert unread.is_crowded(now) == (fresh >= MOST // 4)
        assert unread.total == sum(size for _, size, _ in plain)
        eldest = plain[0][0] if unread.total > MOST and len(plain) > 1 else None
        assert unread.beyond() is eldest


def test_who_alone_reads_a_message_longer_than_all_that_may_wait_is_not_cut_for_it() -> None:
    unread = Unread(MOST)
    unread.wrote(READERS[0], MOST + 1, 0.0)
    assert unread.beyond() is None

    unread.wrote(READERS[1], 1, 0.0)
    assert unread.beyond() is READERS[0]
