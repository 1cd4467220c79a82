"""Official SDKs get from a proxy that is offline what they got from one that asks Amplitude."""

import json
from collections.abc import Iterator
from copy import deepcopy
from typing import NamedTuple

import amplitude_experiment as official
import pytest
from amplitude_experiment.remote.client import RemoteEvaluationClient

from proxy.archives.exporting import export
from proxy.sandbox.server import API_KEY, SECRET_KEY, SERVER_KEY
from tests.archives.rig import NOW, pair
from tests.clients.cohorts import flag_file, people
from tests.clients.running import Variants, differences, of_python
from tests.clients.test_cohorts import Diary, python_answers
from tests.system.programs import Pair, get_json, wait_for

pytestmark = [
    pytest.mark.system,
    # The vendor's package leaves sockets open and uses what its own dependencies will remove.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning"),
]
USERS = people()


class Sites(NamedTuple):
    """A proxy that is offline, and what the one that it has its snapshot of answered."""

    site: Pair
    online: list[Variants]


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sites]:
    folder = tmp_path_factory.mktemp("offline")
    site, keys = Pair(folder, flag_file()), pair(folder)
    config = site.config()
    config["configuration"]["dataDir"] = str(folder / "online")
    site.config_file.write_text(json.dumps(config))
    with site.sandbox(), site.serve():
        online = remote(site)
        wait_for(lambda: not get_json(f"{site.operators}/status")["store"]["waiting"], "state")
    export(folder / "online", folder / "a.snapshot", keys.signer, NOW)

    config = site.config()
    offline = {"path": str(folder / "a.snapshot"), "verifyKeyFile": str(keys.public)}
    config["configuration"]["offline"] = offline
    listed = {"apiKey": API_KEY, "secretKey": SECRET_KEY, "deploymentKeys": [SERVER_KEY]}
    config["projects"] = [listed]
    site.config_file.write_text(json.dumps(config))
    with site.serve() as program:
        yield Sites(site, online)
        assert program.stop() == 0
        assert SERVER_KEY not in program.said()


def remote(site: Pair) -> list[Variants]:
    config = official.RemoteEvaluationConfig(server_url=site.proxy)
    users = [official.User(**deepcopy(user)) for user in USERS]
    with RemoteEvaluationClient(SERVER_KEY, config) as client:
        return [of_python(client.fetch_v2(user)) for user in users]


def test_deployments_are_called_what_they_were_called(sites: Sites) -> None:
    status = get_json(f"{sites.site.operators}/status")
    assert [one["deployment"] for one in status["deployments"]] == ["server"]


def test_python_evaluates_remotely(sites: Sites) -> None:
    assert sites.online[0]
    assert differences(USERS, remote(sites.site), sites.online) == {}


@pytest.mark.parametrize("streaming", [False, True], ids=["polling", "streaming"])
def test_python_evaluates_locally(sites: Sites, streaming: bool) -> None:
    diary = Diary()

    found = python_answers(sites.site, diary, streaming=streaming)

    assert differences(USERS, found, sites.online) == {}
    assert diary.troubles() == []
