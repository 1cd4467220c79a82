"""`probe` tells a container's health check, and a newcomer, how a proxy is."""

import socket
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from proxy.cli.main import main
from proxy.cli.probe import own_url
from proxy.settings.schema import OperatorsPort
from tests.cli.answering import Answers, Served, answering

KEY = "server-secret-key"


@pytest.mark.parametrize(
    ("status", "body", "code", "says"),
    [
        (200, b"{}", 0, "ok\n"),
        (503, b'{"ready":false,\n"parts":[]}', 1, 'answered 503: {"ready":false, "parts":[]}\n'),
        (404, b"\xff", 1, "answered 404: \N{REPLACEMENT CHARACTER}\n"),
    ],
)
def test_it_says_how_the_proxy_is(
    served: tuple[str, Answers, Any],
    capsys: pytest.CaptureFixture[str],
    status: int,
    body: bytes,
    code: int,
    says: str,
) -> None:
    url, answers, _ = served
    answers["/readyz"] = status, body

    assert main(["probe", f"{url}/readyz"]) == code
    assert capsys.readouterr().out == says


@pytest.mark.parametrize(
    ("body", "code"),
    [(b'{"f":{"key":"on"}}', 0), (b"{}", 1), (b"[1]", 1), (b"<html>", 1), (b"[" * 9999, 1)],
)
def test_with_a_key_it_expects_variants(
    served: tuple[str, Answers, list[dict[str, Any]]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    body: bytes,
    code: int,
) -> None:
    url, answers, asked = served
    answers["/sdk/v2/vardata"] = 200, body
    (tmp_path / "key").write_text(KEY + "\n")

    assert main(["probe", f"{url}/sdk/v2/vardata", "--key-file", str(tmp_path / "key")]) == code

    assert asked[0]["Authorization"] == f"Api-Key {KEY}"
    assert KEY not in capsys.readouterr().out


def test_nobody_there_is_no_traceback(
    unused_tcp_port: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert main(["probe", f"http://127.0.0.1:{unused_tcp_port}/"]) == 1
    assert "no answer" in capsys.readouterr().out


def test_a_credential_follows_no_redirection(
    served: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url, answers, _ = served
    (tmp_path / "key").write_text(KEY)
    with answering() as (elsewhere, _, asked_elsewhere):
        answers["/sdk/v2/vardata"] = 302, f"{elsewhere}/sdk/v2/vardata".encode()
        asking = ["probe", f"{url}/sdk/v2/vardata", "--key-file", str(tmp_path / "key")]
        assert main(asking) == 1

    assert not asked_elsewhere
    assert capsys.readouterr().out.startswith("answered 302")


def test_what_speaks_no_http_is_no_answer(capsys: pytest.CaptureFixture[str]) -> None:
    def speak(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with connection:
            connection.recv(1000)
            connection.sendall(b"SSH-2.0-server\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listening:
        speaking = Thread(target=speak, args=(listening,))
        speaking.start()
        code = main(["probe", f"http://127.0.0.1:{listening.getsockname()[1]}/"])
        speaking.join()

    assert code == 1
    assert capsys.readouterr().out.startswith("no answer: ")


def test_what_is_answered_steers_no_terminal(
    served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    url, answers, _ = served
    answers["/readyz"] = 503, b"\x1b]0;owned\x07 \xc2\x9b31m"

    assert main(["probe", f"{url}/readyz"]) == 1
    assert capsys.readouterr().out.removesuffix("\n").isprintable()


def test_the_own_credential_is_sent_to_the_own_port(
    served: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url, answers, asked = served
    answers["/readyz"] = 200, b"{}"
    port = url.rpartition(":")[2]
    config = tmp_path / "proxy.yaml"
    config.write_text(f"configuration: {{metrics: {{port: {port}, bearerToken: hush-token}}}}\n")

    assert main(["probe", "--config", str(config)]) == 0
    assert main(["probe", f"{url}/readyz", "--config", str(config)]) == 0

    assert [each.get("Authorization") for each in asked] == ["Bearer hush-token", None]
    assert "hush" not in capsys.readouterr().out


def test_what_cannot_be_used_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "key").write_text("two words")
    for arguments, says in (
        (["file:///etc/passwd"], "begins with http"),
        (["http://me:hush@h/"], "a URL cannot hold the credential"),
        (["http://[/"], "cannot be used"),
        (["http://h/ö"], "cannot be used"),
        (["http://h/", "--key-file", str(tmp_path / "none")], "No such file"),
        (["http://h/", "--key-file", str(tmp_path / "key")], "not a key"),
    ):
        assert main(["probe", *arguments]) == 2
        assert says in capsys.readouterr().err


@pytest.mark.parametrize("seconds", ["0", "-1", "many", "nan", "9999"])
def test_a_timeout_is_seconds(seconds: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["probe", "http://h/", "--timeout", seconds])
    assert "expected seconds" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("0.0.0.0", "http://127.0.0.1:9090/readyz"),
        ("::", "http://[::1]:9090/readyz"),
        ("10.1.2.3", "http://10.1.2.3:9090/readyz"),
    ],
)
def test_by_default_it_asks_the_operators_port(host: str, url: str) -> None:
    port = OperatorsPort(host=host)
    assert own_url(port, only_live=False) == url
    assert own_url(port, only_live=True) == url.replace("readyz", "livez")


def test_the_configuration_names_the_port(
    served: tuple[str, Answers, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url, answers, _ = served
    answers["/livez"] = 200, b"OK"
    config = tmp_path / "proxy.yaml"
    config.write_text(
        "projects: [{apiKey: a, secretKey: b, managementKey: c}]\n"
        f"configuration: {{metrics: {{host: 127.0.0.1, port: {url.rpartition(':')[2]}}}}}\n"
    )

    assert main(["probe", "--live", "--config", str(config)]) == 0
    assert capsys.readouterr().out == "ok\n"
