"""The whole proxy with a collector beside it."""

from __future__ import annotations

import asyncio
import base64
import io
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from proxy.settings.otel import Otel, OtelMetrics, OtelTraces
from proxy.settings.remote import RemoteEvaluation
from proxy.settings.schema import Settings
from proxy.telemetry.attributes import TABLE
from tests.builders import API_KEY, KEY, flag
from tests.fakes.collector import FakeCollector, said
from tests.fakes.upstream import FakeUpstream, json_answer
from tests.run.whole import AUTHORISED, BATCH, FLAGS, Running, pointed_at, running
from tests.telemetry.readings import samples_sent

VARDATA = "/sdk/v2/vardata"
REQUEST = f"GET {VARDATA}"
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED, NOT_SAMPLED = (f"00-{TRACE}-{PARENT}-{flags}" for flags in ("01", "00"))
NEVER = 3_600_000


@pytest.fixture
async def collector() -> AsyncIterator[FakeCollector]:
    async with FakeCollector() as collector:
        yield collector


def settings(
    up: FakeUpstream,
    collector: FakeCollector,
    ratio: str = "1",
    interval: int = 100,
    otel: dict[str, Any] | None = None,
    **changes: Any,
) -> Settings:
    given = {
        "enabled": True,
        "endpoint": collector.url,
        "traces": OtelTraces(sample_ratio=ratio, interval_millis=interval),
        "metrics": OtelMetrics(interval_millis=interval),
        **(otel or {}),
    }
    return pointed_at(up.url, otel=Otel(**given), **changes)


async def ask(proxy: Running, path: str = VARDATA, **headers: str) -> int:
    given = {**AUTHORISED, **{name.replace("_", "-"): text for name, text in headers.items()}}
    async with proxy.session.get(f"{proxy.clients}{path}", headers=given) as response:
        await response.read()
        return response.status


async def post(proxy: Running, user: Any) -> int:
    url, body = f"{proxy.clients}{VARDATA}", msgspec.json.encode(user)
    async with proxy.session.post(url, data=body, headers=AUTHORISED) as response:
        await response.read()
        return response.status


async def status_of(proxy: Running) -> dict[str, Any]:
    found: dict[str, Any] = (await proxy.json_of(f"{proxy.operators}/status"))["edge"]["otel"]
    return found


async def parts_of(proxy: Running) -> list[dict[str, Any]]:
    status = await status_of(proxy)
    assert set(status) == {"traces", "metrics"}
    return list(status.values())


def named(collector: FakeCollector, name: str) -> list[Any]:
    return [span for span in collector.spans if span.name == name]


async def test_a_request_is_a_span_that_says_what_answered_it(
    upstream: FakeUpstream, collector: FakeCollector
) -> None:
    async with running(settings(upstream, collector)) as proxy:
        await proxy.wait_for(f"{proxy.clients}/ready", 200)
        (deployment,) = (await proxy.json_of(f"{proxy.operators}/status"))["deployments"]
        for _ in range(3):
            assert await ask(proxy) == 200
        await collector.wait_for(lambda: len(named(collector, REQUEST)) == 3)

        span = named(collector, REQUEST)[0]
        assert span.kind == span.SPAN_KIND_SERVER
        assert span.parent_span_id == b""
        assert span.end_time_unix_nano >= span.start_time_unix_nano
        assert said(span.attributes) == {
            "http.request.method": "GET",
            "http.route": VARDATA,
            "http.response.status_code": 200,
            "url.scheme": "http",
            "server.port": proxy.ports.clients,
            "amplitude_proxy.deployment": deployment["deployment"],
            "amplitude_proxy.source": "poll",
            "amplitude_proxy.flags": 1,
            "amplitude_proxy.cache_hit": False,
        }
        assert said(named(collector, REQUEST)[-1].attributes)["amplitude_proxy.cache_hit"] is True
        resource = said(collector.trace_requests[0].resource_spans[0].resource.attributes)
        assert resource.pop("service.instance.id")
        assert resource == {"service.name": "evaluation-proxy", "service.version": "0.1.0"}


async def test_a_trace_goes_on_or_stays_unsampled_as_the_request_says(
    upstream: FakeUpstream, collector: FakeCollector
) -> None:
    async with running(settings(upstream, collector, "0")) as proxy:
        await proxy.wait_for(f"{proxy.clients}/ready", 200)
        assert await ask(proxy) == 200
        assert await ask(proxy, traceparent=NOT_SAMPLED) == 200
        assert await ask(proxy, traceparent=SAMPLED, tracestate="vendor=1") == 200
        span = await collector.wait_for_span(REQUEST)

        assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, PARENT)
        assert span.trace_state == "vendor=1"
        assert len(named(collector, REQUEST)) == 1


async def test_answers_that_take_their_turn_are_traced_too(
    upstream: FakeUpstream, collector: FakeCollector
) -> None:
    upstream.on("GET", FLAGS, json_answer([flag(f"flag-{n}", payload="x" * 99) for n in range(99)]))
    async with running(settings(upstream, collector)) as proxy:
        await proxy.wait_for(f"{proxy.clients}/ready", 200)
        assert await post(proxy, {"user_id": "u"}) == 200
        assert await ask(proxy, FLAGS) == 200
        assert await ask(proxy, "/nobody/knows") == 404
        assert await ask(proxy, traceparent=NOT_SAMPLED, Connection="close") == 200
        posted = await collector.wait_for_span(f"POST {VARDATA}")
        configs = await collector.wait_for_span(f"GET {FLAGS}")
        unknown = await collector.wait_for_span("GET")

        assert said(posted.attributes)["amplitude_proxy.flags"] == 99
        assert said(posted.attributes)["amplitude_proxy.cache_hit"] is False
        assert said(configs.attributes)["http.response.status_code"] == 200
        assert "amplitude_proxy.cache_hit" not in said(configs.attributes)
        assert "http.route" not in said(unknown.attributes)
        assert not named(collector, REQUEST)


async def test_a_stream_is_a_span_until_it_begins(
    upstream: FakeUpstream, collector: FakeCollector
) -> None:
    async with running(settings(upstream, collector)) as proxy:
        await proxy.wait_for(f"{proxy.clients}/ready", 200)
        url = f"{proxy.clients}/sdk/stream/v1/flags"
        async with proxy.session.get(url, headers=AUTHORISED) as response:
            assert response.status == 200
            span = await collector.wait_for_span("GET /sdk/stream/v1/flags")

        assert said(span.attributes)["http.response.status_code"] == 200


async def test_a_call_made_for_a_request_is_its_child_and_carries_no_context(
    upstream: FakeUpstream, collector: FakeCollector
) -> None:
    upstream.on("GET", FLAGS, json_answer([flag("plain"), flag("far", evaluationMode="remote")]))
    upstream.on("GET", VARDATA, json_answer({"far": {"key": "theirs"}}))
    remote = RemoteEvaluation(mode="merge", timeout_millis=60_000)
    async with running(settings(upstream, collector, "0", remote_evaluation=remote)) as proxy:
        await proxy.wait_for(f"{proxy.clients}/ready", 200)
        assert await ask(proxy, X_Amp_Exp_User=encoded({"user_id": "other"})) == 200
        assert await ask(proxy, traceparent=SAMPLED, tracestate="vendor=1") == 200
        call = await collector.wait_for_span("GET evaluation")
        request = await collector.wait_for_span(REQUEST)

        assert call.kind == call.SPAN_KIND_CLIENT
        assert call.parent_span_id == request.span_id
        assert call.trace_id == request.trace_id
        assert said(call.attributes)["amplitude_proxy.upstream"] == "evaluation"
        assert said(request.attributes)["amplitude_proxy.flags"] == 2
        assert len(upstream.at(VARDATA)) == 2
        assert len(named(collector, "GET evaluation")) == 1
        for asked in upstream.requests:
            assert not {"traceparent", "tracestate"} & {name.lower() for name in asked.headers}


def encoded(user: Any) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(user)).decode().rstrip("=")


async def test_fetches_and_batches_are_spans_of_their_own(
    upstream: FakeUpstream, collector: FakeCollector
) -> None:
    upstream.on("GET", FLAGS, json_answer([flag("plain", experimentKey="exp-1")]))
    async with running(settings(upstream, collector, "0", interval=NEVER)) as proxy:
        await proxy.wait_for(f"{proxy.clients}/ready", 200)
        assert await ask(proxy, X_Amp_Exp_User=encoded({"user_id": "user-1"})) == 200
        await stopped(proxy)

    fetch, batch = (named(collector, name)[0] for name in ("GET flags", "POST events"))
    for span in (fetch, batch):
        assert span.kind == span.SPAN_KIND_CLIENT
        assert span.parent_span_id == b""
        assert said(span.attributes)["http.response.status_code"] == 200
        assert said(span.attributes)["server.address"] == "127.0.0.1"
    assert len(upstream.at(BATCH)) == 1


async def stopped(proxy: Running) -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    async with asyncio.timeout(30):
        await asyncio.shield(proxy.exit_code)


async def test_a_call_that_fails_says_how(upstream: FakeUpstream, collector: FakeCollector) -> None:
    upstream.on("GET", FLAGS, json_answer({}, 503))
    async with running(settings(upstream, collector)):
        span = await collector.wait_for_span("GET flags")
        assert said(span.attributes)["error.type"] == "503"
        assert span.status.code == span.status.STATUS_CODE_ERROR

    await upstream.__aexit__(None, None, None)
    async with running(settings(upstream, collector)):
        await collector.wait_for(lambda: "ClientConnectorError" in errors(collector))


def errors(collector: FakeCollector) -> set[str]:
    return {said(span.attributes).get("error.type", "") for span in collector.spans}


async def test_metrics_arrive_as_the_operators_port_shows_them(
    upstream: FakeUpstream, collector: FakeCollector
) -> None:
    async with running(settings(upstream, collector)) as proxy:
        await proxy.wait_for(f"{proxy.clients}/ready", 200)
        for _ in range(5):
            assert await ask(proxy) == 200
        async with proxy.session.get(f"{proxy.operators}/metrics") as response:
            page = await response.text()
        shown = {
            line.split("{")[0].split(" ")[0]
            for line in page.splitlines()
            if not line.startswith("#") and "_created" not in line
        }
        now = len(collector.metric_requests)
        await collector.wait_for(lambda: len(collector.metric_requests) > now + 1)

    sent = samples_sent(collector.metric_requests[now + 1])
    assert shown <= {name for name, _ in sent}
    for name in ("request_total", "evaluation_request_total", "evaluation_total"):
        key = f"amplitude_proxy_{name}"
        assert f"{key} {sent[key, ()]}" in page
    assert sent["amplitude_proxy_evaluation_request_total", ()] == 5


async def test_nothing_secret_and_nobodys_name_leaves(
    upstream: FakeUpstream, collector: FakeCollector, log_lines: io.StringIO
) -> None:
    async with running(settings(upstream, collector)) as proxy:
        await proxy.wait_for(f"{proxy.clients}/ready", 200)
        await post(proxy, {"user_id": "geheim-1", "device_id": "geheim-2"})
        await ask(proxy, X_Amp_Exp_User=encoded({"user_id": "geheim-3"}), User_Agent="geheim-4")
        await ask(proxy, f"{VARDATA}?flag_keys=geheim-5&geheim-6=7")
        await ask(proxy, "/geheim-8/../geheim-9", Authorization="Api-Key server-geheim")
        await ask(proxy, "/sdk/v2/memberships/geheim-1/geheim-2")
        await ask(proxy, "/sdk/v1/cohort/geheim-1", traceparent="geheim", tracestate="geheim")
        await ask(proxy, "/script/client-geheim.experiment.js")
        page = str(await proxy.json_of(f"{proxy.operators}/status"))
        await stopped(proxy)

    everything = b"".join(collector.raw)
    assert b"evaluation-proxy" in everything
    for secret in (KEY, API_KEY, "geheim", encoded({"user_id": "geheim-3"})[:12]):
        assert secret.encode() not in everything
        assert secret not in page
        assert secret not in log_lines.getvalue()
    for span in collector.spans:
        assert {one.key for one in span.attributes} <= set(TABLE)


async def test_log_lines_of_a_traced_request_name_its_trace(
    upstream: FakeUpstream, collector: FakeCollector, log_lines: io.StringIO
) -> None:
    async with running(settings(upstream, collector, "0")) as proxy:
        await proxy.wait_for(f"{proxy.clients}/ready", 200)
        assert await ask(proxy, Authorization="Api-Key no", traceparent=SAMPLED) == 401

    lines = [msgspec.json.decode(line) for line in log_lines.getvalue().splitlines()]
    assert {line["event"] for line in lines if line.get("trace_id") == TRACE} == {
        "unknown deployment key refused"
    }
    assert any("trace_id" not in line for line in lines)


async def test_without_a_collector_all_goes_on_and_it_is_told_once(
    upstream: FakeUpstream, collector: FakeCollector, log_lines: io.StringIO
) -> None:
    port = collector.port
    await collector.close()
    async with running(settings(upstream, collector)) as proxy:
        await proxy.wait_for(f"{proxy.clients}/ready", 200)
        assert await ask(proxy) == 200
        async with asyncio.timeout(30):
            while not all("Connector" in part["trouble"] for part in await parts_of(proxy)):
                pass
            await collector.listen(port)
            await collector.wait_for_span(REQUEST)
            while any(part["trouble"] for part in await parts_of(proxy)):
                pass
        assert await proxy.status_of(f"{proxy.operators}/readyz") == 200

    lines = log_lines.getvalue()
    assert lines.count("the collector takes nothing") == 2
    assert lines.count("the collector takes it again") == 2


async def test_a_stop_sends_what_is_left(upstream: FakeUpstream, collector: FakeCollector) -> None:
    async with running(settings(upstream, collector, interval=NEVER)) as proxy:
        await proxy.wait_for(f"{proxy.clients}/ready", 200)
        assert await ask(proxy) == 200
        assert not collector.raw
        await stopped(proxy)

    assert len(named(collector, REQUEST)) == 1
    (last,) = collector.metric_requests
    assert samples_sent(last)["amplitude_proxy_evaluation_request_total", ()] == 1


async def test_a_stop_waits_for_no_collector_beyond_its_deadline(
    upstream: FakeUpstream, collector: FakeCollector
) -> None:
    collector.open.clear()
    slow = settings(
        upstream,
        collector,
        interval=NEVER,
        otel={"timeout_millis": NEVER},
        drain_deadline_millis=1500,
    )
    async with running(slow) as proxy:
        await proxy.wait_for(f"{proxy.clients}/ready", 200)
        assert await ask(proxy) == 200
        await stopped(proxy)

    assert collector.asked == 2
    assert not collector.raw


@pytest.mark.parametrize(("traces", "metrics"), [(True, False), (False, True)])
async def test_each_of_the_two_can_be_left_out(
    upstream: FakeUpstream, collector: FakeCollector, traces: bool, metrics: bool
) -> None:
    otel = {
        "traces": OtelTraces(
            enabled=traces, sample_ratio="1", endpoint=f"{collector.url}/v1/traces"
        ),
        "metrics": OtelMetrics(enabled=metrics, endpoint=f"{collector.url}/v1/metrics"),
    }
    async with running(settings(upstream, collector, otel=otel)) as proxy:
        await proxy.wait_for(f"{proxy.clients}/ready", 200)
        assert await ask(proxy, traceparent=SAMPLED) == 200
        assert set(await status_of(proxy)) == ({"traces"} if traces else {"metrics"})
        await stopped(proxy)

    assert bool(collector.spans) is traces
    assert bool(collector.metric_requests) is metrics


async def test_while_it_is_off_there_is_nothing_of_it(upstream: FakeUpstream) -> None:
    async with running(pointed_at(upstream.url)) as proxy:
        await proxy.wait_for(f"{proxy.clients}/ready", 200)
        assert await ask(proxy, traceparent=SAMPLED) == 200

        assert "otel" not in (await proxy.json_of(f"{proxy.operators}/status"))["edge"]


def test_while_it_is_off_nothing_of_it_is_loaded() -> None:
    """A process of its own: others of ours have loaded it."""
    program = """
import os, signal, sys
from proxy.cli.main import main
from proxy.run import serve
from tests.run.whole import pointed_at
def ready(ports):
    loaded = [name for name in sys.modules if name.startswith(("opentelemetry", "google.protobuf"))]
    print("loaded:", loaded)
    os.kill(os.getpid(), signal.SIGTERM); os.kill(os.getpid(), signal.SIGINT)
sys.exit(serve.main(pointed_at("http://127.0.0.1:9"), ready=ready))
"""
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)

    assert done.returncode == 0, done.stderr
    assert "loaded: []" in done.stdout
