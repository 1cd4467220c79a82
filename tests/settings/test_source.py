"""Where the settings come from, and what is noticed of it later."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path

import msgspec
import pytest

from proxy.errors import SettingsError
from proxy.settings.explain import explain
from proxy.settings.source import Source, hash_of
from tests.settings.asking import KEYS, PROJECT, written


def source(path: Path | None = None, default: Path = Path("/nonexistent.yaml")) -> Source:
    environ = {} if path else KEYS
    return Source(environ, str(path) if path else None, default_path=str(default))


def mistakes_of(one: Source) -> list[str]:
    with pytest.raises(SettingsError) as refused:
        one.load_again()
    return refused.value.mistakes


def test_it_reads_again_what_was_written_anew(tmp_path: Path) -> None:
    path = written(tmp_path, PROJECT)
    one = source(path)
    first = one.load()
    assert one.look() == one.read

    written(tmp_path, f"{PROJECT}configuration:\n  port: 7\n")

    assert one.look() != one.read
    assert (first.port, one.load_again().port) == (3546, 7)
    assert one.look() == one.read


def test_it_looks_at_the_files_that_hold_secrets_and_certificates(tmp_path: Path) -> None:
    secret = written(tmp_path, "first", "key")
    path = written(tmp_path, PROJECT.replace("secretKey: ", f"secretKeyFile: {secret} #"))
    one = source(path)
    assert one.load().projects[0].secret_key.reveal() == "first"
    assert set(one.look()) == {str(path), str(secret)}

    secret.write_text("second")

    assert one.look() != one.read
    assert one.load_again().projects[0].secret_key.reveal() == "second"


def test_a_file_that_a_refused_version_names_is_looked_at_until_it_is_right(tmp_path: Path) -> None:
    path = written(tmp_path, PROJECT)
    one = source(path)
    one.load()
    secret = tmp_path / "later"
    written(tmp_path, PROJECT.replace("secretKey: ", f"secretKeyFile: {secret} #"))

    assert "No such file" in mistakes_of(one)[0]
    seen = one.look()
    assert seen == one.read
    secret.write_text("here")

    assert one.look() != seen
    assert one.load_again().projects[0].secret_key.reveal() == "here"


def test_a_configuration_file_that_goes_is_a_mistake_even_where_it_may_be_absent(
    tmp_path: Path,
) -> None:
    path = written(tmp_path, "configuration:\n  port: 7\n")
    one = source(default=path)
    assert one.load().port == 7
    path.unlink()

    assert mistakes_of(one) == [f"{path}: is gone"]

    written(tmp_path, "configuration:\n  port: 8\n")
    assert one.load_again().port == 8


def test_a_configuration_file_may_come_later(tmp_path: Path) -> None:
    path = tmp_path / "proxy.yaml"
    one = source(default=path)
    assert one.load().port == 3546

    written(tmp_path, "configuration:\n  port: 8\n")

    assert one.look() != one.read
    assert one.load_again().port == 8


def test_a_pipe_is_never_read_twice(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    path = written(tmp_path, PROJECT.replace("secretKey: ", f"secretKeyFile: {pipe} #"))
    one = source(path)

    def write() -> None:
        pipe.write_text("secret")

    writing = threading.Thread(target=write)
    writing.start()
    assert one.load().projects[0].secret_key.reveal() == "secret"
    writing.join()

    assert one.look() == one.read
    assert mistakes_of(one) == [f"{pipe}: is no regular file, so it cannot be read again"]


def test_files_that_never_rest_are_a_mistake(tmp_path: Path) -> None:
    path = written(tmp_path, PROJECT)

    class Restless(Source):
        def look(self) -> dict[str, str]:
            found = super().look()
            with path.open("a") as file:
                file.write("# more\n")
            return found

    one = Restless({}, str(path))
    one.load()

    assert mistakes_of(one) == [f"{path}: the files change while they are read"]


def test_a_hash_stands_for_the_settings_and_not_for_how_they_are_written(tmp_path: Path) -> None:
    one = source(written(tmp_path, PROJECT)).load()
    same = source(written(tmp_path, f"# a remark\n{PROJECT}", "other.yaml")).load()
    other = source(written(tmp_path, f"{PROJECT}configuration:\n  port: 7\n", "third.yaml")).load()
    rotated = source(
        written(tmp_path, PROJECT.replace("secret-key-1", "secret-key-2"), "fourth.yaml")
    ).load()

    assert hash_of(one) == hash_of(same)
    assert len({hash_of(one), hash_of(other), hash_of(rotated)}) == 3
    assert len(hash_of(one)) == 12

    shown = {name: part for name, part in explain(one).items() if name != "notices"}
    from_what_is_shown = hashlib.sha256(msgspec.json.encode(shown)).hexdigest()
    assert not from_what_is_shown.startswith(hash_of(one))
