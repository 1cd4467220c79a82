"""What stands in the way of the data directory: named, counted, and told once."""

from __future__ import annotations

import errno
from typing import Final, final

from proxy import logs
from proxy.errors import Hindered
from proxy.metrics import Metrics

NO_SPACE: Final = "no_space"
READ_ONLY: Final = "read_only"
FOREIGN_OWNER: Final = "foreign_owner"
LOCKED: Final = "locked"
DAMAGED: Final = "damaged"
NEWER_FORMAT: Final = "newer_format"
IO_ERROR: Final = "io_error"
PERMISSION: Final = "permission"
REASONS: Final = (
    NO_SPACE,
    READ_ONLY,
    FOREIGN_OWNER,
    LOCKED,
    DAMAGED,
    NEWER_FORMAT,
    IO_ERROR,
    PERMISSION,
)
"""All words that a failure may be counted under."""

GONE: Final = frozenset({errno.ENOENT, errno.ELOOP})
"""What a file gives that is not there any more, or is none."""

KNOWN: Final = {
    errno.ENOSPC: (NO_SPACE, "the disk is full"),
    errno.EDQUOT: (NO_SPACE, "the quota of the disk is used up"),
    errno.EFBIG: (NO_SPACE, "a file would be larger than is allowed"),
    errno.EROFS: (READ_ONLY, "the file system is read-only"),
    errno.EACCES: (PERMISSION, "permission denied"),
    errno.EPERM: (PERMISSION, "operation not permitted"),
    errno.ELOOP: (IO_ERROR, "a symbolic link is in the way, and links are not followed"),
    errno.ENOTDIR: (IO_ERROR, "a link or a file is where a directory should be"),
}

log = logs.get("store")


def hindrance(error: OSError) -> Hindered:
    """Name an error of the operating system; the text is the same at each retry."""
    code = error.errno or 0
    other = IO_ERROR, error.strerror or type(error).__name__
    return Hindered(*KNOWN.get(code, other))


@final
class Alarm:
    """Whether the data directory holds the present state; loud when that changes."""

    def __init__(self, metrics: Metrics, directory: str) -> None:
        self.text = ""
        self._metrics = metrics
        self._directory = directory
        self._reason = ""
        for reason in REASONS:
            metrics.store_failures.labels(reason)
        metrics.store_ok.set(1)

    def count(self, reason: str) -> None:
        """Count a failure that does not last."""
        self._metrics.store_failures.labels(reason).inc()

    def raised(self, why: Hindered) -> None:
        """Note that something stands in the way, again or for the first time."""
        self.count(why.reason)
        text = str(why)
        if (self._reason, self.text) != (why.reason, text):
            log.warning(
                "the data directory has trouble",
                directory=self._directory,
                reason=why.reason,
                why=text,
            )
        self._reason, self.text = why.reason, text
        self._metrics.store_ok.set(0)

    def ended(self) -> None:
        """Note that the data directory holds the present state."""
        if self.text:
            log.info("the data directory is well again", directory=self._directory)
        self._reason = self.text = ""
        self._metrics.store_ok.set(1)
