"""The data directory of a test, and processes that may be killed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import pytest

from tests.store.generations import Job

ROOT = Path(__file__).parent.parent.parent


class Doer:
    """Does one job after another, each in a process of its own."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.store.generations"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
        )
        self._pid = 0
        self.busy = False

    def start(self, job: Job) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(msgspec.json.encode(job) + b"\n")
        self.process.stdin.flush()
        self._pid = self._number()
        self.busy = True

    def kill(self) -> int:
        with suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
        return self.end()

    def end(self) -> int:
        """Wait for the end of the job; return its exit code, minus the signal if there was one."""
        self.busy = False
        return self._number()

    def do(self, job: Job) -> int:
        self.start(job)
        return self.end()

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(10)
        self.process.stdout.close()

    def _number(self) -> int:
        assert self.process.stdout is not None
        return int(self.process.stdout.readline())


@pytest.fixture(scope="session")
def doer() -> Iterator[Doer]:
    """A process that starts others quickly."""
    doer = Doer()
    yield doer
    doer.close()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Where the data directory is to be."""
    return tmp_path / "data"


def wait_some(seconds: float) -> None:
    """Let another process get somewhere: there is nothing to wait for but a moment by chance."""
    time.sleep(seconds)


def missing(what: str) -> None:
    assert not os.environ.get("CI"), what
    pytest.skip(what)


def run(*command: str) -> bool:
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A disk of one MiB and twenty files; not below pytest's directories: other runs clean up."""
    with TemporaryDirectory() as name:
        if not run("mount", "-t", "tmpfs", "-o", "size=1m,nr_inodes=20,mode=0700", "small", name):
            missing("needs mount (as root)")
        yield Path(name)
        assert run("umount", "-l", name)
