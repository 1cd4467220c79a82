"""Sending to a collector that answers, or does not."""

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from proxy.metrics import Metrics
from proxy.telemetry.collector import Collector, Terms
from proxy.telemetry.encoding import Encoder, refused_spans
from proxy.telemetry.exporting import BATCH, MOST_WAITING, Spans
from proxy.telemetry.spans import Span
from tests.fakes.collector import TRACES, FakeCollector

KEY = "collectors-key"


def span(number: int = 1) -> Span:
    return Span(
        name=f"span {number}",
        is_call=False,
        trace_id=f"{number:032x}",
        span_id=f"{number:016x}",
        parent_id="",
        has_remote_parent=False,
        state="",
        begins=1,
        ends=2,
        has_failed=False,
        attributes={},
    )


class Rig:
    """Spans on their way to a URL, and what is counted of them."""

    def __init__(self, url: str, session: aiohttp.ClientSession, **terms: Any) -> None:
        self.metrics = Metrics()
        given = {"headers": {"x-key": KEY}, "seconds": 30.0, "is_packed": False, **terms}
        self.collector = Collector("traces", url + TRACES, Terms(**given), session, self.metrics)
        encoder = Encoder({}, 0.0)
        self.spans = Spans(encoder, self.collector, self.metrics, refused_spans, 0.01)

    def counted(self, what: str, **labels: str) -> float:
        name = f"amplitude_proxy_otel_{what}"
        return self.metrics.registry.get_sample_value(name, labels) or 0.0

    def spans_counted(self, outcome: str) -> float:
        return self.counted("spans_total", outcome=outcome)


@asynccontextmanager
async def rig(url: str, **terms: Any) -> AsyncIterator[Rig]:
    async with aiohttp.ClientSession() as session:
        yield Rig(url, session, **terms)


@asynccontextmanager
async def running(made: Rig) -> AsyncIterator[None]:
    task = asyncio.ensure_future(made.spans.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize("is_packed", [False, True])
async def test_spans_arrive_in_their_order(collector: FakeCollector, is_packed: bool) -> None:
    async with rig(collector.url, is_packed=is_packed) as made, running(made):
        for number in range(BATCH + 10):
            made.spans.record(span(number + 1))
        await collector.wait_for(lambda: len(collector.spans) == BATCH + 10)

        assert [each.name for each in collector.spans] == [
            f"span {number + 1}" for number in range(BATCH + 10)
        ]
        head = collector.heads[0]
        assert head["x-key"] == KEY
        assert head["content-type"] == "application/x-protobuf"
        assert head.get("content-encoding") == ("gzip" if is_packed else None)


async def test_what_the_collector_puts_off_is_sent_again(collector: FakeCollector) -> None:
    collector.status, collector.headers = 503, {"Retry-After": "0"}
    async with rig(collector.url) as made, running(made):
        made.spans.record(span())
        await collector.wait_for(lambda: collector.asked == 1)
        collector.status = 200
        await collector.wait_for(lambda: collector.spans)

        await collector.wait_for(lambda: made.spans.status()["waiting"] == 0)
        assert made.spans_counted("sent") == 1
        assert made.spans_counted("failed") == 0
        assert made.counted("exports_total", signal="traces", outcome="failed") == 1


@pytest.mark.parametrize("status", [400, 401, 413, 500, 302])
async def test_what_the_collector_refuses_is_not_sent_again(
    collector: FakeCollector, status: int
) -> None:
    collector.status, collector.headers = status, {"Location": "http://127.0.0.1:1/"}
    async with rig(collector.url) as made:
        made.spans.record(span())
        await made.spans.flush()

        assert collector.asked == 1
        assert made.spans_counted("failed") == 1
        assert made.spans.status()["waiting"] == 0
        assert made.spans.status()["trouble"] == f"answered {status}"


async def test_spans_that_are_refused_by_name_are_counted(collector: FakeCollector) -> None:
    collector.refused_spans = 2
    async with rig(collector.url) as made:
        for number in range(5):
            made.spans.record(span(number + 1))
        await made.spans.flush()

        assert (made.spans_counted("sent"), made.spans_counted("failed")) == (3, 2)
        collector.refused_spans = 99
        made.spans.record(span())
        await made.spans.flush()
        assert (made.spans_counted("sent"), made.spans_counted("failed")) == (3, 3)


async def test_one_too_many_is_dropped_and_counted(collector: FakeCollector) -> None:
    async with rig(collector.url) as made:
        for number in range(MOST_WAITING + 3):
            made.spans.record(span(number + 1))

        assert made.counted("spans_pending") == MOST_WAITING
        assert made.spans_counted("dropped") == 3
        await made.spans.flush()
        assert made.spans_counted("sent") == MOST_WAITING
        assert len(collector.spans) == MOST_WAITING


async def test_a_collector_that_is_silent_is_waited_for_only_so_long(
    collector: FakeCollector,
) -> None:
    collector.open.clear()
    async with rig(collector.url, seconds=0.05) as made:
        made.spans.record(span())
        await made.spans.flush()

        assert made.spans.status()["trouble"] == "no answer in time"
        made.spans.give_up()
        assert made.spans_counted("failed") == 1
        assert made.counted("spans_pending") == 0


async def test_trouble_is_told_when_it_begins_and_when_it_ends(
    collector: FakeCollector, log_lines: io.StringIO
) -> None:
    port = collector.port
    await collector.close()
    async with rig(collector.url) as made:
        made.spans.record(span())
        for _ in range(5):
            await made.spans.flush()
        assert made.spans.status()["waiting"] == 1
        assert "ClientConnectorError" in made.spans.status()["trouble"]
        await collector.listen(port)
        for _ in range(5):
            made.spans.record(span())
            await made.spans.flush()
        await collector.close()
        made.spans.record(span())
        await made.spans.flush()

    lines = log_lines.getvalue()
    assert lines.count("the collector takes nothing") == 1
    assert lines.count("the collector takes it again") == 1
    assert KEY not in lines


async def test_who_is_cancelled_while_sending_has_lost_nothing(collector: FakeCollector) -> None:
    collector.open.clear()
    async with rig(collector.url) as made:
        async with running(made):
            made.spans.record(span())
            await collector.wait_for(lambda: collector.asked)
        collector.open.set()
        await made.spans.flush()

        assert {each.name for each in collector.spans} == {"span 1"}
        assert made.spans_counted("sent") == 1
