from collections.abc import AsyncIterator

import pytest

from tests.sync.rig import Rig, rigged


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    async with rigged() as one:
        yield one
