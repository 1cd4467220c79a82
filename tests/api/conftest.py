"""The clients' port, served."""

from collections.abc import AsyncIterator

import pytest

from tests.serving import Served, serving


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    """The clients' port in this process, on a free port, with a few flags in force."""
    async with serving() as served:
        yield served
