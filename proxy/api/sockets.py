"""Listening, and ceasing to listen without losing anybody who already knocked; slow readers."""

from __future__ import annotations

import ctypes
import errno
import select
import socket
import stat
import struct
import sys
from contextlib import suppress
from pathlib import Path

SO_ATTACH_FILTER = 26
NOT_SENT_LOW_WATER = 25
MOST_NOT_SENT_BYTES = 131_072
MOST_NOT_SENT_WHILE_STANDING_BYTES = 16_384
USER_TIMEOUT = 18
LONGEST_UNHEARD_MILLIS = 30_000
LONGEST_PROBE_SECONDS = 1.0
# Classic BPF over the TCP header: byte 13 holds the flags; drop what has SYN but not ACK.
ONLY_NEW = struct.pack(
    "@HBBIHBBIHBBIHBBIHBBI",
    *(0x30, 0, 0, 13),  # load the flags
    *(0x54, 0, 0, 0x12),  # keep SYN and ACK
    *(0x15, 0, 1, 0x02),  # SYN alone?
    *(0x06, 0, 0, 0),  # drop it
    *(0x06, 0, 0, 0xFFFFFFFF),  # let all else through
)


def bind(host: str, port: int) -> list[socket.socket]:
    """Return a bound socket for each address of `host`; port 0 takes a free one.

    Raises OSError when the host is unknown or the port is taken.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    bound: list[socket.socket] = []
    try:
        for family, kind, protocol, _, address in dict.fromkeys(found):
            listener = socket.socket(family, kind, protocol)
            bound.append(listener)
            listener.setblocking(False)  # noqa: FBT003  the library's signature
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.bind(address)
    except OSError:
        for listener in bound:
            listener.close()
        raise
    return bound


class LocalSocket(socket.socket):
    """A socket bound at a path, which knows whether what lies there is still its own."""

    __slots__ = ("_inode", "_path")

    def __init__(self, path: str) -> None:
        super().__init__(socket.AF_UNIX, socket.SOCK_STREAM)
        self.setblocking(False)  # noqa: FBT003  the library's signature
        self.bind(path)
        self._path = Path(path)
        self._inode = self._path.stat().st_ino

    def take_off_path(self) -> None:
        """Remove the path: nobody new finds it; who is connecting already is still let in."""
        with suppress(OSError):
            if self._path.stat().st_ino == self._inode:
                self._path.unlink()


def bind_local(path: str, mode: int) -> LocalSocket:
    """Return a socket bound at a path, with a mode that says who may connect.

    What an earlier life has left there is replaced. Raises OSError when something that answers,
    or that is no socket, is there, or the path cannot be used.
    """
    _clear_away(path)
    listener = LocalSocket(path)
    try:
        Path(path).chmod(mode)
    except OSError:
        listener.take_off_path()
        listener.close()
        raise
    return listener


def _clear_away(path: str) -> None:
    try:
        found = Path(path).stat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise FileExistsError(errno.EEXIST, "there is something that is not a socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(LONGEST_PROBE_SECONDS)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            Path(path).unlink(missing_ok=True)
            return
        except (BlockingIOError, TimeoutError):
            pass  # it listens, and is not quick to accept
    raise OSError(errno.EADDRINUSE, "another program listens there")


def let_nobody_new_in(listener: socket.socket) -> bool:
    """Ignore further connection attempts, so that all that were accepted can be taken in.

    Closing a listener resets the connections that the kernel has accepted and the program has not.
    With the attempts ignored first, that queue runs dry; whoever is ignored tries again and finds
    either another instance or a refusal, before it has sent anything. Returns whether it worked.
    """
    if isinstance(listener, LocalSocket):
        listener.take_off_path()
        return True
    if sys.platform != "linux":
        return False
    code = ctypes.create_string_buffer(ONLY_NEW, len(ONLY_NEW))
    program = struct.pack("@HP", len(ONLY_NEW) // 8, ctypes.addressof(code))
    try:
        listener.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)
    except OSError:
        return False
    return True


def somebody_waits_at(listener: socket.socket) -> bool:
    """Tell whether the kernel has accepted a connection that the program has not taken in yet."""
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    return bool(poll.poll(0))


def leave_little_unsent(connected: socket.socket) -> bool:
    """Let the kernel take little of what the client has no room for yet; return whether it does so.

    Otherwise it holds megabytes for each slow reader, and wants a third of them read before it
    takes more: a client that is merely slow would look as if it did not read at all.
    """
    if sys.platform != "linux":
        return False
    try:
        connected.setsockopt(socket.IPPROTO_TCP, NOT_SENT_LOW_WATER, MOST_NOT_SENT_BYTES)
    except OSError:
        return False
    return True


def stay_long(connected: socket.socket | None) -> None:
    """Let the kernel hold little for a client that stays, and notice when it is gone for good.

    It is gone when it has not taken what was sent for half a minute; otherwise the kernel would
    believe in it for a quarter of an hour, and for ever while its window is closed.
    """
    if sys.platform != "linux" or connected is None:
        return
    with suppress(OSError):
        connected.setsockopt(
            socket.IPPROTO_TCP, NOT_SENT_LOW_WATER, MOST_NOT_SENT_WHILE_STANDING_BYTES
        )
        connected.setsockopt(socket.IPPROTO_TCP, USER_TIMEOUT, LONGEST_UNHEARD_MILLIS)
