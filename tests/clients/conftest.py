"""A sandbox with cohorts, a proxy in front of it, and what the vendor's engine says of them."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.sandbox.server import SERVER_KEY
from tests.clients.cohorts import flag_file, people, told
from tests.clients.running import Variants, held, need_node, run
from tests.system.programs import Pair, get_json

KEY = {"Authorization": f"Api-Key {SERVER_KEY}"}


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    pair = Pair(tmp_path_factory.mktemp("with-cohorts"), flag_file())
    with pair.sandbox(), pair.serve():
        yield pair


@pytest.fixture(scope="session")
def expected(pair: Pair) -> list[Variants]:
    """What the vendor's engine answers when it is told all cohort ids."""
    need_node()
    flags = get_json(f"{pair.upstream}/sdk/v2/flags", KEY)
    lines = "\n".join(json.dumps({"flags": flags, "user": told(user)}) for user in people())
    answers = run(["node", "engine_lines.js"], lines.encode()).splitlines()
    return [held(json.loads(answer)) for answer in answers]


def go_version() -> tuple[int, ...]:
    found = re.search(rb"go(\d+)\.(\d+)", run(["go", "version"], b""))
    assert found is not None
    return tuple(map(int, found.groups()))


@pytest.fixture(scope="session")
def go_client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # Nothing that CI can install brings a Go that is new enough.
    if shutil.which("go") is None or go_version() < (1, 22):
        pytest.skip("needs go 1.22 or newer")
    program = tmp_path_factory.mktemp("go") / "client"
    run(["go", "build", "-C", "go", "-o", str(program), "."], b"")
    return program
