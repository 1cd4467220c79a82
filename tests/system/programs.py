"""Real processes for tests: started, watched, stopped, with all that they said."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self, TypeVar

from proxy.sandbox.server import API_KEY, MANAGEMENT_KEY, SECRET_KEY, SERVER_KEY
from tests.fakes.ports import reserve

Found = TypeVar("Found")
ROOT = Path(__file__).parent.parent.parent
PATIENCE = 60.0
HELD: list[socket.socket] = []


def wait_for(look: Callable[[], Found], what: str, within: float = PATIENCE) -> Found:
    """Look again and again until what is found is truthy; return it."""
    deadline = time.monotonic() + within
    while not (found := look()):
        assert time.monotonic() < deadline, f"in {within} seconds there was no {what}"
        time.sleep(0.02)
    return found


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on, and that nobody else is given while the tests run."""
    held = [reserve() for _ in range(count)]
    HELD.extend(held)
    return [each.getsockname()[1] for each in held]


class Program:
    """`python -m proxy ...` in a process of its own; its output goes to a file."""

    def __init__(self, directory: Path, *arguments: str, **environ: str) -> None:
        self._said = directory / f"{arguments[0]}-{time.monotonic_ns()}.log"
        clean = {name: text for name, text in os.environ.items() if "AMPLITUDE" not in name}
        with self._said.open("wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "proxy", *arguments],
                stdout=file,
                stderr=file,
                stdin=subprocess.DEVNULL,
                cwd=ROOT,
                env={**clean, "PYTHONUNBUFFERED": "1", **environ},
            )

    def said(self) -> str:
        return self._said.read_text(errors="replace")

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal; return the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.end()

    def end(self) -> int:
        """Wait for the end; return the exit code."""
        return self.process.wait(PATIENCE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def call(url: str, body: Any = None, headers: Mapping[str, str] | None = None) -> tuple[int, bytes]:
    """GET, or POST `body` as JSON; return status and body, status 0 when nobody answers."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, dict(headers or {}))
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as refusal:
        return refusal.code, refusal.read()
    except (urllib.error.URLError, OSError):
        return 0, b""


def get_json(url: str, headers: Mapping[str, str] | None = None) -> Any:
    """GET what must be there."""
    status, body = call(url, headers=headers)
    assert status == 200, f"{url} answers {status}"
    return json.loads(body)


class Pair:
    """A sandbox and a proxy that takes it for Amplitude, as two processes."""

    def __init__(self, directory: Path, flags: str | Path) -> None:
        self.directory = directory
        self.upstream_port, self.port, self.operators_port = free_ports(3)
        self.upstream = f"http://127.0.0.1:{self.upstream_port}"
        self.proxy = f"http://127.0.0.1:{self.port}"
        self.operators = f"http://127.0.0.1:{self.operators_port}"
        self.flag_file = directory / "flags.yaml"
        self.flag_file.write_text(flags if isinstance(flags, str) else flags.read_text())
        self.config_file = directory / "config.json"
        self.config_file.write_text(json.dumps(self.config()))

    def config(self) -> dict[str, Any]:
        return {
            "configuration": {
                "host": "127.0.0.1",
                "port": self.port,
                "serverUrl": self.upstream,
                "cohortServerUrl": self.upstream,
                "managementServerUrl": self.upstream,
                "analyticsServerUrl": self.upstream,
                "streamServerUrl": self.upstream,
                "assignment": {"eventUploadPeriodMillis": 200},
                "metrics": {"host": "127.0.0.1", "port": self.operators_port},
                "limits": {"maxFlagKeys": 1000},
            },
            "projects": [
                {
                    "apiKey": API_KEY,
                    "secretKey": SECRET_KEY,
                    "managementKey": MANAGEMENT_KEY,
                }
            ],
        }

    @contextmanager
    def sandbox(self) -> Iterator[Program]:
        arguments = ("sandbox", "--file", str(self.flag_file), "--port", str(self.upstream_port))
        with Program(self.directory, *arguments) as program:
            self._wait(program, lambda: call(self.upstream)[0] == 200, "sandbox")
            yield program

    @contextmanager
    def serve(self, *, ready: bool = True) -> Iterator[Program]:
        with Program(self.directory, "serve", "--config", str(self.config_file)) as program:
            path, status = ("/readyz", 200) if ready else ("/livez", 200)
            self._wait(program, lambda: call(self.operators + path)[0] == status, "ready proxy")
            yield program

    def variants(self, user: Any, key: str = SERVER_KEY) -> dict[str, Any]:
        """Evaluate a user; it must succeed."""
        headers = {"Authorization": f"Api-Key {key}"}
        status, body = call(f"{self.proxy}/sdk/v2/vardata", user, headers)
        assert status == 200, (status, body)
        variants: dict[str, Any] = json.loads(body)
        return variants

    def events_taken(self) -> int:
        """How many different events the sandbox has taken in all."""
        counts: dict[str, int] = get_json(f"{self.upstream}/events")["counts"]
        return sum(counts.values())

    def events(self) -> list[dict[str, Any]]:
        """Return what the sandbox took in."""
        events: list[dict[str, Any]] = get_json(f"{self.upstream}/events")["events"]
        return events

    @staticmethod
    def _wait(program: Program, look: Callable[[], bool], what: str) -> None:
        def arrived() -> bool:
            assert program.process.poll() is None, f"it ended:\n{program.said()}"
            return look()

        wait_for(arrived, what)
