"""The clients' port, served."""

import io
import logging
from collections.abc import AsyncIterator, Iterator

import pytest
import structlog

from proxy import logs
from tests.serving import Served, serving


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    """The clients' port in this process, on a free port, with a few flags in force."""
    async with serving() as served:
        yield served


@pytest.fixture
def log_lines() -> Iterator[io.StringIO]:
    """Everything that is logged while the test runs."""
    out = io.StringIO()
    logs.configure(level="debug", style="json", stream=out)
    yield out
    structlog.reset_defaults()
    logging.basicConfig(force=True)
