"""What tests of many rooms share; and thousands of cases in CI, some hundreds at the desk."""

import io
import logging
import os
from collections.abc import AsyncIterator, Iterator

import pytest
import structlog
from hypothesis import HealthCheck, settings

from proxy import logs
from tests.fakes.upstream import FakeUpstream

settings.register_profile("desk", max_examples=100, deadline=None)
settings.register_profile(
    "ci", max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("ci" if os.environ.get("CI") else "desk")


@pytest.fixture
async def up() -> AsyncIterator[FakeUpstream]:
    """Upstream's place, taken by a real server with a script and a diary."""
    async with FakeUpstream() as fake:
        yield fake


@pytest.fixture
def log_lines() -> Iterator[io.StringIO]:
    """Everything that is logged while the test runs, as JSON lines."""
    out = io.StringIO()
    logs.configure(level="debug", style="json", stream=out)
    yield out
    structlog.reset_defaults()
    logging.basicConfig(force=True)
