"""A real Prometheus scrapes the real proxy under load; the alerts fire in an outage, and clear."""

import json
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from proxy.sandbox.server import SERVER_KEY
from tests.clients.running import skip_for_lack_of
from tests.deploy.charts import ROOT
from tests.system.programs import Pair, call, free_ports, get_json, wait_for

pytestmark = [pytest.mark.system, pytest.mark.needs("prometheus")]
KEY = {"Authorization": f"Api-Key {SERVER_KEY}"}
FLAGS = "flags: {a: {serve: on}, b: {rollout: 50%}}\n"
MINUTES = {"m": 1, "h": 60}


def hastened(rules: str) -> str:
    """Make a minute of the rules 0.6 seconds, and 100 milliseconds where an alert waits.

    A quarter of an hour as a number becomes four seconds: polls are never further apart here.
    """
    rules = re.sub(r"for: (\d+)m", lambda found: f"for: {int(found[1]) * 100}ms", rules)
    rules = re.sub(
        r"(\[|offset )(\d+)([mh])",
        lambda found: f"{found[1]}{int(found[2]) * MINUTES[found[3]] * 600}ms",
        rules,
    )
    return re.sub(r"> 900\b", "> 4", rules)


class Prometheus:
    """A server of its own that scrapes and judges twice a second."""

    def __init__(self, directory: Path, target: str, **login: Any) -> None:
        (port,) = free_ports(1)
        self.address = f"127.0.0.1:{port}"
        self._home = directory / "prometheus"
        self._home.mkdir()
        rules = (ROOT / "config" / "alerts.yaml").read_text()
        (self._home / "alerts.yaml").write_text(hastened(rules))
        config = {
            "global": {"scrape_interval": "500ms", "evaluation_interval": "500ms"},
            "rule_files": ["alerts.yaml"],
            "scrape_configs": [
                {
                    "job_name": "proxy",
                    "scrape_timeout": "500ms",
                    "static_configs": [{"targets": [target]}],
                    **login,
                }
            ],
        }
        (self._home / "prometheus.yaml").write_text(yaml.safe_dump(config))

    @contextmanager
    def running(self) -> Iterator[None]:
        program = shutil.which("prometheus")
        if program is None:
            skip_for_lack_of("prometheus")
            raise AssertionError
        with (self._home / "log").open("wb") as log:
            process = subprocess.Popen(
                [
                    program,
                    f"--config.file={self._home / 'prometheus.yaml'}",
                    f"--storage.tsdb.path={self._home / 'data'}",
                    f"--web.listen-address={self.address}",
                ],
                stdout=log,
                stderr=log,
            )
        try:
            wait_for(lambda: call(f"http://{self.address}/-/ready")[0] == 200, "Prometheus")
            yield
        finally:
            process.kill()
            process.wait()

    def value(self, query: str) -> float:
        """Return the one number that a query gives, 0 if it gives none."""
        found = get_json(f"http://{self.address}/api/v1/query?query={query}")["data"]["result"]
        return float(found[0]["value"][1]) if found else 0.0

    def firing(self) -> dict[str, str]:
        """Return the alerts that fire, without what all names begin with, and their summaries."""
        alerts = get_json(f"http://{self.address}/api/v1/alerts")["data"]["alerts"]
        return {
            alert["labels"]["alertname"].removeprefix("EvaluationProxy"): alert["annotations"][
                "summary"
            ]
            for alert in alerts
            if alert["state"] == "firing"
        }

    def wait_until_firing(self, *names: str) -> dict[str, str]:
        """Wait until at least these fire at the same time."""
        wanted = set(names)
        wait_for(lambda: wanted <= self.firing().keys(), f"alerts {wanted}")
        return self.firing()

    def wait_until_cleared(self, *names: str) -> None:
        wait_for(lambda: not set(names) & self.firing().keys(), f"end of {names}")


@contextmanager
def load(pair: Pair) -> Iterator[list[int]]:
    """Ask for variants without a pause, each time as another user; yield the statuses."""
    statuses: list[int] = []
    ended = threading.Event()

    def ask() -> None:
        while not ended.wait(0.002):
            user = {"user_id": f"user-{len(statuses)}"}
            statuses.append(call(f"{pair.proxy}/sdk/v2/vardata", user, KEY)[0])

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield statuses
    finally:
        ended.set()
        asking.join()


def test_alerts_fire_in_an_outage_and_clear_after_it(tmp_path: Path) -> None:
    pair = Pair(tmp_path, FLAGS)
    config = pair.config()
    config["configuration"]["flagSyncIntervalMillis"] = 200
    pair.config_file.write_text(json.dumps(config))
    prometheus = Prometheus(tmp_path, f"127.0.0.1:{pair.operators_port}")

    with (
        prometheus.running(),
        pair.sandbox() as amplitude,
        pair.serve() as proxy,
        load(pair) as statuses,
    ):
        rate = "rate(amplitude_proxy_evaluation_request_total[2s])"
        wait_for(lambda: prometheus.value(rate) > 10, "load")
        wait_for(lambda: not prometheus.firing(), "silence")

        amplitude.stop()
        fired = prometheus.wait_until_firing("FlagsOld", "PollsOnly", "EventsWait")
        assert re.search(r"heard of the flags of (client|server) .+ ago", fired["FlagsOld"])
        assert set(statuses) == {200}, "who asks notices nothing"

        proxy.stop(signal.SIGKILL)
        prometheus.wait_until_firing("Down")

        with pair.serve(ready=False):
            fired = prometheus.wait_until_firing("NotReady", "Errors")

            with pair.sandbox():
                prometheus.wait_until_cleared("Down", *fired)
                wait_for(lambda: not prometheus.firing(), "silence")
                wait_for(lambda: statuses[-1] == 200, "answers")


@pytest.mark.parametrize("scheme", ["Bearer", "Basic"])
def test_prometheus_logs_in(tmp_path: Path, scheme: str) -> None:
    pair = Pair(tmp_path, FLAGS)
    (tmp_path / "secret").write_text("operators-secret\n")
    secret = str(tmp_path / "secret")
    config = pair.config()
    if scheme == "Bearer":
        config["configuration"]["metrics"] |= {"bearerTokenFile": secret}
        login: dict[str, Any] = {"authorization": {"credentials_file": secret}}
    else:
        config["configuration"]["metrics"] |= {"basicUser": "ops", "basicPasswordFile": secret}
        login = {"basic_auth": {"username": "ops", "password_file": secret}}
    pair.config_file.write_text(json.dumps(config))
    prometheus = Prometheus(tmp_path, f"127.0.0.1:{pair.operators_port}", **login)

    with prometheus.running(), pair.serve(ready=False):
        wait_for(lambda: prometheus.value("up"), "a scrape")
        wrong = 'amplitude_proxy_operators_refused_total{reason="wrong_credential"}'
        wait_for(lambda: prometheus.value(f"count({wrong})"), "its metrics")
        assert prometheus.value(wrong) == 0
