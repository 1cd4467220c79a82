"""The whole proxy with Amplitude's remote evaluation behind it."""

import io
from typing import Any

import pytest

from proxy.settings.remote import RemoteEvaluation
from tests.builders import API_KEY, KEY, flag
from tests.fakes.upstream import FakeUpstream, answer, json_answer
from tests.run.whole import FLAGS, Running, pointed_at, running

VARDATA = "/sdk/v2/vardata"


def settings(up: FakeUpstream, mode: Any) -> Any:
    return pointed_at(up.url, remote_evaluation=RemoteEvaluation(mode=mode, timeout_millis=60_000))


async def variants(proxy: Running) -> dict[str, str]:
    found = await proxy.json_of(f"{proxy.clients}{VARDATA}")
    return {key: variant["key"] for key, variant in found.items()}


@pytest.mark.parametrize("mode", ["off", "fallback", "merge"])
async def test_before_flags_have_come_amplitude_answers_if_it_may(
    upstream: FakeUpstream, mode: str, log_lines: io.StringIO
) -> None:
    upstream.on("GET", FLAGS, answer(503))
    upstream.on("GET", VARDATA, json_answer({"plain": {"key": "theirs"}}))
    async with running(settings(upstream, mode)) as proxy:
        if mode == "off":
            assert await proxy.status_of(f"{proxy.clients}{VARDATA}") == 503
        else:
            assert await variants(proxy) == {"plain": "theirs"}
        status = await proxy.json_of(f"{proxy.operators}/status")

        assert await proxy.status_of(f"{proxy.clients}/ready") == 503
        assert len(upstream.at(VARDATA)) == (mode != "off")
        assert ("remote_evaluation" in status["edge"]) == (mode != "off")
        for secret in (KEY, API_KEY):
            assert secret not in str(status)
            assert secret not in log_lines.getvalue()


@pytest.mark.parametrize(
    ("mode", "expected"), [("off", "on"), ("fallback", "on"), ("merge", "theirs")]
)
async def test_remote_flags_are_amplitudes_only_when_answers_are_merged(
    upstream: FakeUpstream, mode: str, expected: str
) -> None:
    upstream.on("GET", FLAGS, json_answer([flag("plain"), flag("far", evaluationMode="remote")]))
    upstream.on("GET", VARDATA, json_answer({"far": {"key": "theirs"}, "plain": {"key": "no"}}))
    async with running(settings(upstream, mode)) as proxy:
        await proxy.wait_for(f"{proxy.clients}/ready", 200)

        assert await variants(proxy) == {"plain": "on", "far": expected}
        if mode == "merge":
            status = (await proxy.json_of(f"{proxy.operators}/status"))["edge"]
            assert status["remote_evaluation"]["answers_kept"] == 1
            async with proxy.session.get(f"{proxy.operators}/metrics") as response:
                text = await response.text()
            assert 'amplitude_proxy_relay_requests_total{outcome="miss"} 1.0' in text
            assert KEY not in text
