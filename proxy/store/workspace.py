"""A directory of this process alone, for large files while the data directory is not to be had."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, final

from proxy.store.disk import CAREFUL, DIRECTORY_MODE, FILE_MODE
from proxy.store.lock import LOCK

PREFIX: Final = "evaluation-proxy-"
MEMORY: Final = Path("/dev/shm")  # noqa: S108  one of ours, made there for its owner only


@final
class Workspace:
    """Made when it is first needed, in the first of the places that takes it.

    `path` is None until then, and as long as no place takes it. All its methods block. It is
    locked, so that the next process can tell it from one whose owner died, and remove that.
    """

    def __init__(self, places: Sequence[Path] | None = None) -> None:
        self.path: Path | None = None
        self._places = places
        self._lock = -1

    def make(self) -> None:
        """Make it unless it is there; where no place takes it, `path` stays None."""
        if self.path is not None and self.path.is_dir():
            return
        self.remove()
        for place in self._places if self._places is not None else usual_places():
            with suppress(OSError):
                _sweep(place)
                self._make(place / f"{PREFIX}{secrets.token_hex(8)}")
                return

    def drop(self, names: Iterable[str]) -> None:
        """Remove files that are not needed any more."""
        if self.path is not None:
            for name in names:
                with suppress(OSError):
                    (self.path / name).unlink()

    def remove(self) -> None:
        """Remove it, with all that lies in it."""
        if self.path is not None:
            shutil.rmtree(self.path, ignore_errors=True)
            os.close(self._lock)
        self.path, self._lock = None, -1

    def _make(self, path: Path) -> None:
        path.mkdir(DIRECTORY_MODE)
        try:
            path.chmod(DIRECTORY_MODE)
            self._lock = _locked(path)
        except BaseException:
            shutil.rmtree(path, ignore_errors=True)
            raise
        self.path = path


def _locked(path: Path) -> int:
    # It gets its name when it is locked: a lock that is free has no living owner.
    making = path / f"{LOCK}-"
    fd = os.open(making, os.O_RDWR | os.O_CREAT | os.O_EXCL | CAREFUL, FILE_MODE)
    try:
        os.fchmod(fd, FILE_MODE)
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        making.rename(path / LOCK)
    except BaseException:
        os.close(fd)
        raise
    return fd


def usual_places(temporary: Callable[[], str] = tempfile.gettempdir) -> Sequence[Path]:
    """Return where temporary files go on this machine; at last, what is kept in memory."""
    try:
        return Path(temporary()), MEMORY
    except OSError:
        return (MEMORY,)


def _sweep(place: Path) -> None:
    """Remove what processes left that died."""
    for path in place.glob(f"{PREFIX}*"):
        with suppress(OSError):
            found = path.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
                continue
            fd = os.open(path / LOCK, os.O_RDWR | CAREFUL)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(fd)
