"""A file of flags that is written by hand."""

from pathlib import Path

import msgspec
import pytest

from proxy.archives import plain
from proxy.archives.plain import import_flags
from proxy.errors import ArchiveError
from proxy.store.disk import Disk
from proxy.store.writer import Writer
from tests.archives.rig import KEYS, PROJECT, filled, flags_of, held
from tests.builders import flag


def test_the_json_that_amplitude_serves_is_taken_as_it_is(tmp_path: Path) -> None:
    body = msgspec.json.encode([flag("one"), flag("two")])
    (tmp_path / "flags.json").write_bytes(body)

    import_flags([PROJECT], tmp_path / "flags.json", tmp_path / "served")

    assert list(flags_of(held(tmp_path / "served")).values()) == [body] * len(KEYS)


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("flags.json", "{}", "no JSON array"),
        ("flags.json", "[", "no JSON array"),
        ("flags.json", '[{"key": 1}]', "no flag that can be used"),
        ("flags.yaml", "flags: {a: {serve: on, b: 1}}", "line 1"),
        ("flags.yaml", "flags: [", "line 1"),
        ("flags.yaml", "\udcff", "not UTF-8"),
        ("none.yaml", None, "cannot read"),
    ],
)
def test_what_cannot_be_served_changes_nothing(
    tmp_path: Path, name: str, text: str | None, why: str
) -> None:
    served = filled(tmp_path / "served")
    before = flags_of(held(served))
    if text is not None:
        (tmp_path / name).write_text(text, errors="surrogateescape")

    with pytest.raises(ArchiveError, match=why):
        import_flags([PROJECT], tmp_path / name, served)
    assert flags_of(held(served)) == before


def test_a_file_without_an_end_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "flags.json"
    with file.open("wb") as opened:
        opened.truncate(plain.MOST_BYTES + 1)

    with pytest.raises(ArchiveError, match="is longer than"):
        import_flags([PROJECT], file, tmp_path / "served")


def test_a_directory_that_somebody_holds_is_left_alone(tmp_path: Path) -> None:
    served = filled(tmp_path / "served")
    holder = Writer(served, Disk())
    holder.acquire()

    with pytest.raises(ArchiveError, match="another instance"):
        filled(served, "flags: {}\n")
    holder.close()
