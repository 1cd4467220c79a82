from collections.abc import AsyncIterator, Iterator, MutableMapping
from typing import Any

import pytest
from structlog.testing import capture_logs

from proxy.settings.zones import Urls
from proxy.upstream.client import Deadlines, UpstreamClient, open_session
from tests.fakes.upstream import FakeUpstream


@pytest.fixture
def log_lines() -> Iterator[list[MutableMapping[str, Any]]]:
    with capture_logs() as lines:
        yield lines


@pytest.fixture
async def client(up: FakeUpstream) -> AsyncIterator[UpstreamClient]:
    deadlines = Deadlines(connect=0.3, total=0.3)
    async with open_session() as session:
        yield UpstreamClient(session, Urls(analytics=f"{up.url}/batch"), deadlines=deadlines)
