import asyncio
import io
import os
import resource
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from proxy import run
from proxy.metrics import Metrics
from proxy.secret import Secret
from proxy.settings.reporting import Assignment
from proxy.settings.schema import OperatorsPort, Project, Settings
from proxy.settings.zones import Urls
from tests import builders
from tests.builders import API_KEY, KEY, flag
from tests.fakes.upstream import FakeUpstream, answer, hang, json_answer

FLAGS, BATCH = "/sdk/v2/flags", "/batch"
AUTHORISED = {"Authorization": f"Api-Key {KEY}"}
INGESTED = {"code": 200, "events_ingested": 1, "payload_size_bytes": 1, "server_upload_time": 1}


@pytest.fixture
async def upstream() -> AsyncIterator[FakeUpstream]:
    async with FakeUpstream() as upstream:
        upstream.on("GET", FLAGS, json_answer([flag("plain")]))
        upstream.on("POST", BATCH, json_answer(INGESTED))
        yield upstream


def pointed_at(url: str, **changes: Any) -> Settings:
    urls = Urls(flags=url, cohorts=url, management=url, stream=url, analytics=url + BATCH)
    given: dict[str, Any] = {
        "urls": urls,
        "drain_deadline_millis": 5000,
        "assignment": Assignment(event_upload_period_millis=3_600_000),
    }
    return builders.settings(**{**given, **changes})


class Running:
    """The whole proxy in this process, and clients for its two ports."""

    def __init__(self, exit_code: asyncio.Task[int], ports: run.Ports) -> None:
        self.exit_code = exit_code
        self.ports = ports
        self.clients = f"http://127.0.0.1:{ports.clients}"
        self.operators = f"http://127.0.0.1:{ports.operators}"
        self.session = aiohttp.ClientSession()

    async def status_of(self, url: str) -> int:
        async with self.session.get(url, headers=AUTHORISED) as response:
            await response.read()
            return response.status

    async def json_of(self, url: str) -> Any:
        async with self.session.get(url, headers=AUTHORISED) as response:
            return await response.json(content_type=None)

    async def wait_for(self, url: str, status: int) -> None:
        async with asyncio.timeout(10):
            while await self.status_of(url) != status:
                await asyncio.sleep(0.01)


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Running]:
    ports: asyncio.Future[run.Ports] = asyncio.get_running_loop().create_future()
    serving = asyncio.ensure_future(run.serve(settings, ready=ports.set_result))
    proxy = Running(serving, await ports)
    try:
        yield proxy
    finally:
        await proxy.session.close()
        if not serving.done():
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGINT)
            await serving


async def test_it_syncs_answers_reports_and_stops(
    upstream: FakeUpstream, log_lines: io.StringIO
) -> None:
    async with running(pointed_at(upstream.url)) as proxy:
        await proxy.wait_for(proxy.operators + "/readyz", 200)
        user = {"user_id": "u1"}
        async with proxy.session.post(
            proxy.clients + "/sdk/v2/vardata", json=user, headers=AUTHORISED
        ) as response:
            assert (await response.json())["plain"]["key"] == "on"
        assert await proxy.status_of(proxy.clients + "/ready") == 200
        assert upstream.at(BATCH) == []

        os.kill(os.getpid(), signal.SIGTERM)

        assert await proxy.exit_code == run.STOPPED
    (batch,) = upstream.at(BATCH)
    assert batch.json["events"][0]["user_id"] == "u1"
    assert "listening" in log_lines.getvalue()
    for secret in (KEY, API_KEY, "test-secret"):
        assert secret not in log_lines.getvalue()


async def test_it_listens_at_once_and_says_503_while_upstream_is_down(
    upstream: FakeUpstream,
) -> None:
    upstream.on("GET", FLAGS, answer(503))
    async with running(pointed_at(upstream.url)) as proxy:
        for path, status in [("/sdk/v2/vardata", 503), ("/status", 200), ("/ready", 503)]:
            assert await proxy.status_of(proxy.clients + path) == status
        assert await proxy.status_of(proxy.operators + "/livez") == 200
        assert await proxy.status_of(proxy.operators + "/readyz") == 503


async def test_the_status_page_tells_everything_but_keys(upstream: FakeUpstream) -> None:
    async with running(pointed_at(upstream.url, notices=("mind this",))) as proxy:
        await proxy.wait_for(proxy.operators + "/readyz", 200)

        page = await proxy.json_of(proxy.operators + "/status")

        assert page["ready"] is True
        assert page["notices"] == ["mind this"]
        assert page["deployments"]
        assert page["events"]
        assert page["loops_down"] == []
        for secret in (KEY, API_KEY, "test-secret"):
            assert secret not in str(page)
        async with proxy.session.get(proxy.operators + "/metrics") as response:
            text = await response.text()
        assert "amplitude_proxy_build_info" in text
        for secret in (KEY, API_KEY, "test-secret"):
            assert secret not in text


async def test_readiness_falls_at_once_and_requests_are_still_answered(
    upstream: FakeUpstream,
) -> None:
    async with running(pointed_at(upstream.url)) as proxy:
        await proxy.wait_for(proxy.clients + "/ready", 200)

        os.kill(os.getpid(), signal.SIGTERM)
        await proxy.wait_for(proxy.operators + "/readyz", 503)

        assert await proxy.status_of(proxy.clients + "/sdk/v2/vardata") == 200
        assert await proxy.exit_code == run.STOPPED


async def test_a_second_signal_hurries(upstream: FakeUpstream, log_lines: io.StringIO) -> None:
    upstream.on("POST", BATCH, hang())
    settings = pointed_at(upstream.url, drain_deadline_millis=60_000)
    async with running(settings) as proxy:
        await proxy.wait_for(proxy.clients + "/ready", 200)
        user = msgspec.json.encode({"user_id": "u1"})
        url = proxy.clients + "/sdk/v2/vardata"
        async with proxy.session.post(url, data=user, headers=AUTHORISED) as response:
            assert response.status == 200
        os.kill(os.getpid(), signal.SIGTERM)
        await upstream.received(1, BATCH)

        os.kill(os.getpid(), signal.SIGINT)

        async with asyncio.timeout(3):
            assert await proxy.exit_code == run.STOPPED
    assert "hurrying to stop" in log_lines.getvalue()
    assert "stopped before all events were sent" in log_lines.getvalue()


@pytest.mark.parametrize("which", ["clients", "operators"])
async def test_a_port_that_is_taken_is_said_in_one_line(which: str, log_lines: io.StringIO) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        settings = (
            builders.settings(port=port)
            if which == "clients"
            else builders.settings(metrics=OperatorsPort(host="127.0.0.1", port=port))
        )

        assert await run.serve(settings) == run.CANNOT_START

    (line,) = log_lines.getvalue().splitlines()
    assert msgspec.json.decode(line)["port"] == port
    assert "Traceback" not in line


def test_the_program_runs_on_its_own_loop() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        assert run.main(builders.settings(port=other.getsockname()[1])) == run.CANNOT_START


async def test_deployments_are_found_and_unknown_keys_wait_for_them(
    upstream: FakeUpstream,
) -> None:
    upstream.on("GET", "/api/1/deployments", answer(500))
    project = Project(
        api_key=Secret(API_KEY), secret_key=Secret("test-secret"), management_key=Secret("manage")
    )
    async with running(pointed_at(upstream.url, projects=(project,))) as proxy:
        assert await proxy.status_of(proxy.clients + "/sdk/v2/vardata") == 503
        assert await proxy.status_of(proxy.operators + "/readyz") == 503


@pytest.mark.looptime
async def test_a_loop_that_dies_is_restarted_and_in_the_end_given_up(
    log_lines: io.StringIO,
) -> None:
    metrics, stop = Metrics(), run.Stop()
    loops = run.Loops(metrics, stop)
    lives = 0

    async def body() -> None:
        nonlocal lives
        lives += 1
        if lives == 2:
            assert loops.down() == []
        raise RuntimeError("boom")

    async with loops.running("sync", body):
        while lives < 2:
            assert loops.down() in ([], [("loop sync", False, "died: RuntimeError")])
            await asyncio.sleep(0.5)
        assert not stop.asked.is_set()
        await stop.asked.wait()

    assert stop.exit_code == run.LOOP_DIED
    assert lives == 7
    name = "amplitude_proxy_loop_deaths_total"
    assert metrics.registry.get_sample_value(name, {"loop": "sync"}) == 7
    assert "boom" in log_lines.getvalue()


def test_the_file_limit_is_raised_as_far_as_the_system_allows() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    low = 200
    resource.setrlimit(resource.RLIMIT_NOFILE, (low, before[1]))
    try:
        raised = run.raise_file_limit()

        assert raised == resource.getrlimit(resource.RLIMIT_NOFILE)[0] > low
        assert run.raise_file_limit() == raised
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


async def test_events_that_a_stop_could_not_send_are_sent_by_the_next_start(
    upstream: FakeUpstream, tmp_path: Path
) -> None:
    upstream.on("POST", BATCH, answer(503))
    settings = pointed_at(upstream.url, data_dir=str(tmp_path))
    async with running(settings) as proxy:
        await proxy.wait_for(proxy.operators + "/readyz", 200)
        async with proxy.session.post(
            proxy.clients + "/sdk/v2/vardata", json={"user_id": "u1"}, headers=AUTHORISED
        ) as response:
            assert response.status == 200
        page = await proxy.json_of(proxy.operators + "/status")
        assert page["spool"]["place"] == "disk"
        os.kill(os.getpid(), signal.SIGTERM)
        assert await proxy.exit_code == run.STOPPED

    upstream.on("POST", BATCH, json_answer(INGESTED))
    before = len(upstream.at(BATCH))
    async with running(settings):
        await upstream.received(before + 1, BATCH)

    first, *_, last = (request.json["events"] for request in upstream.at(BATCH))
    assert first == last
