"""Requests and their time, sampled from what the metrics count anyway."""

import asyncio
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy import tasks
from proxy.admin.pages import Ask
from proxy.admin.traffic import INTERVAL_SECONDS, MOST_KEPT, Traffic, quantile_millis
from proxy.instruments import LATENCY_SECONDS, RequestTimes

ROUTE = "/sdk/v2/vardata"


async def told(traffic: Traffic) -> list[dict[str, Any]]:
    page = await traffic.answer(Ask("GET", "/status/traffic", "", {}))
    body = msgspec.json.decode(page.body)
    assert body["interval_seconds"] == INTERVAL_SECONDS
    samples: list[dict[str, Any]] = body["samples"]
    return samples


@pytest.mark.looptime
async def test_each_interval_tells_of_its_own_requests() -> None:
    times = RequestTimes()
    ok, bad = times.labels("POST", ROUTE, 200), times.labels("GET", ROUTE, 401)
    other = times.labels("GET", "/sdk/v2/flags", 500)
    unchanged = times.labels("GET", ROUTE, 304)
    ok.observe(10)
    traffic = Traffic(times, [ROUTE], clock=lambda: 1000.0)
    watching = tasks.start("traffic", traffic.watch())
    await asyncio.sleep(1)
    for _ in range(98):
        ok.observe(0.0001)
    bad.observe(0.2)
    unchanged.observe(0.0001)
    other.observe(5)
    await asyncio.sleep(2 * INTERVAL_SECONDS)
    samples = await told(traffic)
    await tasks.stop(watching)

    busy, idle = samples
    assert busy["at"] == 1000.0
    assert busy["requests_per_second"] == 20.0
    assert busy["failures_per_second"] == 0.2
    assert 0 < busy["p50_millis"] <= 0.5
    assert busy["p99_millis"] <= 0.5
    assert idle == {
        "at": 1000.0,
        "requests_per_second": 0.0,
        "failures_per_second": 0.0,
        "p50_millis": None,
        "p99_millis": None,
    }


@pytest.mark.looptime
async def test_a_quarter_of_an_hour_is_kept() -> None:
    traffic = Traffic(RequestTimes(), [ROUTE])
    watching = tasks.start("traffic", traffic.watch())
    await asyncio.sleep(20 * 60)
    samples = await told(traffic)
    await tasks.stop(watching)

    assert len(samples) == MOST_KEPT == 180


@given(st.lists(st.floats(0, 20), min_size=1, max_size=50), st.sampled_from([0.5, 0.99]))
def test_a_quantile_lies_in_the_bucket_of_the_true_one(seconds: list[float], part: float) -> None:
    times = RequestTimes()
    lap = times.labels("GET", ROUTE, 200)
    for each in seconds:
        lap.observe(each)
    found = quantile_millis(LATENCY_SECONDS, lap.counts, part)
    assert found is not None
    true = sorted(seconds)[max(0, -int(-len(seconds) * part // 1) - 1)]
    below = max((bound for bound in LATENCY_SECONDS if bound < true), default=0.0)
    above = min((bound for bound in LATENCY_SECONDS if bound >= true), default=LATENCY_SECONDS[-1])
    assert below * 1000 - 0.001 <= found <= above * 1000 + 0.001
