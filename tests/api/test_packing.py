import asyncio
import gzip

import pytest

from proxy.api.messages import Response
from proxy.api.packing import SMALLEST, SMALLEST_FLEETING, Packer, accepts_gzip


@pytest.mark.parametrize(
    ("accepted", "gzip_is_fine"),
    [
        (None, False),
        ("", False),
        ("identity", False),
        ("gzip", True),
        ("GZIP", True),
        ("deflate, gzip;q=0.5", True),
        ("gzip;q=0", False),
        ("gzip; q=0.0, *", False),
        ("*", True),
        ("*;q=0", False),
        ("br", False),
        ("x-gzip", True),
        ("gzip;q=high", False),
        ("gzip;level=1", True),
        ("gzip;q=1.0,deflate;q=0.6,identity;q=0.3", True),
        ("agzip", False),
    ],
)
def test_gzip_is_for_those_who_ask(accepted: str | None, *, gzip_is_fine: bool) -> None:
    assert accepts_gzip(accepted) is gzip_is_fine


def test_small_bodies_are_not_worth_it() -> None:
    packer = Packer()

    assert not packer.is_worth_it(Response(200, bytes(SMALLEST - 1), lasting=True))
    assert packer.is_worth_it(Response(200, bytes(SMALLEST), lasting=True))
    assert not packer.is_worth_it(Response(200, bytes(SMALLEST_FLEETING - 1)))
    assert packer.is_worth_it(Response(200, bytes(SMALLEST_FLEETING)))


@pytest.mark.parametrize("size", [2000, 2_000_000])
async def test_a_lasting_body_is_packed_once(size: int) -> None:
    packer, body = Packer(), b"flags" * (size // 5)

    first, *others = await asyncio.gather(*(packer.packed(body, lasting=True) for _ in range(3)))

    assert gzip.decompress(first) == body
    assert all(other is first for other in others)
    assert await packer.packed(body, lasting=True) is first


async def test_a_fleeting_body_is_not_kept() -> None:
    packer, body = Packer(), b"answer" * 5000

    assert gzip.decompress(await packer.packed(body, lasting=False)) == body
    assert await packer.packed(body, lasting=False) is not await packer.packed(body, lasting=False)


async def test_what_is_kept_is_bounded_in_number_and_bytes() -> None:
    for packer in (Packer(most_kept=2), Packer(most_bytes=4500)):
        bodies = [bytes([number]) * 2000 for number in range(3)]
        packed = [await packer.packed(body, lasting=True) for body in bodies]

        assert await packer.packed(bodies[2], lasting=True) is packed[2]
        assert await packer.packed(bodies[1], lasting=True) is packed[1]
        assert await packer.packed(bodies[0], lasting=True) is not packed[0]


async def test_who_gives_up_while_packing_leaves_nothing_behind() -> None:
    packer, body = Packer(), bytes(3_000_000)
    asking = asyncio.ensure_future(packer.packed(body, lasting=True))
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking

    assert gzip.decompress(await packer.packed(body, lasting=True)) == body
