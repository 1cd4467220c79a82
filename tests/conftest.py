"""What tests of many rooms share; and how many cases laws are tried with, and which."""

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
_PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("hunt", _PATIENT, max_examples=4_000)
# The same cases each time: a change lands or not for what it does. `make hunt` looks for others.
settings.register_profile("ci", _PATIENT, max_examples=100, derandomize=True)
settings.load_profile(os.environ.get("CASES") or ("ci" if os.environ.get("CI") else "desk"))


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
