import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from proxy.admin.pages import Pages
from proxy.admin.server import OperatorsServer
from proxy.api.sockets import bind
from proxy.metrics import OFFICIAL_COUNTERS, Metrics


class State:
    def __init__(self) -> None:
        self.is_ready = True
        self.parts = [("prod", True, "fresh"), ("staging", True, "fresh")]
        self.status: dict[str, Any] = {"version": "1"}
        self.metrics = Metrics()


@asynccontextmanager
async def operators(state: State, path: str = "metrics") -> AsyncIterator[aiohttp.ClientSession]:
    pages = Pages(
        state.metrics.registry,
        metrics_path=path,
        is_ready=lambda: state.is_ready,
        readiness=lambda: state.parts,
        status=lambda: state.status,
    )
    server = OperatorsServer(pages)
    bound = bind("127.0.0.1", 0)
    base = f"http://127.0.0.1:{bound[0].getsockname()[1]}"
    await server.open(bound)
    try:
        async with aiohttp.ClientSession(base) as session:
            yield session
    finally:
        await server.close()


async def test_liveness_is_an_answer() -> None:
    async with operators(State()) as client, client.get("/livez") as answer:
        assert (answer.status, await answer.text()) == (200, "OK")


async def test_readiness_goes_both_ways_and_gives_its_reasons() -> None:
    state = State()
    async with operators(state) as client:
        for ready, reason in ((True, "fresh"), (False, "no flags yet"), (True, "fresh")):
            state.is_ready, state.parts[1] = ready, ("staging", ready, reason)
            async with client.get("/readyz") as answer:
                assert answer.status == (200 if ready else 503)
                body = await answer.json()
            assert body["ready"] is ready
            assert body["parts"][1] == {"name": "staging", "ready": ready, "reason": reason}


async def test_every_official_metric_is_there_from_the_start() -> None:
    async with operators(State()) as client, client.get("/metrics") as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        families = list(text_string_to_metric_families(await answer.text()))

    samples = {sample.name: sample.value for family in families for sample in family.samples}
    for name in OFFICIAL_COUNTERS:
        assert samples[f"amplitude_proxy_{name}_total"] == 0


@pytest.mark.parametrize("path", ["prom", "/prom", "/prom/"])
async def test_the_path_of_the_metrics_can_be_chosen(path: str) -> None:
    async with operators(State(), path) as client:
        assert (await client.get("/prom")).status == 200
        assert (await client.get("/metrics")).status == 404


async def test_the_status_is_json() -> None:
    async with operators(State()) as client, client.get("/status") as answer:
        assert await answer.json() == {"version": "1"}


async def test_other_paths_and_methods_are_refused() -> None:
    async with operators(State()) as client:
        assert (await client.get("/shutdown")).status == 404
        assert (await client.post("/livez")).status == 405
        assert (await client.head("/livez")).status == 200


async def test_a_page_that_fails_says_nothing_of_its_inside(log_lines: io.StringIO) -> None:
    state = State()
    state.status = {"hidden": object()}
    async with operators(state) as client, client.get("/status") as answer:
        assert answer.status == 500
        assert "hidden" not in await answer.text()
    assert "page failed" in log_lines.getvalue()


async def test_a_server_that_was_never_opened_can_be_closed() -> None:
    state = State()
    pages = Pages(
        state.metrics.registry,
        metrics_path="m",
        is_ready=lambda: True,
        readiness=list,
        status=lambda: state.status,
    )

    await OperatorsServer(pages).close()
