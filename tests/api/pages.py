"""The clients' port with what pages of web experiments ask for, before a scripted upstream."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from proxy.metrics import Metrics
from proxy.run.web import Web
from proxy.settings.schema import Settings
from proxy.settings.web import WebExperiment
from proxy.settings.zones import Urls
from proxy.upstream.client import Deadlines, UpstreamClient, open_session
from tests import builders
from tests.fakes.upstream import FakeUpstream
from tests.serving import Served, serving

FORWARD = {"mode": "forward", "timeout_millis": 10_000}


class Paged:
    """What is served, how the copies behind it do, and their time, which the test moves."""

    def __init__(self, metrics: Metrics) -> None:
        self.seconds = 0.0
        self.status: Callable[[], dict[str, Any]]
        self.served: Served
        self._metrics = metrics

    def answers(self, what: str, outcome: str) -> float:
        return self.served.counted("web_answers_total", what=what, outcome=outcome)

    def calls(self, what: str, outcome: str) -> float:
        name, labels = "amplitude_proxy_web_calls_total", {"what": what, "outcome": outcome}
        return self._metrics.registry.get_sample_value(name, labels) or 0.0


@asynccontextmanager
async def paged(
    up: FakeUpstream, flags: list[dict[str, Any]], *, forward: dict[str, Any] = FORWARD, **more: Any
) -> AsyncIterator[Paged]:
    """Serve `flags`; the settings are those of `forward`, the time-out long enough for any CI."""
    urls = Urls(flags=up.url, remote=up.url, scripts=up.url)
    chosen: Settings = builders.settings(urls=urls, web_experiment=WebExperiment(**forward), **more)
    pages = Paged(metrics := Metrics())
    async with AsyncExitStack() as opened:
        session = await opened.enter_async_context(open_session())
        client = UpstreamClient(session, urls, deadlines=Deadlines(connect=5, total=30))
        web = Web(chosen, client, metrics, lambda: pages.seconds)
        features = web.open(opened)
        pages.status = web.status
        pages.served = await opened.enter_async_context(serving(flags, chosen, features=features))
        yield pages
