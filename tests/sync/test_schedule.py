import asyncio
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.settings.schema import Configuration
from proxy.sync.schedule import Backoff, Timings, jittered, timings_of

FRACTIONS = st.floats(0, 1, exclude_max=True)


@given(FRACTIONS, st.floats(0.001, 1e6))
def test_a_pause_is_within_a_tenth_of_its_interval(fraction: float, interval: float) -> None:
    pause = jittered(interval, lambda: fraction)
    assert 0.9 * interval <= pause * (1 + 1e-9)
    assert pause <= 1.1 * interval * (1 + 1e-9)


def test_a_fleet_spreads_and_an_instance_repeats_itself() -> None:
    pauses = [jittered(60, random.Random(seed).random) for seed in (1, 2, 3, 1)]
    assert pauses[0] == pauses[3]
    assert len(set(pauses)) == 3


@given(st.lists(FRACTIONS, min_size=1, max_size=50))
def test_pauses_after_failures_grow_to_their_bound_and_never_run_hot(
    fractions: list[float],
) -> None:
    draws = iter(fractions)
    backoff = Backoff(lambda: next(draws), first=1, longest=60)
    for number in range(len(fractions)):
        cap = min(2.0**number, 60)
        assert 0.1 * cap <= backoff.failed() <= cap


def test_success_starts_over() -> None:
    backoff = Backoff(lambda: 1.0, first=1, longest=60)
    assert [backoff.failed() for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]
    backoff.succeeded()
    assert backoff.failures == 0
    assert backoff.failed() == 1


def test_thousands_of_failures_are_no_overflow() -> None:
    backoff = Backoff(lambda: 1.0, first=1, longest=60)
    assert {backoff.failed() for _ in range(5000)} == {1, 2, 4, 8, 16, 32, 60}


@given(FRACTIONS, st.floats(0, 3600))
def test_upstreams_wish_to_wait_is_honoured(fraction: float, wish: float) -> None:
    backoff = Backoff(lambda: fraction, first=1, longest=60)
    pause = backoff.failed(wish)
    assert max(wish, 0.1) <= pause <= max(wish * 1.1, 1)


@pytest.mark.looptime
async def test_an_hour_of_trouble_is_some_dozens_of_attempts() -> None:
    """Upstream fails for an hour of a loop that polls each minute, then is well again."""
    now = asyncio.get_running_loop().time
    draw = random.Random(7).random
    backoff = Backoff(draw, first=1, longest=60)
    attempts = []
    while now() < 3600:
        attempts.append(now())
        await asyncio.sleep(backoff.failed())
    backoff.succeeded()
    await asyncio.sleep(jittered(60, draw))

    assert 60 < len(attempts) < 220
    assert attempts[3] < 10
    assert now() < 3600 + 60 + 66


def test_the_settings_are_in_milliseconds() -> None:
    configuration = Configuration(
        deployment_sync_interval_millis=1500, flag_sync_interval_millis=250, stream_updates=False
    )
    assert timings_of(configuration) == Timings(deployments=1.5, flags=0.25, streams=False)
