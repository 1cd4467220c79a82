"""The clients' port at a path of the file system, for programs on the same machine."""

import socket
import stat
from contextlib import ExitStack, suppress
from pathlib import Path

import aiohttp
import pytest

from proxy.api.sockets import LocalSocket, bind_local
from tests.builders import KEY
from tests.serving import serving


async def status_at(path: Path) -> int:
    headers = {"Authorization": f"Api-Key {KEY}"}
    async with (
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as client,
        client.post("http://proxy/sdk/v2/vardata", json={"user_id": "u"}, headers=headers) as found,
    ):
        return found.status


def bound(path: Path) -> LocalSocket:
    return bind_local(str(path), 0o600)


async def test_it_answers_at_a_path_beside_the_port(tmp_path: Path) -> None:
    path = tmp_path / "proxy.sock"
    async with serving(local=bound(path)) as served:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert await status_at(path) == 200
        assert (await served.get("/status")).status == 200
    assert not path.exists()


async def test_what_an_earlier_life_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "proxy.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    async with serving(local=bound(path)):
        assert await status_at(path) == 200


async def test_a_path_that_is_in_use_stays_whose_it_is(tmp_path: Path) -> None:
    path = tmp_path / "proxy.sock"
    async with serving(local=bound(path)):
        with pytest.raises(OSError, match="another program listens"):
            bound(path)
        assert await status_at(path) == 200


def test_who_is_slow_to_accept_stays_whose_it_is_and_nobody_waits(tmp_path: Path) -> None:
    path = tmp_path / "proxy.sock"
    with socket.socket(socket.AF_UNIX) as busy, ExitStack() as queue:
        busy.bind(str(path))
        busy.listen(0)
        with suppress(BlockingIOError):
            while True:
                knocking = queue.enter_context(socket.socket(socket.AF_UNIX))
                knocking.setblocking(False)
                knocking.connect(str(path))
        with pytest.raises(OSError, match="another program listens"):
            bound(path)
    assert path.exists()


def test_what_is_no_socket_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("data")
    with pytest.raises(FileExistsError, match="not a socket"):
        bound(path)
    assert path.read_text() == "data"


def test_who_leaves_does_not_take_the_path_of_its_successor(tmp_path: Path) -> None:
    path = tmp_path / "proxy.sock"
    old = bound(path)
    path.rename(tmp_path / "kept, so that its number is not given again")
    new = bound(path)

    old.take_off_path()
    assert path.exists()
    new.take_off_path()
    assert not path.exists()
    old.close()
    new.close()
