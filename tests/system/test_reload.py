"""The real program takes another configuration while it is under load."""

import json
import os
import signal
import threading
import urllib.request
from collections import Counter
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Self

from proxy.sandbox.server import API_KEY, MANAGEMENT_KEY, SECRET_KEY, SERVER_KEY
from tests.system.programs import ROOT, Pair, Program, call, get_json, wait_for

FLAGS = ROOT / "config" / "sandbox.yaml"
OTHER_KEY = "server-of-another-project"


class Load:
    """Clients that ask all the time, each on one connection that stays."""

    def __init__(self, port: int, count: int = 4) -> None:
        self.statuses: Counter[int | str] = Counter()
        self._port = port
        self._done = threading.Event()
        self._clients = [threading.Thread(target=self._ask) for _ in range(count)]

    def _ask(self) -> None:
        connection = HTTPConnection("127.0.0.1", self._port, timeout=30)
        headers = {"Authorization": f"Api-Key {SERVER_KEY}"}
        while not self._done.is_set():
            try:
                connection.request("POST", "/sdk/v2/vardata", b'{"user_id": "u1"}', headers)
                answer = connection.getresponse()
                answer.read()
                self.statuses[answer.status] += 1
            except OSError as error:
                self.statuses[type(error).__name__] += 1
        connection.close()

    def __enter__(self) -> Self:
        for client in self._clients:
            client.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        for client in self._clients:
            client.join()


def secret_mount(directory: Path) -> Path:
    """A mounted Secret as Kubernetes makes it; returns the file with the management key."""
    mount = directory / "mounted"
    (mount / "..first").mkdir(parents=True)
    (mount / "..first" / "management").write_text(MANAGEMENT_KEY)
    (mount / "..data").symlink_to("..first")
    (mount / "management").symlink_to(Path("..data", "management"))
    return mount / "management"


def swap(file: Path, content: str) -> None:
    mount = file.parent
    (mount / "..second").mkdir()
    (mount / "..second" / file.name).write_text(content)
    (mount / "..fresh").symlink_to("..second")
    (mount / "..fresh").replace(mount / "..data")


def written(pair: Pair, document: dict[str, Any]) -> None:
    fresh = pair.config_file.with_suffix(".fresh")
    fresh.write_text(json.dumps(document))
    fresh.replace(pair.config_file)


def counted(pair: Pair, outcome: str, count: int) -> None:
    """Wait until so many attempts, at least, have ended in a way."""
    metric = f'amplitude_proxy_config_reload_total{{outcome="{outcome}"}} '

    def is_there() -> bool:
        with urllib.request.urlopen(f"{pair.operators}/metrics", timeout=10) as answer:
            _, _, rest = answer.read().decode().partition(metric)
        return bool(rest) and float(rest.split()[0]) >= count

    wait_for(is_there, f"{metric}{count}")


def last_attempt(pair: Pair) -> dict[str, Any]:
    last: dict[str, Any] = get_json(f"{pair.operators}/status")["config"]["last_attempt"]
    return last


def test_a_signal_that_comes_before_the_proxy_serves_does_not_end_it(tmp_path: Path) -> None:
    pair = Pair(tmp_path, FLAGS)
    content = pair.config_file.read_text()
    pair.config_file.unlink()
    os.mkfifo(pair.config_file)
    with Program(tmp_path, "serve", "--config", str(pair.config_file)) as program:
        # Opens as soon as somebody reads it.
        with pair.config_file.open("w") as pipe:
            program.process.send_signal(signal.SIGHUP)
            pipe.write(content)

        wait_for(lambda: call(f"{pair.operators}/livez")[0] == 200, "proxy that lives")
        counted(pair, "refused", 1)
        assert last_attempt(pair)["trigger"] == "signal"


def test_a_file_is_swapped_and_signals_are_sent_under_load_and_no_request_is_lost(
    tmp_path: Path,
) -> None:
    pair = Pair(tmp_path, FLAGS)
    key_file = secret_mount(tmp_path)
    config = pair.config()
    config["configuration"]["reload"] = {"watchMillis": 50}
    (project,) = config["projects"]
    del project["managementKey"]
    project["managementKeyFile"] = str(key_file)
    written(pair, config)
    with pair.sandbox(), pair.serve() as program, Load(pair.port) as load:
        other = {"apiKey": "another", "secretKey": "s", "deploymentKeys": [OTHER_KEY]}
        written(pair, {**config, "projects": [project, other]})
        counted(pair, "applied", 1)
        assert last_attempt(pair)["trigger"] == "file"

        swap(key_file, f"{MANAGEMENT_KEY}-rotated")
        counted(pair, "applied", 2)
        assert "projects[0].managementKey" in last_attempt(pair)["changed"]

        # Half a file: nothing happens but that it is told.
        pair.config_file.write_text(json.dumps(config)[:-20])
        counted(pair, "refused", 1)
        needs = {**config["configuration"], "port": 1, "limits": {"maxFlagKeys": 10}}
        written(pair, {**config, "configuration": needs})
        program.process.send_signal(signal.SIGHUP)
        counted(pair, "refused", 2)
        assert last_attempt(pair)["mistakes"] == ["configuration.port: needs a restart"]

        for turn in range(5):
            own = {**config["configuration"], "limits": {"maxFlagKeys": 100 + turn}}
            written(pair, {**config, "configuration": own})
            program.process.send_signal(signal.SIGHUP)
            counted(pair, "applied", 3 + turn)
        own = {**config["configuration"], "log": {"format": "console"}}
        written(pair, {**config, "configuration": own})
        counted(pair, "applied", 8)
        assert pair.variants({"user_id": "u1"})
    assert set(load.statuses) == {200}, load.statuses
    assert load.statuses[200] > 20
    said = program.said()
    assert said.splitlines()[0].startswith("{")
    assert not said.splitlines()[-1].startswith("{")
    assert "Traceback" not in said
    for secret in (API_KEY, SECRET_KEY, MANAGEMENT_KEY, OTHER_KEY):
        assert secret not in said
