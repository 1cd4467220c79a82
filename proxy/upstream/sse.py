"""Server-sent events, from bytes to events, without any I/O."""

from __future__ import annotations

from typing import final

import msgspec

from proxy.errors import UpstreamGarbled

BOM = b"\xef\xbb\xbf"
CR, LF = 13, 10


class Event(msgspec.Struct, frozen=True):
    """What lies between two empty lines; `name` is `message` unless the stream names another."""

    data: bytes
    name: str = "message"


@final
class EventParser:
    """Takes the bytes of an event stream as they come, cut anywhere, and gives back its events.

    An event is complete at the empty line behind it. `id`, `retry`, comments and unknown fields
    are read over. Raises `UpstreamGarbled` when an event grows beyond `limit` bytes.
    """

    def __init__(self, limit: int = 64 * 1024 * 1024) -> None:
        self._limit = limit
        self._line = bytearray()
        self._data: list[bytes] = []
        self._data_bytes = 0
        self._name = ""
        self._after_cr = False
        self._at_start = True

    @property
    def pending(self) -> int:
        """The bytes held of an event that is not complete."""
        return len(self._line) + self._data_bytes

    def feed(self, chunk: bytes) -> list[Event]:
        """Take some bytes and return the events that they complete."""
        events: list[Event] = []
        begin = 0
        # The LF of a CR LF that was cut in two belongs to the line that the CR ended.
        if self._after_cr and chunk:
            begin = 1 if chunk[0] == LF else 0
            self._after_cr = False
        while (end := _line_end(chunk, begin)) >= 0:
            self._line += chunk[begin:end]
            self._take_line(events)
            begin = end + 1
            if chunk[end] == CR:
                if begin == len(chunk):
                    self._after_cr = True
                elif chunk[begin] == LF:
                    begin += 1
        self._line += chunk[begin:]
        self._check_size()
        return events

    def _take_line(self, events: list[Event]) -> None:
        line = bytes(self._line)
        self._line.clear()
        if self._at_start:
            self._at_start = False
            line = line.removeprefix(BOM)
        if line:
            self._take_field(line)
            self._check_size()
        else:
            if self._data:
                events.append(Event(b"\n".join(self._data), self._name or "message"))
            self._data = []
            self._data_bytes = 0
            self._name = ""

    def _take_field(self, line: bytes) -> None:
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            self._data.append(value)
            # One more for the newline: empty lines without end must not grow for nothing.
            self._data_bytes += len(value) + 1
        elif field == b"event":
            self._name = value.decode("utf-8", "replace")

    def _check_size(self) -> None:
        if self.pending > self._limit:
            raise UpstreamGarbled(f"an event of more than {self._limit} bytes")


def _line_end(chunk: bytes, begin: int) -> int:
    lf = chunk.find(b"\n", begin)
    cr = chunk.find(b"\r", begin, lf if lf >= 0 else len(chunk))
    return cr if cr >= 0 else lf
