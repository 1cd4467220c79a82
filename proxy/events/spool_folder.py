"""The directory that the spool's file is in: made, ours alone, cleared of what is of no use."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from proxy.errors import SpoolUnusable

NAME: Final = "spool.db"
DAMAGED_NAME: Final = "spool.damaged"
MODE: Final = 0o700
FILE_MODE: Final = 0o600


def own(folder: Path) -> Path:
    """Make a directory, or take rights of others to it away; return the path of the file in it.

    Raises `SpoolUnusable` when it or its parent is somebody else's, `OSError` when it cannot be.
    """
    if not folder.parent.exists():
        folder.parent.mkdir(mode=MODE, parents=True, exist_ok=True)
    # The owner of the parent could put another directory in this one's place.
    _check_ours(folder.parent.stat())
    folder.mkdir(mode=MODE, exist_ok=True)
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        found = os.fstat(opened)
        _check_ours(found)
        if stat.S_IMODE(found.st_mode) != MODE:
            os.fchmod(opened, MODE)
    finally:
        os.close(opened)
    path = folder / NAME
    path.touch(mode=FILE_MODE)
    return path


def set_aside(folder: Path) -> None:
    """Give a spool that is of no use another name; an earlier one of that name goes."""
    for suffix in ("", "-wal", "-shm"):
        damaged = folder / (NAME + suffix)
        if damaged.exists():
            damaged.replace(folder / (DAMAGED_NAME + suffix))


def _check_ours(found: os.stat_result) -> None:
    if found.st_uid != os.geteuid():
        raise SpoolUnusable(
            f"it belongs to user {found.st_uid} and not to user {os.geteuid()}, so it is not used"
        )
