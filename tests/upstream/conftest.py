from collections.abc import AsyncIterator

import pytest

from proxy.settings.zones import Urls
from proxy.upstream.client import Deadlines, UpstreamClient, open_session
from tests.fakes.upstream import FakeUpstream


def urls_of(base: str) -> Urls:
    return Urls(
        flags=base,
        cohorts=base,
        management=base,
        stream=base,
        remote=base,
        scripts=base,
        analytics=f"{base}/batch",
        exposures=f"{base}/batch",
    )


@pytest.fixture
async def client(up: FakeUpstream) -> AsyncIterator[UpstreamClient]:
    deadlines = Deadlines(connect=5, total=5)
    async with open_session() as session:
        yield UpstreamClient(session, urls_of(up.url), deadlines=deadlines, max_body_bytes=100_000)
