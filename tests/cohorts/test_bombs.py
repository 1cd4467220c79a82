"""What small bodies that blow up cost the process that reads them: measured, not reckoned."""

import os
import re
import subprocess
import sys
import zlib
from pathlib import Path

import msgspec
import pytest

from proxy.cohorts.jobs import Said
from tests.cohorts.bodies import order

MEBIBYTE = 2**20
BEFORE_MEMBERS = b'{"cohortId":"c1","groupType":"User","lastModified":1,"memberIds":['
BOMBS = {
    "blanks": (b"", b" "),
    "one member again and again": (BEFORE_MEMBERS, b'"%s",' % (b"a" * 36)),
    "one endless member": (BEFORE_MEMBERS + b'"', b"a"),
    "an endless member of escapes": (BEFORE_MEMBERS + b'"', rb"\n"),
    "an endless value": (b'{"groupType":"', b"a"),
    "an endless number": (b'{"size":', b"1"),
    "nesting": (b'{"x":', b"["),
    "endless keys": (b"{", b'"x":1,'),
    "endless values": (b"{", b'"x":"%s",' % (b"a" * 4000)),
    "endless nesting": (b"{", b'"x":[%s],' % b",".join([b"[]"] * 9)),
}
ENDLESS_IN_ALL = {"blanks", "one member again and again"}


def blown_up(start: bytes, again: bytes, text_bytes: int) -> bytes:
    """A gzip of `start`, and `again` again and again."""
    squeezer = zlib.compressobj(6, zlib.DEFLATED, 31)
    piece = again * (MEBIBYTE // len(again))
    pieces = [squeezer.compress(start)]
    pieces += [squeezer.compress(piece) for _ in range(text_bytes // len(piece))]
    return b"".join([*pieces, squeezer.flush()])


def read_in_a_process(folder: Path, data: bytes) -> tuple[Said, int]:
    """Let the building process read a body; return its last word and its peak memory in bytes."""
    line = msgspec.json.encode(order(folder, data))
    command = (sys.executable, "-m", "proxy.cohorts.worker", str(os.getpid()))
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(line + b"\n")
        process.stdin.flush()
        last = Said()
        while last.trouble is None and last.built is None:
            last = msgspec.json.decode(process.stdout.readline(), type=Said)
        # Not what wait4 tells: that begins with the memory of the process that forked.
        held = Path(f"/proc/{process.pid}/status").read_text()
        process.stdin.close()
        assert process.wait() == 0
    peak = re.search(r"^VmHWM:\s+(\d+) kB$", held, re.MULTILINE)
    assert peak is not None
    return last, int(peak[1]) * 1024


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_broken_and_takes_neither_memory_nor_disk(tmp_path: Path, name: str) -> None:
    data = blown_up(*BOMBS[name], text_bytes=128 * MEBIBYTE)
    assert len(data) < 2 * MEBIBYTE

    said, peak = read_in_a_process(tmp_path, data)

    assert said.trouble is not None
    assert said.trouble.error == "broken"
    # What is never too much at a time is stopped by how much it is in all.
    assert ("100 times" in said.trouble.reason) == (name in ENDLESS_IN_ALL)
    assert peak < 192 * MEBIBYTE
    # Nothing is left but what was given.
    assert [path.name for path in tmp_path.iterdir()] == ["body"]
