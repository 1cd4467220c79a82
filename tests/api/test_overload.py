import asyncio
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.api.overload import (
    BEAT_SECONDS,
    FEWEST_BEATS,
    LOOK_SECONDS,
    MOST_REFUSED,
    Overload,
)
from proxy.metrics import Metrics

TARGET = 0.025


def looks(overload: Overload, late: float, count: int = 1) -> float:
    """Let as many heartbeats be late as it takes to look so often; return the share refused."""
    beats = max(FEWEST_BEATS, ceil(LOOK_SECONDS / (late + BEAT_SECONDS)) + 1)
    for _ in range(count * beats):
        overload.beat(late)
    return overload.share


def test_delay_that_stays_sheds_a_growing_share_and_relief_ends_it() -> None:
    metrics = Metrics()
    overload = Overload(TARGET, metrics)

    assert looks(overload, TARGET * 0.9, 50) == 0.0
    first = looks(overload, TARGET * 1.1)
    second = looks(overload, TARGET * 1.1)
    worse = looks(overload, TARGET * 10)
    assert 0.0 < first < second < worse
    assert worse - second > second - first
    assert looks(overload, TARGET * 10, 50) == MOST_REFUSED
    assert metrics.registry.get_sample_value("amplitude_proxy_shed_share") == MOST_REFUSED
    assert 0.0 < looks(overload, 0.0) < MOST_REFUSED
    assert looks(overload, 0.0, 50) == 0.0


@given(pauses=st.lists(st.floats(0, 5), max_size=200))
def test_single_pauses_shed_nothing(pauses: list[float]) -> None:
    overload = Overload(TARGET, Metrics())
    for number, late in enumerate(pauses):
        overload.beat(0.001 if number % FEWEST_BEATS == 0 else late)

    assert overload.share == 0.0
    assert not overload.refuses()


@given(delays=st.lists(st.floats(0, 100), max_size=300))
def test_some_work_always_goes_on(delays: list[float]) -> None:
    overload = Overload(TARGET, Metrics())
    for late in delays:
        overload.beat(late)
        assert 0.0 <= overload.share <= MOST_REFUSED


def test_without_a_target_delay_is_measured_and_nothing_shed() -> None:
    metrics = Metrics()
    overload = Overload(0.0, metrics)

    assert looks(overload, 60.0, 50) == 0.0
    assert overload.delay == 60.0
    name = "amplitude_proxy_event_loop_delay_seconds_count"
    assert metrics.registry.get_sample_value(name) == 50 * FEWEST_BEATS


def test_the_share_is_drawn() -> None:
    drawn = [0.0]
    overload = Overload(TARGET, Metrics(), lambda: drawn[0])
    looks(overload, 1.0)

    assert 0.0 < overload.share < 1.0
    assert overload.refuses()
    drawn[0] = overload.share
    assert not overload.refuses()


@pytest.mark.looptime
async def test_the_heart_beats_by_itself() -> None:
    overload = Overload(TARGET, metrics := Metrics())
    beating = asyncio.create_task(overload.watch())
    await asyncio.sleep(5)
    beating.cancel()

    name = "amplitude_proxy_event_loop_delay_seconds_count"
    assert (metrics.registry.get_sample_value(name) or 0) > 100


def test_another_target_counts_at_once_and_none_at_all_refuses_nobody() -> None:
    overload = Overload(0.0, Metrics())
    assert looks(overload, TARGET * 10, 50) == 0.0

    overload.aim(TARGET)
    assert looks(overload, TARGET * 10, 50) == MOST_REFUSED
    overload.aim(0.0)

    assert overload.share == 0.0
    assert not overload.refuses()
