"""`status` shows how a proxy is, whatever that proxy says."""

import io
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from proxy.cli.main import main
from proxy.cli.terminal import columns_of
from tests.cli.answering import Answers, Served

TOKEN, PASSWORD = "hush-token", "hush-password"
STATUS: dict[str, Any] = {
    "version": "9.8.7",
    "started_at": 1000.0,
    "uptime_seconds": 7260.0,
    "deployments": [
        {
            "deployment": "prod",
            "flags": 12,
            "age_seconds": 4,
            "source": "stream",
            "stream": "delivers",
            "left_out": [],
        }
    ],
    "cohorts": [
        {
            "project": "shop",
            "here": 1,
            "cohorts": [{"id": "beta", "state": "here", "size": 1_250_000, "age_seconds": 70}],
        }
    ],
    "store": {"directory": "/data"},
    "spool": {"place": "disk", "used_bytes": 1_000_000, "max_bytes": 1_000_000_000},
    "events": [{"project": "shop", "pending": 3, "pending_bytes": 2100, "oldest_age_seconds": 2}],
}
TRAFFIC = {
    "interval_seconds": 5,
    "samples": [
        {
            "at": 1 + 5 * n,
            "requests_per_second": float(n),
            "failures_per_second": 0.25,
            "p50_millis": 0.4,
            "p99_millis": 12.0,
        }
        for n in range(60)
    ],
}
CHANGES = {
    "changes": [
        {
            "at": 8200.0,
            "deployment": "prod",
            "flag": "checkout",
            "kind": "changed",
            "what": ["turned on", "segment “Beta”: on 10 % → 50 %"],
        }
    ]
}
HOSTILE = "\x1b[2J\x1b]0;owned\x07\x9b31m\u202e\r\n" + "wide旗" * 40


def set_up(answers: Answers, status: Any = STATUS, *, ready: bool = True) -> None:
    parts = [{"name": "prod", "ready": ready, "reason": "" if ready else "no flags yet"}]
    answers["/readyz"] = (
        200 if ready else 503,
        json.dumps({"ready": ready, "parts": parts}).encode(),
    )
    answers["/status"] = 200, json.dumps(status).encode()
    answers["/status/traffic"] = 200, json.dumps(TRAFFIC).encode()
    answers["/status/changes"] = 200, json.dumps(CHANGES).encode()


def test_it_shows_all_areas(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    url, answers, _ = served
    set_up(answers)

    assert main(["status", "--url", url]) == 0

    printed = capsys.readouterr().out
    assert printed.startswith(f"well  evaluation-proxy 9.8.7 at {url}, up 2 h 01 min\n")
    assert re.search(r"\n  prod +12 +0 +4 s ago +stream +delivers\n", printed)
    assert re.search(r"\n  beta +here +1.2 M +1 min ago\n", printed)
    assert re.search(r"\n  shop +3 +2.1 kB +2 s +0 +0 +-\n  on disk: 1.0 MB of 1.0 GB\n", printed)
    assert "  59/s now, 0.2/s refused or failed; p50 0.4 ms, p99 12 ms\n" in printed
    assert "█  up to 59/s in 5 min\n" in printed
    assert "  1 min ago, prod: checkout: turned on; segment “Beta”: on 10 % → 50 %\n" in printed
    assert "left out\n  prod" not in printed.replace("Flags left out", ""), "no empty blocks"
    assert "\x1b" not in printed


def test_trouble_is_named_first_and_is_exit_code_1(
    served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    url, answers, _ = served
    left_out = [
        {"flag": "checkout", "reason": "segment 2: unknown operator", "in_force": True},
        {"flag": "banner", "reason": "cycle", "in_force": False},
    ]
    deployments = [{**STATUS["deployments"][0], "left_out": left_out}]
    set_up(answers, {**STATUS, "deployments": deployments}, ready=False)

    assert main(["status", "--url", url]) == 1

    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("not ready  evaluation-proxy")
    assert lines[1:3] == ["  ! not ready: prod: no flags yet", "  ! prod: 2 flags left out"]
    assert "  prod        checkout  earlier one  segment 2: unknown operator" in lines
    assert "  prod        banner    nothing      cycle" in lines

    set_up(answers, {**STATUS, "deployments": deployments})
    assert main(["status", "--url", url]) == 1
    assert capsys.readouterr().out.startswith("in trouble  ")


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_hostile_texts_steer_no_terminal_and_break_no_line(
    served: Served, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    def spoilt(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: spoilt(part) for key, part in value.items()}
        if isinstance(value, list):
            return [spoilt(part) for part in value]
        return HOSTILE if isinstance(value, str) else value

    url, answers, _ = served
    left_out = [{"flag": "a", "reason": "b", "in_force": False}]
    deployments = [{**STATUS["deployments"][0], "left_out": left_out, "trouble": "t"}] * 3
    said = {**STATUS, "deployments": deployments, "notices": ["n"], "loops_down": ["l"]}
    set_up(answers, spoilt(said))
    changes = {"changes": spoilt(CHANGES["changes"])}
    answers["/status/changes"] = 200, json.dumps(changes).encode()
    out = io.TextIOWrapper(io.BytesIO(), encoding=encoding, newline="")
    monkeypatch.setattr(sys, "stdout", out)

    code = main(["status", "--url", url])
    as_json = main(["status", "--url", url, "--json"])

    out.flush()
    printed = out.buffer.getvalue().decode(encoding)
    shown, brace, document = printed.partition("{\n")
    assert (code, as_json) == (1, 1)
    assert all(line.isprintable() for line in printed.split("\n"))
    assert all(columns_of(line) <= 80 for line in shown.split("\n"))
    assert document.isascii()
    assert json.loads(brace + document)["status"]["deployments"][0]["deployment"] == HOSTILE


def test_a_program_gets_everything(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    url, answers, _ = served
    set_up(answers, {**STATUS, "loops_down": ["events"]})

    assert main(["status", "--url", url, "--json"]) == 1

    printed = json.loads(capsys.readouterr().out)
    assert printed["well"] is False
    assert printed["alarms"] == ["the loop events is down"]
    assert printed["status"]["deployments"] == STATUS["deployments"]
    assert printed["traffic"] == TRAFFIC
    assert printed["changes"] == CHANGES
    assert printed["ready"]["ready"] is True


def test_another_version_may_say_less(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    url, answers, _ = served
    set_up(answers, {"version": "0.0.1"})
    del answers["/status/traffic"], answers["/status/changes"]

    assert main(["status", "--url", url + "/status/"]) == 0

    assert capsys.readouterr().out.endswith("\nDeployments\n  none\n")


def test_much_is_shown_in_part(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    url, answers, _ = served
    many = [{"id": f"c{n}", "state": "here"} for n in range(70)] + [{"id": "z", "state": "missing"}]
    set_up(answers, {**STATUS, "cohorts": [{"project": "shop", "cohorts": many}]})
    many_changed = {**CHANGES["changes"][0], "flag": "", "what": ["120 flags changed"]}
    changes = {"changes": [many_changed, *CHANGES["changes"] * 9]}
    answers["/status/changes"] = 200, json.dumps(changes).encode()

    main(["status", "--url", url])

    printed = capsys.readouterr().out
    assert "  and 21 more (--json has all)\n" in printed
    assert re.search(r"cohort +state.*\n  z +missing", printed), "what is in trouble comes first"
    assert "  1 min ago, prod: 120 flags changed\n" in printed
    assert "  and 2 earlier ones\n" in printed


@pytest.mark.parametrize(
    ("arguments", "sent"),
    [
        (["--token-file", "{secret}"], "Bearer hush-token"),
        (["--user", "ops", "--password-file", "{secret}"], "Basic b3BzOmh1c2gtdG9rZW4="),
        (["--config", "{config}"], "Bearer hush-of-config"),
        (["--config", "{config}", "--token-file", "{secret}"], "Bearer hush-token"),
        ([], None),
    ],
)
def test_a_credential_is_sent_where_it_was_meant_for(
    served: Served,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    sent: str | None,
) -> None:
    url, answers, asked = served
    set_up(answers)
    (tmp_path / "secret").write_text(TOKEN + "\n")
    config = tmp_path / "proxy.yaml"
    config.write_text("configuration: {metrics: {bearerToken: hush-of-config}}\n")
    monkeypatch.setenv("AMPLITUDE_METRICS_BASIC_USER", "not-for-that-url")
    monkeypatch.setenv("AMPLITUDE_METRICS_BASIC_PASSWORD", "not-for-that-url")
    filled = [each.format(secret=tmp_path / "secret", config=config) for each in arguments]

    assert main(["status", "--url", url, *filled]) == 0

    assert {each.get("Authorization") for each in asked} == {sent}
    assert "hush" not in capsys.readouterr().out


def test_the_configuration_names_port_and_login(
    served: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url, answers, asked = served
    set_up(answers)
    (tmp_path / "password").write_text(PASSWORD)
    config = tmp_path / "proxy.yaml"
    config.write_text(
        f"configuration:\n  metrics: {{port: {url.rpartition(':')[2]}, basicUser: ops,"
        f" basicPasswordFile: {tmp_path / 'password'}}}\n"
    )

    assert main(["status", "--config", str(config)]) == 0

    assert {each["Authorization"] for each in asked} == {"Basic b3BzOmh1c2gtcGFzc3dvcmQ="}
    assert PASSWORD not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--user", "ops"], "--user and --password-file go together"),
        (["--password-file", "x"], "--user and --password-file go together"),
        (["--user", "a", "--password-file", "x", "--token-file", "x"], "not both"),
        (["--token-file", "/nonexistent"], "the token file cannot be used: No such file"),
        (["--url", "localhost:9090"], "begins with http"),
        (["--url", "http://ops:hush@localhost"], "a URL cannot hold the credential"),
        (["--config", "/nonexistent.yaml"], "cannot be read: No such file"),
    ],
)
def test_what_cannot_be_used_is_exit_code_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    assert main(["status", *arguments]) == 2

    said = capsys.readouterr()
    assert says in said.err
    assert "hush" not in said.err + said.out


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        (
            401,
            b'{"code":401,"error":"wants a credential"}',
            "wants a credential; give --token-file",
        ),
        (403, b'{"code":403,"error":"\\u001b[2Jask otherwise"}', "\N{REPLACEMENT CHARACTER}[2Jask"),
        (403, b"<html>", "without a reason"),
        (403, b'{"error":5}', "without a reason"),
    ],
)
def test_a_refusal_is_exit_code_2_and_says_what_to_give(
    served: Served, capsys: pytest.CaptureFixture[str], status: int, body: bytes, says: str
) -> None:
    url, answers, _ = served
    set_up(answers)
    answers["/status"] = status, body

    assert main(["status", "--url", url]) == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize(
    ("path", "status", "body", "says"),
    [
        ("/status", 404, b"", "/status is answered with 404: is this the operators' port?"),
        ("/readyz", 302, b"http://127.0.0.1:9/", "/readyz is answered with 302"),
        ("/status", 200, b"OK", "/status is not answered as a proxy does"),
        ("/status", 200, b"\xff", "/status is not answered as a proxy does"),
        ("/status", 200, b"[" * 5000, "/status is not answered as a proxy does"),
        ("/status", 200, b"{}", "the answer is not a proxy's"),
        ("/status", 200, b'{"version": 1}', "the answer is not a proxy's"),
        ("/status/traffic", 200, b'{"samples": [1]}', "the answer is not a proxy's"),
    ],
)
def test_who_is_no_proxy_is_exit_code_4(
    served: Served,
    capsys: pytest.CaptureFixture[str],
    path: str,
    status: int,
    body: bytes,
    says: str,
) -> None:
    url, answers, _ = served
    set_up(answers)
    answers[path] = status, body

    assert main(["status", "--url", url]) == 4
    assert f"{url}: no answer: {says}" in capsys.readouterr().out


def test_nobody_there_is_exit_code_4(
    unused_tcp_port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"http://127.0.0.1:{unused_tcp_port}"

    assert main(["status", "--url", url]) == 4
    assert capsys.readouterr().out == f"{url}: no answer: [Errno 111] Connection refused\n"
    assert main(["status", "--url", url, "--json"]) == 4
    assert json.loads(capsys.readouterr().out)["no_answer"] == "[Errno 111] Connection refused"
