"""`sandbox --with-proxy`: what a newcomer starts first."""

import contextlib
import json
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.system.programs import PATIENCE, ROOT, Program, call, free_ports, get_json, wait_for

pytestmark = pytest.mark.system
NO_CURL = "needs curl" if shutil.which("curl") is None else ""


def demo(directory: Path, ports: list[int], *more: str) -> Program:
    sandbox, proxy, operators = map(str, ports)
    numbers = ("--port", sandbox, "--proxy-port", proxy, "--operators-port", operators)
    file = str(ROOT / "config" / "sandbox.yaml")
    return Program(directory, "sandbox", "--with-proxy", "--file", file, *numbers, *more)


def run(command: str) -> str:
    """Run a printed command as a shell would; it must succeed."""
    done = subprocess.run(
        shlex.split(command), capture_output=True, timeout=PATIENCE, check=True, text=True
    )
    return done.stdout


def curl(command: str) -> object:
    return json.loads(run(command))


@pytest.mark.skipif(bool(NO_CURL), reason=NO_CURL)
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "terminate"])
def test_it_says_where_everything_is_and_its_commands_work(tmp_path: Path, ending: int) -> None:
    ports = free_ports(3)
    with demo(tmp_path, ports) as program:
        wait_for(lambda: "Ctrl-C stops both" in program.said(), "greeting")
        said = program.said()
        commands = re.findall(r"^ +(curl .+)$", said, re.MULTILINE)
        status = re.findall(r"^ +(\S+ .*status --url \S+)$", said, re.MULTILINE)
        assert (len(commands), len(status)) == (2, 1)

        variants = curl(commands[0])
        wait_for(lambda: curl(commands[1])["counts"], "event at the sandbox")  # type: ignore[index]
        events = curl(commands[1])
        how_it_is = run(status[0])
        code = program.stop(ending)

    assert code == 0
    assert isinstance(variants, dict)
    assert isinstance(events, dict)
    assert variants["button-colour"]["key"] == "red"
    assert events["events"][0]["event_type"] == "[Experiment] Assignment"
    assert events["events"][0]["user_id"] == "ada"
    assert how_it_is.startswith("well ")
    assert "Traceback" not in program.said()
    for port in ports:
        assert f":{port}" in said
        assert call(f"http://127.0.0.1:{port}/")[0] == 0


@pytest.mark.parametrize("taken", [0, 1, 2], ids=["sandbox", "proxy", "operators"])
def test_a_taken_port_is_told_and_ends_it(tmp_path: Path, taken: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        ports = free_ports(3)
        ports[taken] = other.getsockname()[1]
        with demo(tmp_path, ports) as program:
            code = program.end()

    assert code == 3
    assert str(ports[taken]) in program.said()
    assert "Traceback" not in program.said()


def test_a_reader_that_leaves_ends_bulk_evaluation_quietly() -> None:
    command = [sys.executable, "-m", "proxy", "evaluate", "--lines"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, cwd=ROOT) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        assert program.stderr is not None
        program.stdin.write(b'{"flags": [], "user": {}}\n')
        program.stdin.flush()
        assert program.stdout.readline() == b"{}\n"

        program.stdout.close()
        with contextlib.suppress(BrokenPipeError):
            program.stdin.write(b'{"flags": [], "user": {}}\n' * 10)
            program.stdin.close()

        assert program.stderr.read() == b""
        assert program.wait(PATIENCE) == 0


def test_the_sandbox_alone_stops_on_a_signal(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    file = str(ROOT / "config" / "sandbox.yaml")
    with Program(tmp_path, "sandbox", "--file", file, "--port", str(port)) as program:
        wait_for(lambda: "events" in program.said(), "greeting")
        assert get_json(f"http://127.0.0.1:{port}/events")["events"] == []

        code = program.stop(signal.SIGINT)

    assert code == 0
    assert "Traceback" not in program.said()
