"""Proxies that start quickly: a process that has read the program forks one after the other.

As a program: reads command lines as lines of JSON, runs each in a child, says the child's process
id and, when it has ended, its exit code or minus the signal that ended it.
"""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent.parent


class Starter:
    """Starts one proxy at a time; what it says goes into a file of its own."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._said = directory
        self._pid = 0
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.system.crashes.starter"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env={name: text for name, text in os.environ.items() if "AMPLITUDE" not in name},
        )

    def start(self, *arguments: str) -> None:
        assert not self._pid, "one at a time"
        assert self._process.stdin is not None
        self._said = self._directory / f"{arguments[0]}-{time.monotonic_ns()}.log"
        self._process.stdin.write(json.dumps([str(self._said), *arguments]).encode() + b"\n")
        self._process.stdin.flush()
        self._pid = self._number()

    def said(self) -> str:
        return self._said.read_text(errors="replace")

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal; return the exit code, or minus the signal that ended it."""
        with suppress(ProcessLookupError):
            os.kill(self._pid, number)
        self._pid = 0
        return self._number()

    def is_alive(self) -> bool:
        try:
            os.kill(self._pid, 0)
        except ProcessLookupError:
            return False
        return True

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        if self._pid:
            self.stop(signal.SIGKILL)
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()

    def _number(self) -> int:
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())


def run(said: str, *arguments: str) -> int:
    """Be the proxy."""
    from proxy.cli.main import main  # noqa: PLC0415  as late as the program itself does

    out = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for number in (sys.stdout.fileno(), sys.stderr.fileno()):
        os.dup2(out, number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), sys.stdin.fileno())
    return main(arguments)


def serve() -> None:
    import proxy.cli.main  # noqa: F401, PLC0415  read once, here

    for line in sys.stdin.buffer:
        pid = os.fork()
        if not pid:
            try:
                code = run(*json.loads(line))
            except BaseException:
                sys.excepthook(*sys.exc_info())
                code = 70
            sys.stderr.flush()
            os._exit(code)
        print(pid, flush=True)
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    serve()
