"""`evaluation-proxy snapshot`, as it is typed."""

import json
from pathlib import Path

import msgspec
import pytest

from proxy.cli.exits import DIED, DONE, WRONG_INPUT
from proxy.cli.main import main
from tests.archives.rig import SECRETS, Forge, filled, flags_of, held, pair, same, with_list

PROJECTS = "projects: [{apiKey: an-api-key, secretKey: s, deploymentKeys: [server-key-one]}]"


def config(settings: str) -> str:
    return f"configuration: {{{settings}}}\n{PROJECTS}\n"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a data directory `data` and keys `site.key` and `site.pub`."""
    monkeypatch.chdir(tmp_path)
    with_list(filled(tmp_path / "data"))
    assert main(["snapshot", "keygen", "--out", "site"]) == DONE
    return tmp_path


def export(*more: str) -> int:
    known = ["snapshot", "export", "--out", "a.snapshot", "--sign-key", "site.key"]
    return main([*known, *(more or ("--data-dir", "data"))])


def let_in(*more: str) -> int:
    return main(["snapshot", "import", "a.snapshot", "--data-dir", "site", *more])


def test_what_is_exported_can_be_seen_and_imported(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export() == DONE
    assert main(["snapshot", "inspect", "a.snapshot", "--verify-key", "site.pub"]) == DONE
    seen = capsys.readouterr().out
    assert let_in("--verify-key", "site.pub") == DONE
    assert let_in("--verify-key", "site.pub") == DONE
    done = capsys.readouterr()

    assert "verified" in seen
    assert "(staging)" in seen
    assert "friends, 2 members" in seen
    assert "holds it now" in done.out
    assert "held it already" in done.out
    assert done.err == ""
    assert same(held(here / "site"), held(here / "data"))
    assert not [secret for secret in SECRETS if secret in seen + done.out]


def test_the_configuration_may_name_the_directory(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "config.yaml").write_text(config(f"dataDir: {here}/data"))
    (here / "none.yaml").write_text(config(""))

    assert export("--config", "config.yaml") == DONE
    assert export("--config", "none.yaml") == DIED
    assert "no dataDir" in capsys.readouterr().err


def test_inspect_says_when_nobody_verified(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    export()
    capsys.readouterr()
    assert main(["snapshot", "inspect", "a.snapshot"]) == DONE
    assert "NOT verified" in capsys.readouterr().out
    assert main(["snapshot", "inspect", "a.snapshot", "--json"]) == DONE
    found = json.loads(capsys.readouterr().out)
    assert found["verified"] is False
    assert {one["kind"] for one in found["facts"]["records"]} == {"flags", "cohorts"}


def test_nothing_that_a_stranger_signed_moves_the_cursor(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export()
    forge = Forge(here / "a.snapshot")
    escape = "\x1b]0;title\x07"
    records = [
        msgspec.structs.replace(one, meta=msgspec.Raw(with_version(bytes(one.meta), escape)))
        for one in forge.facts.records
    ]
    forge.change(program=escape, id=escape, records=tuple(records))
    forge.written(here / "a.snapshot", pair(here, "stranger").signer)
    capsys.readouterr()

    assert main(["snapshot", "inspect", "a.snapshot"]) == DONE
    said = capsys.readouterr().out
    assert said.count("?]0;title?") >= 3
    assert said.replace("\n", "").isprintable()


def with_version(meta: bytes, version: str) -> bytes:
    return msgspec.json.encode(msgspec.json.decode(meta) | {"version": version})


def test_refusals_say_why_and_change_nothing(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export()
    assert let_in("--verify-key", "site.pub") == DONE
    before = flags_of(held(here / "site"))
    main(["snapshot", "keygen", "--out", "stranger"])
    capsys.readouterr()
    (here / "b.snapshot").write_bytes(b"nonsense")
    for arguments, word in (
        (["a.snapshot", "--verify-key", "stranger.pub"], "unknown_signer"),
        (["b.snapshot", "--verify-key", "site.pub"], "damaged"),
        (["c.snapshot", "--verify-key", "site.pub"], "unreadable"),
        (["a.snapshot", "--verify-key", "site.key"], "unreadable"),
        (["a.snapshot", "--verify-key", "none"], "unreadable"),
        (["a.snapshot", "--verify-key", "site.pub", "--max-bytes", "10"], "too_large"),
    ):
        assert main(["snapshot", "import", *arguments, "--data-dir", "site"]) == DIED
        said = capsys.readouterr()
        assert said.err.startswith(f"refused ({word}): "), said.err
        assert said.out == ""
    assert flags_of(held(here / "site")) == before


def test_an_older_one_needs_force(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    export()
    filled(here / "site", "flags: {plain: {serve: off}}\n", 2_500_000.0)

    assert let_in("--verify-key", "site.pub") == DIED
    assert "older" in capsys.readouterr().err
    assert let_in("--verify-key", "site.pub", "--force") == DONE


@pytest.mark.parametrize("key", ["site.pub", "none.key", "rsa.key"])
def test_what_cannot_sign_is_told_without_being_quoted(
    here: Path, capsys: pytest.CaptureFixture[str], key: str
) -> None:
    edges = "-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----"
    (here / "rsa.key").write_text("\nnonsense\n".join(edges))
    arguments = ["--out", "x", "--sign-key", key, "--data-dir", "data"]

    assert main(["snapshot", "export", *arguments]) == DIED
    assert "nonsense" not in capsys.readouterr().err
    assert not (here / "x").exists()


def test_keys_are_never_written_over(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (here / "site.key").read_bytes(), (here / "site.pub").read_bytes()

    assert main(["snapshot", "keygen", "--out", "site"]) == DIED
    assert "File exists" in capsys.readouterr().err
    (here / "site.pub").rename(here / "aside.pub")
    assert main(["snapshot", "keygen", "--out", "site"]) == DIED
    assert not (here / "site.pub").exists()
    assert ((here / "site.key").read_bytes(), (here / "aside.pub").read_bytes()) == before


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--offline", "none"], "there is nothing at this path"),
        (["--offline", "a.snapshot"], "needs `offline.verifyKeyFile`"),
        (["--offline", "a.snapshot", "--verify-key", "none"], "cannot be read"),
    ],
)
def test_what_cannot_be_served_stops_the_check(
    here: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], why: str
) -> None:
    export()
    (here / "config.yaml").write_text(config("dataDir: data"))

    assert main(["check", "--config", "config.yaml", *arguments]) == WRONG_INPUT
    assert why in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--offline", "data"],
        ["--offline", "a.snapshot", "--unsigned"],
        ["--offline", "a.snapshot", "--verify-key", "site.pub"],
    ],
)
def test_options_are_settings(
    here: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    export()
    (here / "config.yaml").write_text(config("dataDir: data"))

    assert main(["check", "--config", "config.yaml", *arguments]) == DONE
    assert f"path: {arguments[1]}" in capsys.readouterr().out


def test_events_cannot_be_kept_without_a_place(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "config.yaml").write_text(config("offline: {path: data, events: keep}"))

    assert main(["check", "--config", "config.yaml"]) == WRONG_INPUT
    assert "expected `dataDir`" in capsys.readouterr().err


def test_what_would_ask_amplitude_is_told(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asking = "remoteEvaluation: {mode: merge}, webExperiment: {mode: forward}"
    (here / "config.yaml").write_text(config(f"offline: {{path: data}}, {asking}"))

    assert main(["check", "--config", "config.yaml"]) == DONE
    assert capsys.readouterr().out.count("Amplitude is not asked") == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--verify-key", "site.pub"], "Amplitude is asked"),
        (["--unsigned"], "Amplitude is asked"),
        (["--offline", "a.snapshot", "--verify-key", "site.pub", "--unsigned"], "whoever signed"),
    ],
)
def test_options_that_verify_nothing_are_told(
    here: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    export()
    (here / "config.yaml").write_text(config("dataDir: data"))

    assert main(["check", "--config", "config.yaml", *arguments]) == DONE
    assert said in capsys.readouterr().out.partition("notices:")[2]


def test_a_file_that_is_gone_may_have_been_unpacked(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "config.yaml").write_text(config("dataDir: site"))
    offline = ["--config", "config.yaml", "--offline", "gone.snapshot", "--verify-key", "site.pub"]

    assert main(["check", *offline]) == WRONG_INPUT
    assert "there is nothing at this path" in capsys.readouterr().err
    (here / "site" / "offline").mkdir(parents=True)
    assert main(["check", *offline]) == DONE
    capsys.readouterr()
