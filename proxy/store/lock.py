"""One writer for one data directory: a lock that the kernel frees when its holder dies."""

from __future__ import annotations

import fcntl
import os
from typing import Final

from proxy.errors import Hindered
from proxy.store.disk import Disk
from proxy.store.trouble import LOCKED

LOCK: Final = "lock"
HELD: Final = "another instance holds the data directory; nothing is written there until it ends"


def take(disk: Disk, root: int) -> int:
    """Lock the directory; return what holds the lock until it is closed, or raise `Hindered`."""
    fd = disk.open_lock(root, LOCK)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if holds(fd, root):
            return fd
    except BlockingIOError:
        pass
    except BaseException:
        disk.close(fd)
        raise
    # Either it is locked, or what we locked was replaced meanwhile by somebody just as quick.
    disk.close(fd)
    raise Hindered(LOCKED, HELD)


def holds(fd: int, root: int) -> bool:
    """Tell whether what is locked is still the directory's lock."""
    try:
        return os.path.samestat(os.fstat(fd), os.stat(LOCK, dir_fd=root, follow_symlinks=False))
    except FileNotFoundError:
        return False
