"""A reader who does what a page says, in a folder of his own, with a proxy at hand.

This is the one place where what a page says is changed before it is done:

- the default ports give way to free ones, in texts and by the environment;
- the hosts of Amplitude are the sandbox;
- the keys that stand for the reader's own are those of the sandbox;
- folders of the system (/run, /etc, /var/lib) lie in the reader's folder;
- `curl` takes a status of 400 or more for a failure, and `make` the virtual environment for ready.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from proxy.sandbox.server import API_KEY, CLIENT_KEY, MANAGEMENT_KEY, SECRET_KEY, SERVER_KEY
from tests.clients.running import HERE as CLIENTS
from tests.clients.running import need_node
from tests.docs.laid import lay_files
from tests.docs.likeness import alike
from tests.docs.pages import ROOT, Block
from tests.system.programs import call, free_ports, wait_for

KEYS = {
    "server-deployment-key": SERVER_KEY,
    "client-deployment-key": CLIENT_KEY,
    "your project's API key": API_KEY,
    "your project's secret key": SECRET_KEY,
    "a management API key": MANAGEMENT_KEY,
}
PROJECT = {"apiKey": API_KEY, "secretKey": SECRET_KEY, "managementKey": MANAGEMENT_KEY}
URLS = ("SERVER", "COHORT_SERVER", "MANAGEMENT_SERVER", "ANALYTICS_SERVER", "STREAM_SERVER")
MORE_URLS = ("SCRIPT_SERVER", "REMOTE_EVALUATION_SERVER")
LASTS = re.compile(
    r"(?:^|\s)(?:make run|(?:\S*/)?evaluation-proxy (?:serve|sandbox)|python -m proxy serve)\b"
)
SANDBOX = re.compile(r"(evaluation-proxy sandbox)\b(.*)")
OWN_FOLDERS = re.compile(r"(?<![\w.}/])/(?=(?:run|etc|var/lib)/)")
CHANGES_THE_MACHINE = re.compile(
    r"(?:^|[|&;] *)\s*(?:sudo|helm (?:install|upgrade|test)|kubectl|docker|systemctl|apt-get|pip3?|"
    r"useradd|make (?:test|check|bench|clients|lock|docs|jvm|hunt|differential|clean))\b",
    re.MULTILINE,
)
PORT = re.compile(r"(?<![\d.])(3546|3547|9090)(?![\d.]\d)")
BROWSER = """\
const storage = () => {
  const items = new Map();
  return {
    getItem: (name) => (items.has(name) ? items.get(name) : null),
    setItem: (name, text) => items.set(name, String(text)),
    removeItem: (name) => items.delete(name),
  };
};
globalThis.localStorage ??= storage();
globalThis.sessionStorage ??= storage();
"""
"""What the browser SDKs find where there is no browser."""


class Server:
    """What runs until Ctrl-C, in a terminal of its own."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path, ports: set[int]) -> None:
        self.process = process
        self.ports = ports
        self._log = log

    def said(self) -> str:
        return self._log.read_text(errors="replace")

    def interrupt(self) -> None:
        """Press Ctrl-C, and wait until it has gone."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGINT)
        try:
            self.process.wait(60)
        finally:
            end_all(self.process)


def end_all(process: subprocess.Popen[bytes]) -> None:
    """Kill what is left of a process and its children."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


class Reader:
    """Does the blocks of a page, one after the other."""

    def __init__(self, place: Path) -> None:
        self._place = place
        clients, sandbox, operators = free_ports(3)
        self._ports = {3546: clients, 3547: sandbox, 9090: operators}
        self._servers: list[Server] = []
        self._count = 0
        self._clone()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers:
            end_all(server.process)

    def do(self, block: Block, answer: Block | None) -> None:
        """Do what a block says; it must succeed, and say what `answer` holds, if there is one."""
        text = self.own(block.text)
        changes = block.language == "sh" and CHANGES_THE_MACHINE.search(text)
        assert not changes, f"{block.place} is not for a test to run: say so (not-run=...)"
        if block.file_name is not None:
            self._write(block, text)
        elif block.language == "sh" and LASTS.search(last_command(text)):
            self._serve(text, block.place)
        elif block.language == "sh" and "until-stopped" in block.words:
            self._need_proxy(text)
            self._watch(text, block.place)
        elif block.language == "sh":
            self._need_proxy(text)
            self._run(["bash", "-e", "-o", "pipefail", "-c", text], block.place, answer)
        elif block.language in {"python", "js"}:
            self._need_proxy(text)
            self._run(self._program(block.language, text), block.place, answer)

    def own(self, text: str) -> str:
        """Return what a page says with this reader's ports, keys and folders."""
        for key, of_sandbox in KEYS.items():
            text = text.replace(key, of_sandbox)
        text = PORT.sub(lambda found: str(self._ports[int(found[0])]), text)
        text = OWN_FOLDERS.sub(f"{self._place}/", text)
        return SANDBOX.sub(self._with_ports, text)

    def _with_ports(self, found: re.Match[str]) -> str:
        """Return how the sandbox is started, with the ports that are its defaults named."""
        if "--port" in found[2]:
            return found[0]
        options = {"--port": 3547}
        if "--with-proxy" in found[2]:
            options |= {"--proxy-port": 3546, "--operators-port": 9090}
        named = " ".join(f"{option} {self._ports[port]}" for option, port in options.items())
        return f"{found[1]} {named}{found[2]}"

    def _clone(self) -> None:
        """Lay out what a clone of the repository holds; what a reader may edit is a copy."""
        for each in ROOT.iterdir():
            if each.name not in {".git", "config", "Makefile", ".venv"}:
                (self._place / each.name).symlink_to(each)
        (self._place / ".venv").symlink_to(sys.prefix)
        (self._place / "node_modules").symlink_to(CLIENTS / "node_modules")
        shutil.copytree(ROOT / "config", self._place / "config")
        (self._place / "Makefile").write_text(self.own((ROOT / "Makefile").read_text()))
        (self._place / "browser.mjs").write_text(BROWSER)
        tools = self._place / "tools"
        tools.mkdir()
        for name, options in (("curl", "--fail-with-body"), ("make", "-o .venv/.ready")):
            (tools / name).write_text(f'#!/bin/sh\nexec {shutil.which(name)} {options} "$@"\n')
            (tools / name).chmod(0o755)

    def _write(self, block: Block, text: str) -> None:
        """Save a file that the page shows; a configuration of no project gets the sandbox's."""
        assert block.file_name is not None
        lay_files(text, self._place)
        if re.match(r"#.*\nconfiguration:", text) and "\nprojects:" not in text:
            text += f"projects: {json.dumps([PROJECT])}\n"
        (self._place / block.file_name).write_text(text)

    def _serve(self, text: str, place: str) -> None:
        """Start what lasts, as in a terminal of its own, and wait until it answers."""
        if "sandbox" in last_command(text) and "--with-proxy" not in text:
            ports = {3547}
        elif re.search(r"make run|--with-proxy", text):
            ports = {3546, 3547, 9090}
        else:
            ports = {3546, 9090}
        self._make_room(ports)
        if 3547 not in ports and not any(3547 in each.ports for each in self._servers):
            self._serve(self.own("evaluation-proxy sandbox --port 3547"), "the reader")
        server = self._start(text, ports)
        self._servers.append(server)
        path, port = ("/readyz", 9090) if 9090 in ports else ("/", 3547)
        url = f"http://127.0.0.1:{self._ports[port]}{path}"

        def answers() -> bool:
            assert server.process.poll() is None, f"{place} ended:\n{text}\n{server.said()}"
            return call(url)[0] == 200

        wait_for(answers, f"answer to what {place} starts")

    def _start(self, text: str, ports: set[int]) -> Server:
        self._count += 1
        log = self._place / f"terminal-{self._count}.log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                ["bash", "-e", "-c", text],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                cwd=self._place,
                env=self._environ(),
                start_new_session=True,
            )
        return Server(process, log, ports)

    def _watch(self, text: str, place: str) -> None:
        """Run what does not end by itself until it says something, then press Ctrl-C."""
        server = self._start(text, set())
        try:
            wait_for(server.said, f"word from {place}")
        finally:
            server.interrupt()

    def _make_room(self, ports: set[int]) -> None:
        for server in self._servers:
            if server.ports & ports:
                server.interrupt()
        self._servers = [server for server in self._servers if not server.ports & ports]

    def _need_proxy(self, text: str) -> None:
        """Have a proxy run before it is asked, if the page has not started one."""
        taken = set[int]().union(*(server.ports for server in self._servers))
        wanted = {port for port, own in self._ports.items() if str(own) in text}
        if wanted - taken:
            self._serve(self.own("evaluation-proxy sandbox --with-proxy"), "the reader")

    def _program(self, language: str, text: str) -> list[str]:
        """Return how to run a program; it ends where its text does, whatever its SDK still does."""
        self._count += 1
        if language == "python":
            file = self._place / f"program_{self._count}.py"
            file.write_text(f"{text}\nimport os\nprint(end='', flush=True)\nos._exit(0)\n")
            return [sys.executable, str(file)]
        need_node()
        file = self._place / f"program_{self._count}.mjs"
        file.write_text(f"import './browser.mjs';\n{text}\nprocess.exit(0);\n")
        return ["node", str(file)]

    def _run(self, command: list[str], place: str, answer: Block | None) -> None:
        def right() -> bool:
            said = self._said(command, place)
            return answer is None or alike(said, self.own(answer.text), answer.language)

        if answer is None:
            right()
        else:
            # A change that the page has made a moment ago may take a moment.
            wait_for(right, f"answer at {place} like\n{answer.text}", within=30)

    def _said(self, command: list[str], place: str) -> str:
        log, errors = self._place / "said.log", self._place / "errors.log"
        with log.open("wb") as said, errors.open("wb") as complaints:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=complaints,
                cwd=self._place,
                env=self._environ(),
                start_new_session=True,
            )
        try:
            code = process.wait(60)
        finally:
            end_all(process)
        both = log.read_text(errors="replace") + errors.read_text(errors="replace")
        assert code == 0, f"{place} ends with {code}:\n{command[-1]}\n{both[-3000:]}"
        return log.read_text(errors="replace")

    def _environ(self) -> Mapping[str, str]:
        sandbox = f"http://127.0.0.1:{self._ports[3547]}"
        clean = {name: text for name, text in os.environ.items() if "AMPLITUDE" not in name}
        path = f"{self._place}/tools:{self._place}/.venv/bin:{os.environ['PATH']}"
        return {
            **clean,
            **{f"AMPLITUDE_{name}_URL": sandbox for name in (*URLS, *MORE_URLS)},
            "AMPLITUDE_HOST": "127.0.0.1",
            "AMPLITUDE_PORT": str(self._ports[3546]),
            "AMPLITUDE_METRICS_PORT": str(self._ports[9090]),
            "PATH": path,
            "PYTHONUNBUFFERED": "1",
            "NO_COLOR": "1",
        }


def last_command(text: str) -> str:
    """Return the last line that is a command."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return lines[-1] if lines else ""
