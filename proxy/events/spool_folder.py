"""The directory that the spool's file is in: made, ours alone, cleared of what is of no use."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from proxy.errors import SpoolUnusable
from proxy.store.disk import DIRECTORY_MODE, FILE_MODE, Disk

NAME: Final = "spool.db"
DAMAGED_NAME: Final = "spool.damaged"

_disk: Final = Disk()


def own(folder: Path) -> Path:
    """Make a directory, or take rights of others to it away; return the path of the file in it.

    It outlives a power cut. Raises `SpoolUnusable` when it or its parent is somebody else's,
    `OSError` when it cannot be.
    """
    for path in (*reversed(folder.absolute().parents), folder):
        if _disk.make_directory(path):
            with ExitStack() as opened:
                _disk.sync(_open(path.parent, None, opened))
    with ExitStack() as opened:
        # The owner of the parent could put another directory in this one's place.
        parent = _open(folder.parent, None, opened)
        _check_ours(parent)
        ours = _open(folder.name, parent, opened)
        _check_ours(ours)
        _disk.tighten(ours, DIRECTORY_MODE)
        path = folder / NAME
        path.touch(mode=FILE_MODE)
        _disk.sync(ours)
    return path


def set_aside(folder: Path) -> None:
    """Give a spool that is of no use another name; an earlier one of that name goes."""
    for suffix in ("", "-wal", "-shm"):
        damaged = folder / (NAME + suffix)
        if damaged.exists():
            damaged.replace(folder / (DAMAGED_NAME + suffix))


def _open(path: str | Path, inside: int | None, opened: ExitStack) -> int:
    fd = _disk.open_directory(path, inside)
    opened.callback(_disk.close, fd)
    return fd


def _check_ours(fd: int) -> None:
    owner = os.fstat(fd).st_uid
    if owner != os.geteuid():
        raise SpoolUnusable(
            f"it belongs to user {owner} and not to user {os.geteuid()}, so it is not used"
        )
