import errno
import hashlib
import io
import stat
from pathlib import Path
from typing import IO, cast

import numpy as np
import pytest

from proxy.cohorts.output import Output, write_whole


class Reluctant(io.RawIOBase):
    """Takes three bytes at a time."""

    def __init__(self) -> None:
        self.taken = b""

    def write(self, data: object, /) -> int:
        piece = bytes(data)[:3]  # type: ignore[call-overload]
        self.taken += piece
        return len(piece)


def test_a_file_is_owner_only_counted_and_hashed(tmp_path: Path) -> None:
    path = tmp_path / "made"
    with Output(path) as to:
        to.write(b"one")
        to.write(np.zeros((0, 2), dtype="<u8"))
        to.write(np.array([[1, 2]], dtype="<u8"))
        made = to.finish()
    data = b"one" + (1).to_bytes(8, "little") + (2).to_bytes(8, "little")
    assert path.read_bytes() == data
    assert (made.name, made.size) == ("made", len(data))
    assert made.sha256 == hashlib.sha256(data).hexdigest()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_that_is_there_is_not_written_over(tmp_path: Path) -> None:
    path = tmp_path / "made"
    path.write_text("before")
    with pytest.raises(FileExistsError):
        Output(path)
    assert path.read_text() == "before"


def test_a_file_that_takes_parts_gets_the_whole() -> None:
    file = Reluctant()
    assert write_whole(cast("IO[bytes]", file), b"0123456789") == 10
    assert file.taken == b"0123456789"


def test_a_full_disk_is_an_error() -> None:
    with (
        Path("/dev/full").open("wb", buffering=0) as full,
        pytest.raises(OSError, match="space") as caught,
    ):
        write_whole(full, b"x")
    assert caught.value.errno == errno.ENOSPC
