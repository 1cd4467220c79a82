"""The clients' port gives its document to whoever asks."""

import asyncio
import zlib
from contextlib import AsyncExitStack

from proxy.api.messages import Response
from proxy.openapi.description import Description
from proxy.openapi.document import document_of
from proxy.settings.cors import Cors
from tests import builders
from tests.openapi.configured import EVERYTHING, LITTLE, USUAL
from tests.openapi.ports import router_of
from tests.serving import serving

PATH = "/openapi.json"


async def test_nobody_needs_a_key_and_everybody_gets_the_same() -> None:
    async with serving(settings=USUAL) as served:
        answers = await asyncio.gather(*(served.get(PATH, Authorization="") for _ in range(5)))

        assert {answer.status for answer in answers} == {200}
        assert {answer.body for answer in answers} == {document_of("clients", USUAL)}
        (answer, *_) = answers
        assert answer.headers["content-type"] == "application/json; charset=utf-8"
        assert answer.headers["cache-control"] == "public, max-age=300"
        assert answer.headers["access-control-allow-origin"] == "*"


async def test_who_holds_the_document_is_told_so() -> None:
    async with serving() as served:
        first = await served.get(PATH)
        again = await served.get(PATH, If_None_Match=first.headers["etag"])
        head = await served.ask("HEAD", PATH, {})

        assert (again.status, again.body) == (304, b"")
        assert head.headers["etag"] == again.headers["etag"] == first.headers["etag"]


async def test_the_document_is_packed_for_who_takes_it_so() -> None:
    async with serving() as served:
        plain = await served.get(PATH)
        packed = await served.get(PATH, Accept_Encoding="gzip")

        assert packed.headers["content-encoding"] == "gzip"
        assert zlib.decompress(packed.body, zlib.MAX_WBITS + 16) == plain.body
        assert len(packed.body) * 3 < len(plain.body)


async def test_only_pages_that_may_call_may_read_the_document() -> None:
    only = builders.settings(cors=Cors(origins=("https://shop.example",)))
    async with serving(settings=only) as served:
        allowed = await served.get(PATH, Origin="https://shop.example", Authorization="")
        other = await served.get(PATH, Origin="https://other.example", Authorization="")

        assert allowed.headers["access-control-allow-origin"] == "https://shop.example"
        assert "access-control-allow-origin" not in other.headers


async def test_the_document_can_be_switched_off() -> None:
    async with serving(settings=LITTLE) as served:
        assert (await served.get(PATH)).status == 404


async def test_wrong_methods_are_told_the_right_ones() -> None:
    async with serving() as served:
        refused = await served.post(PATH, b"{}")

        assert (refused.status, refused.headers["allow"]) == (405, "GET, HEAD, OPTIONS")


async def test_the_document_follows_what_comes_into_force_while_the_proxy_serves() -> None:
    async with AsyncExitStack() as opened:
        router = await router_of(USUAL, opened)
        bodies = []
        for settings in (USUAL, EVERYTHING, USUAL):
            router.in_force.apply(settings, {})
            _, found = router.begin("GET", PATH, {})
            assert isinstance(found, Response)
            bodies.append((await router.wait(found)).body)

        assert bodies == [document_of("clients", each) for each in (USUAL, EVERYTHING, USUAL)]


async def test_a_document_is_made_anew_only_if_it_would_be_another() -> None:
    description = Description("operators", USUAL)
    made = await description.make()
    description.take(builders.settings(host="127.0.0.2"))
    assert await description.make() is made

    description.take(EVERYTHING)
    waiting = asyncio.ensure_future(description.make())
    await asyncio.sleep(0)
    description.take(LITTLE)

    assert (await waiting).body == document_of("operators", LITTLE)
