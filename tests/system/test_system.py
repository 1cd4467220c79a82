"""The program as operators run it: cold starts, edits, stops under load, and what it never says."""

import json
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import pytest

from proxy.sandbox.server import API_KEY, CLIENT_KEY, MANAGEMENT_KEY, SECRET_KEY, SERVER_KEY
from tests.system.programs import Pair, Program, call, get_json, wait_for

pytestmark = pytest.mark.system
FLAGS = "flags: {a: {serve: on}, b: {rollout: 50%}}\n"
KEY = {"Authorization": f"Api-Key {SERVER_KEY}"}
SECRETS = (API_KEY, SECRET_KEY, MANAGEMENT_KEY, SERVER_KEY, CLIENT_KEY)


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair(tmp_path, FLAGS)


def vardata(pair: Pair) -> tuple[int, bytes]:
    return call(f"{pair.proxy}/sdk/v2/vardata", {"user_id": "ada"}, KEY)


def test_a_cold_start_without_upstream_answers_503_until_upstream_comes(pair: Pair) -> None:
    with pair.serve(ready=False) as program:
        status = wait_for(lambda: vardata(pair)[0], "answer")
        ready, reasons = call(f"{pair.operators}/readyz")
        assert (status, ready) == (503, 503)
        assert b"sandbox" in reasons or b"reason" in reasons

        with pair.sandbox():
            wait_for(lambda: call(f"{pair.operators}/readyz")[0] == 200, "readiness")
            assert pair.variants({"user_id": "ada"})["a"]["key"] == "on"

        # Upstream has gone again, and the flags stay.
        assert vardata(pair)[0] == 200
        assert program.stop() == 0


def test_a_mistake_in_the_configuration_is_exit_code_2(pair: Pair) -> None:
    wrong = pair.config()
    wrong["configuration"]["port"] = -1
    wrong["configuration"]["flagSyncInterval"] = 5
    pair.config_file.write_text(json.dumps(wrong))

    with Program(pair.directory, "serve", "--config", str(pair.config_file)) as program:
        assert program.end() == 2

    assert "configuration.port" in program.said()
    assert "flagSyncIntervalMillis" in program.said()
    assert all(secret not in program.said() for secret in SECRETS)


def test_a_taken_port_is_exit_code_3(pair: Pair) -> None:
    with pair.sandbox(), pair.serve():
        config = ("--config", str(pair.config_file))
        with Program(pair.directory, "serve", *config) as second:
            assert second.end() == 3

    assert str(pair.port) in second.said()


def test_an_edit_of_the_flag_file_is_pushed_to_the_proxy(pair: Pair) -> None:
    rarely = pair.config()
    rarely["configuration"]["flagSyncIntervalMillis"] = 3_600_000
    pair.config_file.write_text(json.dumps(rarely))
    with pair.sandbox(), pair.serve():
        assert pair.variants({"user_id": "ada"})["a"]["key"] == "on"
        pair.flag_file.write_text("flags: {a: {serve: off}}\n")

        wait_for(lambda: pair.variants({"user_id": "ada"})["a"]["key"] == "off", "new flag")


class Load:
    """Clients that ask without a pause, each on a connection that stays."""

    def __init__(self, pair: Pair, clients: int) -> None:
        self._pair = pair
        self._lock = threading.Lock()
        self._over = threading.Event()
        self.answered: list[str] = []
        self.failed: list[str] = []
        self.refused = 0
        self._threads = [
            threading.Thread(target=self._ask, args=(number,)) for number in range(clients)
        ]

    @contextmanager
    def running(self) -> Iterator[None]:
        for thread in self._threads:
            thread.start()
        yield
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, number: int) -> None:
        asked = 0
        while not self._over.is_set():
            connection = HTTPConnection("127.0.0.1", self._pair.port, timeout=10)
            try:
                connection.connect()
            except OSError:
                # It has stopped listening: nothing was asked, so nothing failed.
                self.refused += 1
                return
            while not self._over.is_set():
                asked += 1
                if not self._exchange(connection, f"load-{number}-{asked}"):
                    break
            connection.close()

    def _exchange(self, connection: HTTPConnection, user_id: str) -> bool:
        """Ask once; return whether the connection stays."""
        try:
            body = json.dumps({"user_id": user_id})
            connection.request("POST", "/sdk/v2/vardata", body, KEY)
            answer = connection.getresponse()
            content = answer.read()
        except (OSError, HTTPException) as error:
            with self._lock:
                self.failed.append(repr(error))
            return False
        with self._lock:
            good = answer.status == 200 and b'"a"' in content
            (self.answered if good else self.failed).append(
                user_id if good else f"{answer.status} {content!r}"
            )
        return not answer.will_close


def test_a_stop_under_load_fails_no_request_and_loses_no_event(pair: Pair) -> None:
    with pair.sandbox(), pair.serve() as program:
        load = Load(pair, clients=8)
        with load.running():
            wait_for(lambda: len(load.answered) > 500, "load")

            program.process.send_signal(signal.SIGTERM)
            wait_for(lambda: load.refused == 8, "closed port")
            code = program.end()

        taken = pair.events_taken()
        remembered = {event["user_id"] for event in pair.events()}

    assert code == 0
    assert load.failed == []
    # Each request had a user of its own, and the sandbox remembers the last 10,000 events only.
    assert taken == len(load.answered) == len(set(load.answered))
    assert remembered <= set(load.answered)


def test_unknown_keys_are_refused_and_never_logged(pair: Pair) -> None:
    unknown = [f"server-unknown-key-{number:04}" for number in range(1000)]
    with pair.sandbox(), pair.serve() as program:
        connection = HTTPConnection("127.0.0.1", pair.port, timeout=10)
        for key in unknown:
            connection.request("GET", "/sdk/v2/flags", headers={"Authorization": f"Api-Key {key}"})
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 401
        connection.close()
        assert pair.variants({"user_id": "ada"})
        said = program.said() + everything_shown(pair)

    assert not [key for key in unknown if key in said]
    assert not [secret for secret in SECRETS if secret in said]


def everything_shown(pair: Pair) -> str:
    """All pages of the operators' port."""
    pages = ("/metrics", "/status", "/readyz", "/livez", "/")
    return "".join(call(pair.operators + page)[1].decode() for page in pages)


def test_no_secret_is_shown_anywhere(pair: Pair) -> None:
    with pair.serve(ready=False) as program:
        vardata(pair)
        with pair.sandbox():
            wait_for(lambda: call(f"{pair.operators}/readyz")[0] == 200, "readiness")
            pair.variants({"user_id": "ada"})
            wait_for(pair.events, "event")
        call(f"{pair.proxy}/sdk/v2/vardata", "no object", KEY)
        call(f"{pair.proxy}/sdk/v1/cohort/none", headers=KEY)
        call(f"{pair.proxy}/{SERVER_KEY}", headers=KEY)
        shown = everything_shown(pair)
        assert program.stop() == 0

    assert "amplitude_proxy_" in shown
    assert '"deployments"' in shown
    found = [secret for secret in SECRETS if secret in shown + program.said()]
    assert found == []


def test_a_second_proxy_takes_over_where_the_first_was_killed(pair: Pair) -> None:
    with pair.sandbox():
        with pair.serve() as first:
            assert first.stop(signal.SIGKILL) == -signal.SIGKILL
        with pair.serve() as second:
            assert pair.variants({"user_id": "ada"})["a"]["key"] == "on"
            assert second.stop() == 0


def test_the_status_page_tells_of_each_deployment(pair: Pair) -> None:
    with pair.sandbox(), pair.serve():
        status: dict[str, Any] = get_json(f"{pair.operators}/status")

    assert status["ready"] is True
    assert len(status["deployments"]) == 2
