"""The sandbox, alone or with the proxy beside it: the whole loop on one machine."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import shlex
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from proxy import tasks
from proxy.cli.exits import DONE, NOT_STARTED, WRONG_INPUT
from proxy.run.serve import main as serve_proxy
from proxy.sandbox.reading import FileMistake
from proxy.sandbox.server import (
    API_KEY,
    CLIENT_KEY,
    MANAGEMENT_KEY,
    SECRET_KEY,
    SERVER_KEY,
    Sandbox,
)
from proxy.secret import Secret
from proxy.settings.reporting import Assignment
from proxy.settings.schema import Log, OperatorsPort, Project, Settings
from proxy.settings.zones import Urls

LOOK_SECONDS = 0.05
UPLOAD_MILLIS = 500
"""Events are sent at once, as it were, so that those who try it see them arrive."""


@dataclass(frozen=True, kw_only=True)
class Demo:
    """What to start, and where."""

    file: str
    host: str
    port: int
    with_proxy: bool = False
    proxy_port: int = 3546
    operators_port: int = 9090


def main(demo: Demo) -> int:
    """Run until SIGINT or SIGTERM; return the exit code."""
    try:
        if not demo.with_proxy:
            asyncio.run(_alone(demo))
            return DONE
        sandbox = SandboxThread(demo)
        port = sandbox.start()
    except FileMistake as mistake:
        return _complain(WRONG_INPUT, f"{demo.file}, {mistake}")
    except FileNotFoundError:
        hint = "give one with --file (there is an example in config/sandbox.yaml)"
        return _complain(WRONG_INPUT, f"there is no flag file {demo.file}; {hint}")
    except OSError as error:
        if error.filename is not None:
            return _complain(WRONG_INPUT, f"cannot read {demo.file}: {error.strerror}")
        return _complain(NOT_STARTED, f"cannot start the sandbox: {_no_port(demo, error)}")
    try:
        return serve_proxy(settings(demo, port))
    finally:
        sandbox.stop()


def settings(demo: Demo, sandbox_port: int) -> Settings:
    """Return the settings with which the proxy takes the sandbox for Amplitude."""
    base = f"http://{demo.host}:{sandbox_port}"
    project = Project(
        id="sandbox",
        api_key=Secret(API_KEY),
        secret_key=Secret(SECRET_KEY),
        management_key=Secret(MANAGEMENT_KEY),
    )
    return Settings(
        port=demo.proxy_port,
        host=demo.host,
        assignment=Assignment(event_upload_period_millis=UPLOAD_MILLIS),
        metrics=OperatorsPort(port=demo.operators_port, host=demo.host),
        log=Log(format="console"),
        projects=(project,),
        urls=Urls(
            flags=base,
            cohorts=base,
            management=base,
            stream=base,
            remote=base,
            scripts=base,
            analytics=f"{base}/batch",
            exposures=f"{base}/batch",
        ),
    )


def welcome(demo: Demo, port: int) -> str:
    """Return what a newcomer wants to know first, and commands to try."""
    sandbox = f"http://{demo.host}:{port}"
    lines = [
        "",
        f"  the flags           {demo.file}  (edit and save: it takes effect at once)",
        f"  the sandbox         {sandbox}  (stands in for Amplitude)",
    ]
    if not demo.with_proxy:
        return "\n".join([*lines, f"  what it took in     {sandbox}/events", ""])
    proxy = f"http://{demo.host}:{demo.proxy_port}"
    operators = f"http://{demo.host}:{demo.operators_port}"
    user = """-d '{"user_id": "ada"}'"""
    return "\n".join(
        [
            *lines,
            f"  the proxy           {proxy}  (point an SDK's serverUrl here)",
            f"  for operators       {operators}  (the status page, with a playground)",
            f"  deployment keys     {SERVER_KEY} and {CLIENT_KEY}",
            f"  for a web page      {proxy}/script/{CLIENT_KEY}.experiment.js",
            "",
            "  Try, in another terminal: the variants of a user, what the sandbox heard of it,",
            "  and how the proxy is doing. The page for operators says why a user gets a variant.",
            "",
            f"  curl -sS -H 'Authorization: Api-Key {SERVER_KEY}' {user} {proxy}/sdk/v2/vardata",
            f"  curl -sS {sandbox}/events",
            f"  {_ourselves()} status --url {operators}",
            "",
            "  Ctrl-C stops both.",
            "",
        ]
    )


def _ourselves() -> str:
    """Return the command that this program was started by."""
    program = sys.argv[0]
    if Path(program).name == "evaluation-proxy":
        return shlex.quote(program)
    return f"{shlex.quote(sys.executable)} -m proxy"


class SandboxThread:
    """The sandbox in a thread with its own loop, so that the proxy has the main one to itself."""

    def __init__(self, demo: Demo) -> None:
        self._demo = demo
        self._started: Future[int] = Future()
        self._leave: Future[Callable[[], object]] = Future()
        self._thread = threading.Thread(target=self._run, name="sandbox")

    def start(self) -> int:
        """Return the port once it listens; raises what the sandbox's start raises."""
        self._thread.start()
        try:
            return self._started.result()
        except (OSError, FileMistake):
            self._thread.join()
            raise

    def stop(self) -> None:
        """End the streams, close the port, end the thread."""
        self._leave.result()()
        self._thread.join()

    def _run(self) -> None:
        asyncio.run(self._live())

    async def _live(self) -> None:
        leaving, loop = asyncio.Event(), asyncio.get_running_loop()
        self._leave.set_result(lambda: loop.call_soon_threadsafe(leaving.set))
        try:
            await live(self._demo, leaving, self._started.set_result)
        except (OSError, FileMistake) as error:
            self._started.set_exception(error)


async def _alone(demo: Demo) -> None:
    leaving, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, leaving.set)
    await live(demo, leaving, lambda _port: None)


async def live(demo: Demo, leaving: asyncio.Event, on_start: Callable[[int], None]) -> None:
    """Run the sandbox until `leaving`; greet once everything answers."""
    sandbox = Sandbox(Path(demo.file))
    port = await sandbox.start(demo.host, demo.port)
    on_start(port)
    greeting = tasks.start("greeting", _greet(demo, port))
    await leaving.wait()
    await tasks.stop(greeting)
    await sandbox.stop()


async def _greet(demo: Demo, port: int) -> None:
    if demo.with_proxy:
        await _wait_until_ready(f"http://{demo.host}:{demo.operators_port}/readyz")
    sys.stdout.write(welcome(demo, port))
    sys.stdout.flush()


async def _wait_until_ready(url: str) -> None:
    async with aiohttp.ClientSession() as session:
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                async with session.get(url) as answer:
                    if answer.status == 200:
                        return
            await asyncio.sleep(LOOK_SECONDS)


def _no_port(demo: Demo, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {demo.port} is in use; stop who has it, or choose another with --port"
    return f"port {demo.port} on {demo.host}: {error.strerror or error}"


def _complain(code: int, sentence: str) -> int:
    sys.stderr.write(sentence + "\n")
    return code
