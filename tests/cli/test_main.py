"""What may be typed, what is printed, and the exit codes."""

import io
import json
import logging
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
import yaml

from proxy import __version__
from proxy.cli.main import main

ROOT = Path(__file__).parent.parent.parent
FLAGS = [
    {
        "key": "greeting",
        "segments": [
            {
                "metadata": {"segmentName": "Germans"},
                "conditions": [
                    [
                        {
                            "selector": ["context", "user", "country"],
                            "op": "regex match",
                            "values": ["Ger.*"],
                        }
                    ]
                ],
                "variant": "hallo",
            },
            {"variant": "hello"},
        ],
        "variants": {
            "hallo": {"key": "hallo", "value": "hallo"},
            "hello": {"key": "hello", "payload": {"n": 1}},
        },
    },
    {"key": "other", "segments": [{"variant": "on"}], "variants": {"on": {"key": "on"}}},
]


@pytest.fixture
def flags(tmp_path: Path) -> str:
    path = tmp_path / "flags.json"
    path.write_text(json.dumps(FLAGS))
    return str(path)


def config(directory: Path, **more: Any) -> str:
    path = directory / "config.json"
    project = {"apiKey": "the-api-key", "secretKey": "the-secret", "managementKey": "the-manager"}
    path.write_text(json.dumps({"projects": [project], "configuration": more}))
    return str(path)


@pytest.fixture(autouse=True)
def _as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("PROXY_CONFIG_FILE_PATH", "PROXY_PROJECTS_FILE_PATH"):
        monkeypatch.delenv(name, raising=False)
    yield
    structlog.reset_defaults()
    logging.basicConfig(force=True)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["--version"])

    assert left.value.code == 0
    assert capsys.readouterr().out == f"{__version__}\n"


@pytest.mark.parametrize("arguments", [[], ["fly"], ["serve", "--fast"]])
def test_what_is_no_command_is_exit_code_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(arguments)

    assert left.value.code == 2


def test_check_prints_ok_and_what_is_in_force_but_no_secret(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = config(
        tmp_path, port=7001, serverZone="eu", analyticsServerUrl="https://api2.amplitude.com"
    )

    code = main(["check", "--config", path])

    printed = capsys.readouterr().out
    assert code == 0
    assert "ok; the settings in force:" in printed
    assert "port: 7001" in printed
    assert "https://flag.lab.eu.amplitude.com" in printed
    assert "(secret " in printed
    assert "note: " in printed
    for secret in ("the-api-key", "the-secret", "the-manager"):
        assert secret not in printed


def test_check_shows_no_hash_of_what_people_think_up(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    thought_up = "swordfish"
    path = config(
        tmp_path,
        metrics={"basicUser": "ops", "basicPassword": thought_up},
        redis={"uri": f"redis://:{thought_up}@localhost:6379"},
    )

    assert main(["check", "--config", path]) == 0

    told = yaml.safe_load(capsys.readouterr().out.partition("in force:\n")[2])
    assert told["metrics"]["basicPassword"] == told["redis"]["uri"] == "(secret)"
    assert told["metrics"]["bearerToken"] is None


@pytest.mark.parametrize("command", ["check", "serve"])
def test_all_mistakes_of_the_configuration_are_told_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    path = config(tmp_path, port="many", flagSyncIntervalMilis=1)

    code = main([command, "--config", path])

    said = capsys.readouterr()
    assert (code, said.out) == (2, "")
    assert "port" in said.err
    assert "flagSyncIntervalMillis" in said.err
    assert "Traceback" not in said.err


def test_evaluate_prints_the_variants(flags: str, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["evaluate", "--flags", flags, "--user", '{"country": "Germany"}'])

    assert code == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == {
        "greeting": {"key": "hallo", "value": "hallo", "metadata": {"segmentName": "Germans"}},
        "other": {"key": "on"},
    }


def test_evaluate_only_what_is_asked(flags: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(["evaluate", "--flags", flags, "--user", "{}", "--flag-keys", "other, none"])

    said = capsys.readouterr()
    assert list(json.loads(said.out)) == ["other"]
    assert said.err == "there is no flag none\n"


def test_evaluate_explains_in_words(flags: str, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["evaluate", "--flags", flags, "--user", '{"country": "Peru"}', "--explain"])

    printed = capsys.readouterr().out
    assert code == 0
    assert "greeting -> hello\n  1. Germans: not for this user\n" in printed
    assert 'context.user.country regex match Ger.*: no, it is "Peru"' in printed
    assert printed.startswith('{\n  "greeting"')


@pytest.mark.parametrize("more", [[], ["--explain"], ["--explain", "--json"]])
def test_no_flag_steers_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str]
) -> None:
    evil = "a\x1b[2J\x9b31m\u202e"
    path = tmp_path / "flags.json"
    named = {"segments": [{"metadata": {"segmentName": evil}, "variant": evil}]}
    good = {"key": evil, "variants": {evil: {"key": evil, "value": evil}}, **named}
    path.write_text(json.dumps([good, {"key": f"{evil} bad", "variants": 1, "segments": []}]))

    main(
        [
            "evaluate",
            "--flags",
            str(path),
            "--user",
            "{}",
            "--flag-keys",
            f"{evil},none-{evil}",
            *more,
        ]
    )

    said = capsys.readouterr()
    assert "left out" in said.err
    assert "there is no flag" in said.err
    assert all(line.isprintable() for line in (said.out + said.err).split("\n"))
    assert json.JSONDecoder().raw_decode(said.out)[0]


def test_evaluate_explains_in_json(flags: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(["evaluate", "--flags", flags, "--user", "{}", "--explain", "--json"])

    printed = json.loads(capsys.readouterr().out)
    assert printed["variants"]["greeting"]["key"] == "hello"
    assert printed["traces"]["greeting"]["matched"] is True
    assert len(printed["traces"]["greeting"]["steps"]) == 2


def test_evaluate_takes_the_sandboxs_file(capsys: pytest.CaptureFixture[str]) -> None:
    file = str(ROOT / "config" / "sandbox.yaml")

    code = main(["evaluate", "--flags", file, "--user", '{"user_id": "ada"}'])

    assert code == 0
    assert json.loads(capsys.readouterr().out)["button-colour"]["key"] == "red"


def test_evaluate_names_the_flags_it_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "flags.json"
    path.write_text(json.dumps([*FLAGS, {"key": "bad"}]))

    code = main(["evaluate", "--flags", str(path), "--user", "{}"])

    said = capsys.readouterr()
    assert code == 0
    assert "left out bad: " in said.err
    assert list(json.loads(said.out)) == ["greeting", "other"]


@pytest.mark.parametrize(
    ("content", "user", "reason"),
    [
        (None, "{}", "cannot read "),
        (b"{}", "{}", "cannot use the flags in "),
        (b"\xff", "{}", "cannot use the flags in "),
        (b"[]", "[]", "cannot use the user: "),
        (b"[]", "{", "cannot use the user: "),
    ],
)
def test_input_that_cannot_be_used_is_one_sentence_and_exit_code_2(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    content: bytes | None,
    user: str,
    reason: str,
) -> None:
    path = tmp_path / "flags.json"
    if content is not None:
        path.write_bytes(content)

    code = main(["evaluate", "--flags", str(path), "--user", user])

    said = capsys.readouterr()
    assert (code, said.out) == (2, "")
    assert said.err.startswith(reason)
    assert said.err.count("\n") == 1


def test_a_mistake_in_a_sandboxs_file_tells_its_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "flags.yaml"
    path.write_text("flags:\n  a:\n    serve: onn\n")

    assert main(["evaluate", "--flags", str(path), "--user", "{}"]) == 2
    assert "line 3: there is no variant 'onn'" in capsys.readouterr().err
    path.write_bytes(b"flags:\n  \xff: \n")
    assert main(["evaluate", "--flags", str(path), "--user", "{}"]) == 2
    assert "line 2: not UTF-8 text" in capsys.readouterr().err


def test_evaluate_needs_flags_and_a_user(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--user", "{}"]) == 2
    assert "--flags" in capsys.readouterr().err


class Standard:
    """Standard input or output with bytes underneath."""

    def __init__(self, content: bytes = b"") -> None:
        self.buffer = io.BytesIO(content)


@pytest.mark.parametrize(("bad", "code"), [([], 0), ([b"{"], 1)])
def test_evaluate_lines_ends_with_1_if_a_line_had_no_answer(
    monkeypatch: pytest.MonkeyPatch, bad: list[bytes], code: int
) -> None:
    line = json.dumps({"flags": FLAGS, "user": {}}).encode()
    out = Standard()
    monkeypatch.setattr(sys, "stdin", Standard(b"\n".join([*bad, line, line])))
    monkeypatch.setattr(sys, "stdout", out)

    assert main(["evaluate", "--lines"]) == code
    assert [list(json.loads(each)) for each in out.buffer.getvalue().splitlines()] == [
        *([["error"]] * len(bad)),
        ["greeting", "other"],
        ["greeting", "other"],
    ]


@pytest.mark.parametrize("more", [[], ["--with-proxy"]])
def test_the_sandbox_needs_a_good_flag_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str]
) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text("flags:\n  a: {serv: on}\n")

    codes = [
        main(["sandbox", "--file", str(path), "--port", "0", *more])
        for path in (broken, tmp_path / "none.yaml")
    ]

    said = capsys.readouterr().err
    assert codes == [2, 2]
    assert "line 2: flag 'a' has no setting 'serv'" in said
    assert "there is no flag file" in said


def test_a_flag_file_that_is_a_directory_is_no_matter_of_the_port(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sandbox", "--file", str(tmp_path), "--port", "0"]) == 2
    assert capsys.readouterr().err == f"cannot read {tmp_path}: Is a directory\n"


@pytest.mark.parametrize(
    "arguments",
    [("--port", "70000"), ("--port", "-1"), ("--proxy-port", "0"), ("--operators-port", "http")],
)
def test_a_number_that_is_no_port_is_told(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, str]
) -> None:
    with pytest.raises(SystemExit) as left:
        main(["sandbox", *arguments])

    assert left.value.code == 2
    assert f"{arguments[0]}: expected a port from 1 to 65535" in capsys.readouterr().err


def test_a_taken_port_of_the_sandbox_says_which_option_chooses_another(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "flags.yaml"
    path.write_text("flags:\n")
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        code = main(["sandbox", "--file", str(path), "--port", str(port)])

    assert code == 3
    assert f"port {port} is in use" in capsys.readouterr().err
    assert main(["sandbox", "--file", str(path), "--host", "192.0.2.1", "--port", "0"]) == 3
    assert "cannot start the sandbox: port 0 on 192.0.2.1: " in capsys.readouterr().err
