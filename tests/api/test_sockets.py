import asyncio
import errno
import socket
import sys
from collections.abc import Iterator
from contextlib import suppress

import pytest

from proxy.api import sockets


def test_port_0_takes_a_free_port_and_a_taken_one_is_refused() -> None:
    (first,) = sockets.bind("127.0.0.1", 0)
    first.listen()

    with pytest.raises(OSError) as caught:  # noqa: PT011  the errno says it
        sockets.bind("127.0.0.1", first.getsockname()[1])
    assert caught.value.errno == errno.EADDRINUSE
    first.close()


def test_a_host_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(OSError, match=r"."):
        sockets.bind("no.such.host.invalid", 0)


def test_every_address_of_a_host_is_listened_on() -> None:
    bound = sockets.bind("::", 0)

    assert all(one.getsockname()[1] for one in bound)
    for one in bound:
        one.close()


@pytest.mark.skipif(sys.platform != "linux", reason="the filter is Linux's")
async def test_nobody_new_is_let_in_while_those_who_knocked_stay() -> None:
    (listener,) = sockets.bind("127.0.0.1", 0)
    listener.listen()
    assert not sockets.somebody_waits_at(listener)
    early = socket.create_connection(listener.getsockname())

    assert sockets.let_nobody_new_in(listener)

    assert sockets.somebody_waits_at(listener)
    loop = asyncio.get_running_loop()
    accepted, _ = await loop.sock_accept(listener)
    assert not sockets.somebody_waits_at(listener)
    early.sendall(b"hello")
    assert await loop.sock_recv(accepted, 5) == b"hello"
    late = socket.socket()
    late.setblocking(False)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await loop.sock_connect(late, listener.getsockname())
    for one in (listener, early, accepted, late):
        one.close()


def test_where_there_is_no_filter_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    left, right = socket.socketpair()
    left.close()
    assert sockets.let_nobody_new_in(left) is False
    right.close()

    monkeypatch.setattr(sys, "platform", "darwin")
    assert sockets.let_nobody_new_in(right) is False


@pytest.mark.skipif(sys.platform != "linux", reason="the option is Linux's")
def test_the_kernel_takes_little_of_what_is_not_read() -> None:
    assert taken_of_what_is_not_read(little=True) < 2**19 < taken_of_what_is_not_read(little=False)


def taken_of_what_is_not_read(*, little: bool) -> int:
    (listener,) = sockets.bind("127.0.0.1", 0)
    listener.listen()
    reading = socket.socket()
    reading.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
    reading.connect(listener.getsockname())
    listener.setblocking(True)
    writing, _ = listener.accept()
    assert not little or sockets.leave_little_unsent(writing)
    writing.setblocking(False)
    taken = sum(sent_until_full(writing))
    for one in (listener, reading, writing):
        one.close()
    assert not sockets.leave_little_unsent(writing)
    return taken


def sent_until_full(writing: socket.socket) -> Iterator[int]:
    with suppress(BlockingIOError):
        while True:
            yield writing.send(bytes(65_536))


def test_where_the_option_does_not_exist_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    left, right = socket.socketpair()
    assert sockets.leave_little_unsent(left) is False
    left.close()
    right.close()


@pytest.mark.skipif(sys.platform != "linux", reason="the options are Linux's")
def test_of_who_stays_long_the_kernel_holds_little_and_notices_its_end() -> None:
    (listener,) = sockets.bind("127.0.0.1", 0)
    listener.listen()
    with socket.create_connection(listener.getsockname()) as connected:
        sockets.stay_long(connected)

        assert connected.getsockopt(socket.IPPROTO_TCP, sockets.NOT_SENT_LOW_WATER) == 16_384
        assert connected.getsockopt(socket.IPPROTO_TCP, sockets.USER_TIMEOUT) == 30_000
    listener.close()


def test_what_has_no_such_options_stays_without_them() -> None:
    left, right = socket.socketpair()
    for one in (left, right, None):
        sockets.stay_long(one)
    left.close()
    right.close()
    sockets.stay_long(left)
