"""What slow readers of streams have not taken yet, and when that is too much."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

if TYPE_CHECKING:
    from proxy.api.stream_readers import Reader

FRESH_SECONDS: Final = 1.5
"""After that an SDK has given up on a first message."""
SHARE_OF_FRESH: Final = 4


@final
class Unread:
    """The messages on their way, by reader, eldest first; each counts as long as it was at first.

    Those of the last moment are *fresh*. They may be a quarter of `most` bytes: while they are
    more, the network is the bottleneck, and whoever is sent something then only slows the others
    down, until all of them are too late. Elder ones are those of slow readers, who hold up nobody.
    """

    def __init__(self, most: int) -> None:
        self.total = 0
        self._most = most
        self._most_fresh = most // SHARE_OF_FRESH
        self._fresh: dict[Reader, tuple[int, float]] = {}
        self._fresh_bytes = 0
        self._elder: dict[Reader, int] = {}

    def wrote(self, reader: Reader, size: int, now: float) -> None:
        """Take note that `size` bytes for a reader, who had read all before, are on their way."""
        self.taken(reader)
        if size:
            self._fresh[reader] = size, now
            self._fresh_bytes += size
            self.total += size

    def taken(self, reader: Reader) -> None:
        """Take note that a reader has taken all, or is gone."""
        if reader in self._fresh:
            size, _ = self._fresh.pop(reader)
            self._fresh_bytes -= size
            self.total -= size
        else:
            self.total -= self._elder.pop(reader, 0)

    def is_crowded(self, now: float) -> bool:
        """Tell whether to wait before more is sent."""
        while self._fresh:
            reader, (size, since) = next(iter(self._fresh.items()))
            if now - since < FRESH_SECONDS:
                break
            del self._fresh[reader]
            self._fresh_bytes -= size
            self._elder[reader] = size
        return self._fresh_bytes >= self._most_fresh

    def beyond(self) -> Reader | None:
        """Return who has to be cut because too much waits: the one that has waited longest.

        One message may be longer than all that may wait: who is alone is not cut for it.
        """
        if self.total <= self._most or len(self._fresh) + len(self._elder) == 1:
            return None
        return next(iter(self._elder), None) or next(iter(self._fresh), None)
