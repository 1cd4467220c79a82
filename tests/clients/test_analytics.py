"""Official analytics SDKs, unmodified, lose no event behind the proxy, whatever goes down."""

import json
import shutil
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import amplitude_experiment as official
import pytest
from amplitude import Amplitude, BaseEvent, Config
from amplitude_experiment.exposure import ExposureConfig
from amplitude_experiment.local.client import LocalEvaluationClient
from amplitude_experiment.local.evaluate_options import EvaluateOptions
from amplitude_experiment.remote.client import RemoteEvaluationClient
from amplitude_experiment.remote.fetch_options import FetchOptions

from proxy.sandbox.server import API_KEY, SERVER_KEY
from tests.clients.running import HERE, need_node, run
from tests.system.programs import Pair, call, wait_for

pytestmark = [
    pytest.mark.system,
    # The vendor's packages leave sockets open and use what their own dependencies will remove.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning"),
]
PREFIX = "[Experiment]"
EXPOSURE = f"{PREFIX} Exposure"


class Kept(Pair):
    """A sandbox and a proxy with a data directory."""

    def config(self) -> dict[str, Any]:
        config = super().config()
        config["configuration"]["dataDir"] = str(self.directory / "data")
        return config

    def wait_until_listening(self) -> None:
        """Wait for the clients' port, whether or not anything is known about flags."""
        wait_for(lambda: call(f"{self.proxy}/status")[0] == 200, "clients' port")

    def arrived(self, event_type: str) -> list[str]:
        """The insert_ids of the events of a type that the sandbox took."""
        return [event["insert_id"] for event in self.events() if event["event_type"] == event_type]


@pytest.fixture
def pair(tmp_path: Path) -> Kept:
    return Kept(tmp_path, HERE / "flags.yaml")


class Python:
    """The vendor's analytics SDK for Python, and what it was told of each event."""

    def __init__(self, url: str) -> None:
        self.codes: dict[str, int] = {}
        self._lock = threading.Lock()
        self._client = Amplitude(
            API_KEY,
            Config(
                server_url=url, flush_interval_millis=50, flush_queue_size=20, callback=self._said
            ),
        )

    def track(self, event_type: str, count: int, user_id: str = "somebody") -> set[str]:
        """Track events; return their insert_ids."""
        ids = {f"{event_type}-{user_id}-{number}" for number in range(count)}
        for id_ in sorted(ids):
            self._client.track(BaseEvent(event_type, user_id=user_id, insert_id=id_))
        return ids

    def wait_for(self, ids: set[str], code: int = 200) -> None:
        wait_for(lambda: ids <= self.codes.keys(), f"answers for {len(ids)} events")
        assert {self.codes[id_] for id_ in ids} == {code}

    def close(self) -> None:
        self._client.shutdown()

    def _said(self, event: BaseEvent, code: int, _message: str | None) -> None:
        with self._lock:
            self.codes[event.insert_id] = code


@contextmanager
def python(url: str) -> Iterator[Python]:
    client = Python(url)
    try:
        yield client
    finally:
        client.close()


@pytest.mark.parametrize("path", ["/2/httpapi", "/batch"])
def test_python_events_arrive_though_everything_goes_down_in_between(pair: Kept, path: str) -> None:
    kind = "seen"
    with python(pair.proxy + path) as client:
        with pair.serve(ready=False) as proxy:
            with pair.sandbox():
                first = client.track(kind, 60, "first user")
                client.wait_for(first)
                wait_for(lambda: set(pair.arrived(kind)) == first, "the first events")
                assert pair.events()[0]["library"].startswith("amplitude-python/")
            second = client.track(kind, 60, "second user")
            client.wait_for(second)
            proxy.stop(signal.SIGKILL)
        third = client.track(kind, 60, "third user")
        with pair.serve(ready=False):
            client.wait_for(third)
            with pair.sandbox():
                wait_for(lambda: set(pair.arrived(kind)) >= second | third, "what had to wait")

                assert Counter(pair.arrived(kind)) - Counter(first | second | third) == Counter()


def test_node_events_arrive_though_everything_goes_down_in_between(pair: Kept) -> None:
    need_node()
    events = [
        {"event_type": "seen", "user_id": f"user-{number}", "insert_id": f"node-{number}"}
        for number in range(120)
    ]
    ids = [event["insert_id"] for event in events]

    def track(some: list[dict[str, str]], path: str) -> list[int]:
        job = {"work": "analytics", "url": pair.proxy + path, "key": API_KEY, "events": some}
        codes: list[int] = json.loads(run(["node", "node_clients.js"], job))
        return codes

    # This SDK gives up when nobody listens, so the proxy does while it tracks.
    with pair.serve(ready=False) as proxy:
        pair.wait_until_listening()
        assert track(events[:60], "/2/httpapi") == [200] * 60
        proxy.stop(signal.SIGKILL)
    with pair.serve(ready=False):
        pair.wait_until_listening()
        assert track(events[60:], "/batch") == [200] * 60
        with pair.sandbox():
            wait_for(lambda: len(pair.arrived("seen")) >= 120, "all events")

            assert sorted(pair.arrived("seen")) == sorted(ids)
            assert pair.events()[0]["library"].startswith("amplitude-node-ts/")


def test_of_a_batch_with_bad_events_clients_drop_those_and_no_other(pair: Kept) -> None:
    with pair.sandbox(), pair.serve(), python(f"{pair.proxy}/2/httpapi") as client:
        good = client.track("good", 10) | client.track("good", 10, "another")
        short = client.track("bad", 10, "ab")
        refused = client.track("bad", 10, "undefined")
        good |= client.track("good", 10, "a third")

        client.wait_for(good, 200)
        client.wait_for(short | refused, 400)
        wait_for(lambda: set(pair.arrived("good")) == good, "the good events")
        assert pair.arrived("bad") == []

        if shutil.which("node"):
            need_node()
            users = ["node-user", "x", "null", "node-user"]
            events = [{"event_type": "mixed", "user_id": user} for user in users]
            url = f"{pair.proxy}/2/httpapi"
            job = {"work": "analytics", "url": url, "key": API_KEY, "events": events}
            assert json.loads(run(["node", "node_clients.js"], job)) == [200, 400, 400, 200]
            wait_for(lambda: len(pair.arrived("mixed")) == 2, "the good events")


def test_a_key_of_no_project_makes_clients_give_up(pair: Kept) -> None:
    with pair.sandbox(), pair.serve() as proxy:
        url = f"{pair.proxy}/batch"
        body = {"api_key": "somebody-elses", "events": [{"event_type": "e", "user_id": "someone"}]}
        status, answer = call(url, body)

        assert status == 400
        assert json.loads(answer) == {"code": 400, "error": "Invalid API key: somebody-elses"}
        assert "somebody-elses" not in proxy.said()


def exposures(variants: dict[str, Any]) -> dict[str, str]:
    """What of these a user is exposed to."""
    return {
        key: variant.key
        for key, variant in variants.items()
        if not variant.metadata.get("default") and variant.metadata.get("deployed") is not False
    }


def test_exposures_arrive_from_the_proxy_and_through_it(pair: Kept) -> None:
    # Two of them: where the SDK's insert_id happens to be ours, upstream takes only one event.
    one, another = (official.User(user_id=f"exposed-{name}") for name in ("here", "there"))
    local = official.LocalEvaluationConfig(
        server_url=pair.proxy,
        exposure_config=ExposureConfig(
            api_key=API_KEY, server_url=f"{pair.proxy}/batch", flush_interval_millis=50
        ),
    )
    with pair.sandbox(), pair.serve():
        with RemoteEvaluationClient(
            SERVER_KEY, official.RemoteEvaluationConfig(server_url=pair.proxy)
        ) as client:
            expected = exposures(client.fetch_v2(one, FetchOptions(tracksExposure=True)))
            theirs = exposures(client.fetch_v2(another, FetchOptions(tracksExposure=False)))
        with LocalEvaluationClient(SERVER_KEY, local) as client:
            client.start()
            client.evaluate_v2(another, options=EvaluateOptions(tracks_exposure=True))

        def told_by(library: str) -> dict[str, str]:
            told = [event for event in pair.events() if event["event_type"] == EXPOSURE]
            return {
                event["event_properties"][f"{PREFIX} Flag Key"]: event["event_properties"][
                    f"{PREFIX} Variant"
                ]
                for event in told
                if event["library"].startswith(library)
            }

        assert expected
        wait_for(lambda: told_by("evaluation-proxy/") == expected, "exposures of the proxy's")
        wait_for(lambda: theirs.items() <= told_by("amplitude-python/").items(), "the SDK's")
