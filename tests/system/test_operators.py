"""The operators' port of a real proxy: its credential, and `status` in a real terminal."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from proxy.cli.main import main
from tests.system.programs import ROOT, Pair, call, get_json, wait_for

pytestmark = pytest.mark.system
TOKEN, PASSWORD = "hush-operators-token", "hush-operators-password"
FLAGS = "flags: {a: {serve: on}, b: {rollout: 50%}}\n"
BROKEN = FLAGS + "raw_flags: [{key: c, variants: {}, segments: [], dependencies: [c]}]\n"


def locked(directory: Path) -> Pair:
    """A pair whose operators' port wants a credential; its secrets stand in files."""
    pair = Pair(directory, FLAGS)
    (directory / "token").write_text(TOKEN + "\n")
    (directory / "password").write_text(PASSWORD)
    config = pair.config()
    config["configuration"]["metrics"] |= {
        "bearerTokenFile": str(directory / "token"),
        "basicUser": "ops",
        "basicPasswordFile": str(directory / "password"),
    }
    pair.config_file.write_text(json.dumps(config))
    return pair


def program(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    clean = {name: text for name, text in os.environ.items() if "AMPLITUDE" not in name}
    return subprocess.run(
        [sys.executable, "-m", "proxy", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=ROOT,
        env={**clean, **environ},
    )


def test_status_logs_in_as_the_configuration_says_and_shows_no_secret(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pair = locked(tmp_path)
    config = ("--config", str(pair.config_file))
    by_name = ("--user", "ops", "--password-file", str(tmp_path / "password"))
    known = {"Authorization": f"Bearer {TOKEN}"}
    with pair.sandbox(), pair.serve() as proxy:
        shown = program("status", *config)
        assert call(f"{pair.operators}/status")[0] == 401
        assert main(["status", "--url", pair.operators]) == 2
        assert "wants a credential; give --token-file" in capsys.readouterr().err
        assert main(["status", "--url", pair.operators, "--json", *by_name]) == 0
        answered = capsys.readouterr().out
        assert main(["probe", *config]) == 0
        metrics = call(f"{pair.operators}/metrics", headers=known)[1].decode()
        status = json.dumps(get_json(f"{pair.operators}/status", known))
    assert main(["check", *config]) == 0
    checked = capsys.readouterr().out

    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert re.search(r"\n  server +2 +0 +\d+ s ago ", shown.stdout)
    assert json.loads(answered)["status"]["ready"] is True
    refused = re.search(r'operators_refused_total{reason="no_credential"} ([0-9.]+)', metrics)
    assert refused is not None
    assert float(refused[1]) == 2, "probes are none"
    assert checked.count("(secret") == 5
    for text in (shown.stdout + shown.stderr, answered, metrics, status, checked, proxy.said()):
        assert TOKEN not in text
        assert PASSWORD not in text


def test_status_of_a_proxy_without_flags_names_the_reason(tmp_path: Path) -> None:
    pair = locked(tmp_path)
    with pair.serve(ready=False):
        shown = program("status", "--config", str(pair.config_file), NO_COLOR="1")
        status, body = call(f"{pair.operators}/readyz")

    assert shown.returncode == 1
    assert shown.stdout.startswith("not ready  evaluation-proxy ")
    assert "  ! not ready: " in shown.stdout
    assert (status, json.loads(body)) == (503, {"ready": False})


def test_status_follows_what_becomes_of_a_proxy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pair = Pair(tmp_path, FLAGS)
    asking = ["status", "--config", str(pair.config_file)]

    def shown(code: int, pattern: str) -> bool:
        found = main(asking)
        printed = capsys.readouterr().out
        return found == code and re.search(pattern, printed) is not None

    with pair.sandbox():
        with pair.serve():
            assert shown(0, r"^well  ")
            pair.variants({"user_id": "ada"})
            wait_for(lambda: shown(0, r"\n  project\b.*\n  \w+ +0 +0 B +- +1 +0 +200"), "an event")

            pair.flag_file.write_text(BROKEN)
            wait_for(lambda: shown(1, r"\n  server +c +nothing +\S"), "a flag left out")
            assert shown(1, r"^in trouble  .*\n  ! \w+: 1 flag left out\n")

            pair.flag_file.write_text(FLAGS.replace("50%", "60%"))
            changed = r" ago, server: b: .*50.*60"
            wait_for(lambda: shown(0, changed), "the change, and its end")
        assert shown(4, r"no answer: ")


class Watching:
    """`status --watch` in a terminal of its own."""

    def __init__(self, process: subprocess.Popen[bytes], terminal: int) -> None:
        self.process = process
        self._terminal = terminal
        self.shown = ""

    def reads(self, text: str) -> bool:
        """Read what there is; return whether a text was shown."""
        self.shown += os.read(self._terminal, 65536).decode(errors="replace")
        return text in self.shown

    def leave(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(60)


@contextmanager
def watching(pair: Pair, **environ: str) -> Iterator[Watching]:
    ours, theirs = pty.openpty()
    clean = {name: text for name, text in os.environ.items() if name != "NO_COLOR"}
    process = subprocess.Popen(
        [sys.executable, "-m", "proxy", "status", "--url", pair.operators, "--watch", "0.1"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=ROOT,
        env={**clean, "TERM": "xterm", **environ},
    )
    os.close(theirs)
    try:
        yield Watching(process, ours)
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def test_who_watches_sees_the_proxy_go_and_leaves_with_ctrl_c(tmp_path: Path) -> None:
    pair = Pair(tmp_path, FLAGS)
    with pair.sandbox(), pair.serve() as proxy, watching(pair) as seen:
        wait_for(lambda: seen.reads("\x1b[32mwell\x1b[0m"), "a well proxy, in green")
        assert proxy.stop() == 0
        wait_for(lambda: seen.reads("no answer: "), "its end")
        assert seen.leave() == 4

    assert "\x1b[H" in seen.shown
    assert "Traceback" not in seen.shown


def test_no_color_means_none(tmp_path: Path) -> None:
    pair = Pair(tmp_path, FLAGS)
    with watching(pair, NO_COLOR="1") as seen:
        wait_for(lambda: seen.reads("no answer: "), "an answer")

    assert not re.search(r"\x1b\[[0-9;]*m", seen.shown)


def test_a_program_that_watches_gets_a_line_for_each_look(unused_tcp_port: int) -> None:
    url = f"http://127.0.0.1:{unused_tcp_port}"
    command = [sys.executable, "-m", "proxy", "status", "--url", url, "--json", "--watch", "0.1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        lines = [json.loads(process.stdout.readline()) for _ in range(2)]
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        code = process.wait(60)

    assert [line["url"] for line in lines] == [url, url]
    assert code == 4
