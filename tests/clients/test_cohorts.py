"""Official SDKs that sync cohorts from the proxy evaluate as the vendor's engine does.

The engine is told of each user which cohorts hold it, straight from the lists; the SDKs, and the
proxy's own evaluation, have to find that out.
"""

import json
import logging
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from pathlib import Path

import amplitude_experiment as official
import pytest
from amplitude_experiment.cohort.cohort import Cohort
from amplitude_experiment.cohort.cohort_download_api import DirectCohortDownloadApi
from amplitude_experiment.cohort.cohort_sync_config import CohortSyncConfig
from amplitude_experiment.exception import CohortTooLargeException
from amplitude_experiment.local.client import LocalEvaluationClient

from proxy.sandbox.server import API_KEY, SECRET_KEY, SERVER_KEY
from tests.clients.cohorts import COHORTS, CROWD, flag_file, people
from tests.clients.running import (
    Variants,
    differences,
    held,
    of_python,
    run,
)
from tests.system.programs import Pair

pytestmark = [
    pytest.mark.system,
    # The vendor's package leaves sockets open and uses what its own dependencies will remove.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning"),
]
USERS = people()
STREAMING = pytest.mark.parametrize("streaming", [False, True], ids=["polling", "streaming"])


def test_the_flags_of_this_test_divide_its_users(expected: list[Variants]) -> None:
    assert len(COHORTS["crowd"][1]) == CROWD
    alike = {"everybody", "nobody", "vacant", "not-vacant", "crossed"}
    for flag in expected[0]:
        seen = {each.get(flag, {}).get("key") for each in expected}
        assert (len(seen) > 1) != (flag in alike), f"{flag} gives {seen}"


def test_the_proxys_own_evaluation(pair: Pair, expected: list[Variants]) -> None:
    found = [held(pair.variants(user)) for user in USERS]

    assert differences(USERS, found, expected) == {}


class Diary(logging.Handler):
    """What the official Python client says of its downloads, and a logger that writes it."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.logger = logging.Logger("client", logging.DEBUG)  # noqa: LOG001  not a global one
        self.logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())

    def statuses(self) -> list[str]:
        return [line.partition("status=")[2] for line in self.lines if "status=" in line]

    def troubles(self) -> list[str]:
        return [
            line
            for line in self.lines
            if "error" in line.lower() and "exceeds max cohort size" not in line
        ]


def python_config(pair: Pair, diary: Diary) -> official.LocalEvaluationConfig:
    return official.LocalEvaluationConfig(
        server_url=pair.proxy,
        stream_server_url=pair.proxy,
        cohort_sync_config=CohortSyncConfig(API_KEY, SECRET_KEY, cohort_server_url=pair.proxy),
        logger=diary.logger,
    )


def python_answers(pair: Pair, diary: Diary, *, streaming: bool = False) -> list[Variants]:
    config = python_config(pair, diary)
    config.stream_updates = streaming
    # A machine that is busy with other things may take longer than this client's 1.5 seconds.
    config.stream_flag_conn_timeout = 60_000
    with LocalEvaluationClient(SERVER_KEY, config) as client:
        client.start()
        users = [official.User(**deepcopy(user)) for user in USERS]
        return [of_python(client.evaluate_v2(user)) for user in users]


@STREAMING
def test_python(pair: Pair, expected: list[Variants], streaming: bool) -> None:
    diary = Diary()

    found = python_answers(pair, diary, streaming=streaming)

    assert differences(USERS, found, expected) == {}
    if streaming:
        # It polls beside the stream when its threads overtake each other as it starts.
        assert set(diary.statuses()) == {"200"}
    else:
        assert diary.statuses() == ["200"] * len(COHORTS)


def test_python_gets_every_cohort_at_the_first_request(pair: Pair) -> None:
    """Its threads share connections whose last answer is not read yet: each has to be the last."""
    for _ in range(10):
        diary = Diary()
        with LocalEvaluationClient(SERVER_KEY, python_config(pair, diary)) as client:
            client.start()

        assert diary.troubles() == []
        assert diary.statuses() == ["200"] * len(COHORTS)


def test_python_needs_one_request_for_each_poll(pair: Pair) -> None:
    """Driven below its poller, which no longer asks for a cohort whose answer came at once."""
    diary = Diary()
    downloads = DirectCohortDownloadApi(API_KEY, SECRET_KEY, 1_000, pair.proxy, diary.logger)
    small = [name for name in COHORTS if name != "crowd"]

    def poll(held_before: dict[str, Cohort]) -> dict[str, Cohort | None]:
        crowd = pool.submit(downloads.get_cohort, "crowd", None)
        asked = {
            name: pool.submit(downloads.get_cohort, name, held_before.get(name)) for name in small
        }
        with pytest.raises(CohortTooLargeException):
            crowd.result()
        return {name: answer.result() for name, answer in asked.items()}

    with ThreadPoolExecutor(32) as pool:
        loaded = poll({})
        held_now = {name: cohort for name, cohort in loaded.items() if cohort is not None}
        for _ in range(10):
            assert poll(held_now) == dict.fromkeys(small)

    assert {name: len(cohort.member_ids) for name, cohort in held_now.items()} == {
        name: len(COHORTS[name][1]) for name in small
    }
    assert diary.troubles() == []
    assert Counter(diary.statuses()) == {
        "200": len(small),
        "204": len(small) * 10,
        "413": 11,
    }


@STREAMING
def test_node(pair: Pair, expected: list[Variants], streaming: bool) -> None:
    job = {
        "work": "nodeLocal",
        "proxy": pair.proxy,
        "key": SERVER_KEY,
        "users": USERS,
        "streaming": streaming,
        "cohorts": {
            "apiKey": API_KEY,
            "secretKey": SECRET_KEY,
            "cohortServerUrl": pair.proxy,
        },
    }
    found = json.loads(run(["node", "node_clients.js"], job))

    assert differences(USERS, [held(variants) for variants in found], expected) == {}


@pytest.mark.needs("go")
@STREAMING
def test_go(go_client: Path, pair: Pair, expected: list[Variants], streaming: bool) -> None:
    job = {
        "proxy": pair.proxy,
        "key": SERVER_KEY,
        "apiKey": API_KEY,
        "secretKey": SECRET_KEY,
        "users": USERS,
        "streaming": streaming,
    }
    found = json.loads(run([str(go_client)], job))

    assert differences(USERS, [held(variants) for variants in found], expected) == {}


def test_a_restart_without_upstream_changes_no_answer(
    tmp_path: Path, expected: list[Variants]
) -> None:
    pair = Pair(tmp_path, flag_file())
    config = pair.config()
    config["configuration"]["dataDir"] = str(tmp_path / "data")
    pair.config_file.write_text(json.dumps(config))
    with pair.sandbox(), pair.serve() as program:
        assert program.stop() == 0

    with pair.serve():
        own = [held(pair.variants(user)) for user in USERS]
        by_python = python_answers(pair, Diary())

    assert differences(USERS, own, expected) == {}
    assert differences(USERS, by_python, expected) == {}
