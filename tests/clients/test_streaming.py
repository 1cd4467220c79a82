"""Official SDKs that stream hear of changes at once, and survive the proxy's restart.

They poll once an hour: what they hear of in between, they hear by the stream.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from amplitude_experiment.deployment import deployment_runner

from tests.clients.following import (
    Seen,
    flag_file,
    followed,
    following,
    following_in_python,
    hears_of_every_change,
    survive,
)
from tests.clients.running import need_node
from tests.system.programs import Pair, wait_for

pytestmark = [
    pytest.mark.system,
    # The vendor's package leaves sockets open and uses what its own dependencies will remove.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning"),
]
Follow = Callable[[Pair, Path], AbstractContextManager[Seen]]
HURRY = 5
"""The SDKs try again after 15 seconds; their clocks run faster here, as far as they can be set."""


def by_python(pair: Pair, _directory: Path) -> AbstractContextManager[Seen]:
    return following_in_python(pair)


def by_node(pair: Pair, directory: Path, **more: int) -> AbstractContextManager[Seen]:
    need_node()
    return following(["node", "follow.js"], followed(pair, **more), directory)


@pytest.fixture
def by_go(request: pytest.FixtureRequest) -> Follow:
    program = request.getfixturevalue("go_client")
    return lambda pair, directory: following([str(program)], followed(pair), directory)


@pytest.fixture(
    params=["python", "node", pytest.param("go", marks=pytest.mark.needs("go"))],
)
def follow(request: pytest.FixtureRequest) -> Follow:
    follows: dict[str, Follow] = {"python": by_python, "node": by_node}
    found: Follow = follows.get(request.param) or request.getfixturevalue("by_go")
    return found


# A poll of the vendor's Python SDK that finds nobody ends its thread; another takes its place.
DYING_THREADS = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")


@pytest.fixture(scope="module")
def streamed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    pair = Pair(tmp_path_factory.mktemp("streamed"), flag_file("a"))
    with pair.sandbox(), pair.serve():
        yield pair


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    """A pair whose keep-alives keep up with clocks that run fast."""
    pair = Pair(tmp_path, flag_file("a"))
    config = pair.config()
    config["configuration"]["streams"] = {"keepAliveMillis": 1000}
    pair.config_file.write_text(json.dumps(config))
    return pair


def test_an_sdk_hears_of_every_change(streamed: Pair, follow: Follow, tmp_path: Path) -> None:
    streamed.flag_file.write_text(flag_file("a"))
    wait_for(lambda: streamed.variants({"user_id": "u"})["shown"]["key"] == "a", "first flags")
    with follow(streamed, tmp_path) as seen:
        hears_of_every_change(streamed, seen)


@DYING_THREADS
def test_sdks_survive_a_restart(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("", "_MAX_JITTER"):
        full = f"DEFAULT_STREAM_UPDATER_RETRY_DELAY{name}_MILLIS"
        usual = getattr(deployment_runner, full)
        monkeypatch.setattr(deployment_runner, full, usual // HURRY)

    survive(pair, by_python(pair, tmp_path), by_node(pair, tmp_path, times=HURRY))


@pytest.mark.needs("go")
@DYING_THREADS
def test_the_go_sdk_survives_a_restart(pair: Pair, tmp_path: Path, by_go: Follow) -> None:
    survive(pair, by_go(pair, tmp_path))
