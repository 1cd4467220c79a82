from collections.abc import AsyncIterator

import pytest

from tests.fakes.collector import FakeCollector


@pytest.fixture
async def collector() -> AsyncIterator[FakeCollector]:
    async with FakeCollector() as collector:
        yield collector
