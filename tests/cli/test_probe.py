"""`probe` tells a container's health check, and a newcomer, how a proxy is."""

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from proxy.cli.main import main
from proxy.cli.probe import own_url
from proxy.settings.schema import OperatorsPort
from tests import builders

KEY = "server-secret-key"
Answers = dict[str, tuple[int, bytes]]


@pytest.fixture
def served() -> Iterator[tuple[str, Answers, list[dict[str, Any]]]]:
    answers: Answers = {}
    asked: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(dict(self.headers))
            status, body = answers[self.path]
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", answers, asked
        server.shutdown()
        thread.join()


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


def test_what_cannot_be_used_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "key").write_text("two words")
    for arguments, says in (
        (["file:///etc/passwd"], "begins with http"),
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
    settings = builders.settings(metrics=OperatorsPort(host=host))
    assert own_url(settings, only_live=False) == url
    assert own_url(settings, only_live=True) == url.replace("readyz", "livez")


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
