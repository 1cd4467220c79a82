from collections.abc import Iterator

import pytest

from tests.cli.answering import Served, answering


@pytest.fixture
def served() -> Iterator[Served]:
    """A URL, the answers of its paths, and the headers of what was asked."""
    with answering() as served:
        yield served
