from collections.abc import AsyncIterator

import pytest

from tests.builders import flag
from tests.fakes.upstream import FakeUpstream, json_answer
from tests.run.whole import BATCH, FLAGS, INGESTED


@pytest.fixture
async def upstream() -> AsyncIterator[FakeUpstream]:
    async with FakeUpstream() as upstream:
        upstream.on("GET", FLAGS, json_answer([flag("plain")]))
        upstream.on("POST", BATCH, json_answer(INGESTED))
        yield upstream
