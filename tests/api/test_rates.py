from sys import getsizeof

from hypothesis import given
from hypothesis import strategies as st

from proxy.api.rates import MOST_KNOWN, Rates


def test_a_burst_and_then_the_rate() -> None:
    rates = Rates(per_second=2, burst=3)

    assert [rates.take("a", 100.0) for _ in range(3)] == [0.0, 0.0, 0.0]
    assert rates.take("a", 100.0) == 0.5
    assert rates.take("a", 100.25) == 0.25
    assert rates.take("a", 100.5) == 0.0
    assert rates.take("a", 100.5) > 0
    # Another's bucket is another's; one that fills up again holds a burst, however long it takes.
    assert rates.take("b", 100.5) == 0.0
    assert [rates.take("a", 1e6) for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]


class Bucket:
    """The textbook's."""

    def __init__(self, per_second: int, burst: int) -> None:
        self.per_second, self.burst = per_second, burst
        self.tokens, self.at = float(burst), 0.0

    def take(self, now: float) -> bool:
        self.tokens = min(self.burst, self.tokens + (now - self.at) * self.per_second)
        self.at = now
        if self.tokens < 1 - 1e-9:
            return False
        self.tokens -= 1
        return True


@given(
    per_second=st.sampled_from([1, 2, 4, 64]),
    burst=st.integers(1, 20),
    pauses=st.lists(st.sampled_from([0.0, 0.0, 0.0, 1 / 64, 0.125, 1.0, 60.0]), max_size=120),
)
def test_it_is_a_token_bucket(per_second: int, burst: int, pauses: list[float]) -> None:
    rates, bucket, now = Rates(per_second, burst), Bucket(per_second, burst), 0.0
    for pause in pauses:
        now += pause
        wait = rates.take("a", now)
        assert (wait == 0.0) == bucket.take(now)
        assert 0.0 <= wait <= 1 / per_second


def test_who_was_told_to_wait_is_let_in_after_that() -> None:
    rates, now = Rates(per_second=3, burst=1), 12_345.678
    for _ in range(1000):
        wait = rates.take("a", now)
        now += wait
        assert not wait or rates.take("a", now) == 0.0


def test_a_million_names_take_no_more_room_than_the_table_has() -> None:
    rates = Rates(per_second=1, burst=2, most=1000)
    for number in range(20_000):
        rates.take(f"name-{number}", 0.0)
        rates.take("busy", 0.0)
        assert len(rates) <= 1000
    # Whoever keeps coming is not forgotten over it.
    assert rates.take("busy", 0.0) > 0


def test_a_flood_of_addresses_is_held_in_some_megabytes() -> None:
    rates = Rates(per_second=100, burst=500)
    for number in range(1_000_000):
        rates.take(f"{number}.0.0.1", 0.0)

    assert len(rates) <= MOST_KNOWN
    tables = rates._young, rates._old
    held = sum(getsizeof(table) for table in tables)
    held += sum(getsizeof(part) for table in tables for pair in table.items() for part in pair)
    assert held < 16 * 2**20
