import asyncio
import io
import os
import resource
import signal
import socket
from pathlib import Path

import msgspec
import pytest

from proxy.errors import SettingsError
from proxy.run.serve import main, raise_file_limit, serve
from proxy.run.stop import CANNOT_START, STOPPED
from proxy.secret import Secret
from proxy.settings.schema import OperatorsPort, Project
from proxy.settings.tls import Tls
from tests import builders
from tests.builders import API_KEY, KEY
from tests.fakes.upstream import FakeUpstream, answer, hang, json_answer
from tests.run.whole import AUTHORISED, BATCH, FLAGS, INGESTED, pointed_at, running


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

        assert await proxy.exit_code == STOPPED
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
        assert await proxy.exit_code == STOPPED


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

        async with asyncio.timeout(30):
            assert await proxy.exit_code == STOPPED
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

        assert await serve(settings) == CANNOT_START

    (line,) = log_lines.getvalue().splitlines()
    assert msgspec.json.decode(line)["port"] == port
    assert "Traceback" not in line


async def test_tls_files_that_broke_since_they_were_checked_are_named(tmp_path: Path) -> None:
    for name in ("cert", "key"):
        (tmp_path / name).write_text("half of a fi")
    tls = Tls(cert_file=str(tmp_path / "cert"), key_file=str(tmp_path / "key"))

    with pytest.raises(SettingsError, match=r"configuration\.tls\.certFile: expected a PEM"):
        await serve(builders.settings(tls=tls))


def test_the_program_runs_on_its_own_loop() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        assert main(builders.settings(port=other.getsockname()[1])) == CANNOT_START


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


def test_the_file_limit_is_raised_as_far_as_the_system_allows() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    low = 200
    resource.setrlimit(resource.RLIMIT_NOFILE, (low, before[1]))
    try:
        raised = raise_file_limit()

        assert raised == resource.getrlimit(resource.RLIMIT_NOFILE)[0] > low
        assert raise_file_limit() == raised
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
        assert await proxy.exit_code == STOPPED

    upstream.on("POST", BATCH, json_answer(INGESTED))
    before = len(upstream.at(BATCH))
    async with running(settings):
        await upstream.received(before + 1, BATCH)

    first, *_, last = (request.json["events"] for request in upstream.at(BATCH))
    assert first == last
