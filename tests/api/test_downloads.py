import asyncio
import gzip
import io
import os
import random
import tracemalloc
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import uvloop

from proxy.api.downloads import PIECE_BYTES, Downloads, Source
from proxy.api.messages import Response, StoredBody
from proxy.errors import Damaged
from proxy.metrics import Metrics
from proxy.settings.schema import Limits
from proxy.tasks import wall_clock
from tests import builders
from tests.api.stored import (
    MEBIBYTE,
    ask,
    begun,
    read_head,
    request,
    rest,
    slow_client,
    stored,
    stored_bytes,
    wait_a_little,
    wait_until_gone,
)
from tests.builders import KEY
from tests.serving import FLAGS, Served, read_answer, serving

NOISE = random.Random(1).randbytes(MEBIBYTE)
LONG = NOISE * 8
STATUS = b"GET /status HTTP/1.1\r\nHost: x\r\n\r\n"
VARDATA = (
    f"GET /sdk/v2/vardata HTTP/1.1\r\nHost: x\r\nAuthorization: Api-Key {KEY}\r\n\r\n".encode()
)
CUT = (ConnectionError, asyncio.IncompleteReadError)


def body_of(folder: Path, plain: bytes, level: int = 6) -> StoredBody:
    cohort = stored_bytes(folder, plain, level)
    return StoredBody(cohort.packed, cohort.packed_bytes, cohort.plain_bytes, "cohort c1")


def pieces_of(source: Source) -> Iterator[bytes]:
    try:
        source.open()
        piece = source.first
        while piece:
            yield piece
            piece = source.read()
    finally:
        source.close()


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize(
    "plain",
    [b"", b"x", bytes(PIECE_BYTES), bytes(PIECE_BYTES + 1), bytes(10**7), NOISE],
    ids=len,
)
def test_a_source_gives_what_was_stored_in_pieces(
    tmp_path: Path, plain: bytes, *, packed: bool
) -> None:
    body = body_of(tmp_path, plain)

    pieces = list(pieces_of(Source(body, packed=packed)))

    assert b"".join(pieces) == (body.path.read_bytes() if packed else plain)
    assert all(len(piece) == PIECE_BYTES for piece in pieces[:-1])


def changed(path: Path, at: int) -> None:
    raw = bytearray(path.read_bytes())
    raw[at] ^= 1
    path.write_bytes(raw)


@pytest.mark.parametrize("level", [0, 6])
@pytest.mark.parametrize("part", [0.0, 0.5, 1.0])
def test_no_changed_byte_gets_through_to_the_end(tmp_path: Path, level: int, part: float) -> None:
    body = body_of(tmp_path, NOISE, level)
    changed(body.path, int(part * (body.packed_bytes - 1)))
    got: list[bytes] = []

    with pytest.raises(Damaged):
        got.extend(pieces_of(Source(body, packed=False)))

    assert len(b"".join(got)) < len(NOISE)


@pytest.mark.parametrize("told", [-1, 1])
def test_a_body_of_another_length_than_told_is_damaged(tmp_path: Path, told: int) -> None:
    cohort = stored_bytes(tmp_path, NOISE)
    body = StoredBody(cohort.packed, cohort.packed_bytes, len(NOISE) + told, "cohort c1")

    with pytest.raises(Damaged):
        list(pieces_of(Source(body, packed=False)))


def test_a_gzip_without_its_end_is_damaged(tmp_path: Path) -> None:
    body = body_of(tmp_path, NOISE)
    os.truncate(body.path, body.packed_bytes - 8)
    body = StoredBody(body.path, body.packed_bytes - 8, len(NOISE), "cohort c1")

    with pytest.raises(Damaged):
        list(pieces_of(Source(body, packed=False)))


def test_what_cannot_be_read_is_damaged(tmp_path: Path) -> None:
    size = tmp_path.stat().st_size
    with pytest.raises(Damaged):
        list(pieces_of(Source(StoredBody(tmp_path, size, 1, "a folder"), packed=True)))
    source = Source(body_of(tmp_path, LONG), packed=True)
    source.close()
    source.open()
    os.truncate(source._stored.path, 2 * PIECE_BYTES)
    assert source.read()
    with pytest.raises(Damaged):
        source.read()
    source.close()


@pytest.mark.parametrize(
    ("what", "accepted"),
    [("missing", ""), ("missing", "gzip"), ("shorter", ""), ("shorter", "gzip"), ("broken", "")],
)
async def test_a_file_that_cannot_be_read_is_a_503_and_a_line_now_and_then(
    served: Served, tmp_path: Path, log_lines: io.StringIO, what: str, accepted: str
) -> None:
    cohort = served.held[0, "c1"] = stored(tmp_path, "u1")
    if what == "missing":
        cohort.packed.unlink()
    elif what == "shorter":
        os.truncate(cohort.packed, 30)
    else:
        changed(cohort.packed, 20)

    for _ in range(3):
        answer = await ask(served, Accept_Encoding=accepted)
        assert answer.status == 503
        assert int(answer.headers["retry-after"]) > 0

    assert served.damaged == [(0, cohort)] * 3
    assert served.counted("rejected_requests_total", reason="damaged") == 3
    assert served.counted("downloads_active") == 0
    assert log_lines.getvalue().count("cohort c1") == 1


@pytest.mark.parametrize("change", ["replaced", "removed"])
async def test_a_download_goes_on_when_the_file_is_no_longer_there(
    served: Served, tmp_path: Path, change: str
) -> None:
    cohort = served.held[0, "c1"] = stored_bytes(tmp_path, LONG)
    async with slow_client(served) as (reader, writer):
        left = await begun(reader, writer)
        if change == "replaced":
            stored(tmp_path, "u1").packed.replace(cohort.packed)
        else:
            cohort.packed.unlink()

        assert await rest(reader, left) == LONG[1000:]


@pytest.mark.parametrize("accepted", ["", "gzip"])
async def test_a_file_that_breaks_in_the_middle_cuts_the_connection(
    served: Served, tmp_path: Path, log_lines: io.StringIO, accepted: str
) -> None:
    cohort = served.held[0, "c1"] = stored_bytes(tmp_path, LONG)
    async with slow_client(served) as (reader, writer):
        writer.write(request(Accept_Encoding=accepted))
        _, length = await read_head(reader)
        os.truncate(cohort.packed, cohort.packed_bytes // 2)
        with pytest.raises(CUT):
            await rest(reader, length)

    assert served.damaged == [(0, cohort)]
    assert served.counted("downloads_cut_total", reason="damaged") == 1
    assert "cohort c1" in log_lines.getvalue()
    assert "Traceback" not in log_lines.getvalue()
    assert (await served.get("/status")).status == 200


async def test_a_changed_byte_of_the_file_never_passes_for_a_whole_body(
    served: Served, tmp_path: Path
) -> None:
    cohort = served.held[0, "c1"] = stored_bytes(tmp_path, LONG, level=0)
    changed(cohort.packed, cohort.packed_bytes // 2)
    async with slow_client(served) as (reader, writer):
        left = await begun(reader, writer)

        with pytest.raises(CUT):
            await rest(reader, left)


async def test_a_client_that_leaves_midway_leaves_nothing_behind(
    served: Served, tmp_path: Path, log_lines: io.StringIO
) -> None:
    served.held[0, "c1"] = stored_bytes(tmp_path, LONG)
    async with slow_client(served) as (reader, writer):
        await begun(reader, writer)
        assert served.counted("downloads_active") == 1
        writer.transport.abort()

    await wait_until_gone(served)
    assert served.counted("downloads_cut_total", reason="client_left") == 1
    assert log_lines.getvalue() == ""


@pytest.mark.parametrize("accepted", ["", "gzip"])
async def test_pipelined_requests_around_a_download_are_answered_in_order(
    served: Served, tmp_path: Path, accepted: str
) -> None:
    served.held[0, "c1"] = stored_bytes(tmp_path, LONG)
    asked = request(Accept_Encoding=accepted)
    async with served.connection() as (reader, writer):
        writer.write(STATUS + asked + VARDATA + asked + STATUS)
        answers = [await read_answer(reader) for _ in range(5)]

        assert [answers[0].body, answers[4].body] == [b"OK", b"OK"]
        assert "plain" in answers[2].json
        for answer in (answers[1], answers[3]):
            assert (gzip.decompress(answer.body) if accepted else answer.body) == LONG
        writer.write(STATUS)
        assert (await read_answer(reader)).body == b"OK"


async def test_http_1_0_and_close_end_the_connection_after_the_whole_body(
    served: Served, tmp_path: Path
) -> None:
    served.held[0, "c1"] = stored_bytes(tmp_path, LONG)
    for asked in (request(Connection="close"), request().replace(b"HTTP/1.1", b"HTTP/1.0")):
        async with served.connection() as (reader, writer):
            writer.write(asked)
            answer = await read_answer(reader)
            assert (answer.headers["connection"], answer.body) == ("close", LONG)
            assert await reader.read() == b""


async def downloads_beside_evaluations(folder: Path) -> None:
    async with serving(FLAGS) as served, AsyncExitStack() as opened:
        served.held[0, "c1"] = stored_bytes(folder, LONG)
        clients = [await opened.enter_async_context(slow_client(served)) for _ in range(50)]
        left = [await begun(*client) for client in clients]
        # Each of them has got a part and reads no further.
        assert served.counted("downloads_active") == 50
        async with served.connection() as (reader, writer):
            for _ in range(200):
                writer.write(VARDATA)
                assert "plain" in (await read_answer(reader)).json
        assert served.counted("downloads_active") == 50

        bodies = await asyncio.gather(
            *(rest(reader, length) for (reader, _), length in zip(clients, left, strict=True))
        )

        assert all(body == LONG[1000:] for body in bodies)


async def test_fifty_downloads_and_evaluations_do_not_wait_for_each_other(tmp_path: Path) -> None:
    await downloads_beside_evaluations(tmp_path)


def test_fifty_downloads_on_the_programs_own_loop(tmp_path: Path) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(downloads_beside_evaluations(tmp_path))


async def drink(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, accepted: str) -> int:
    """Ask for the cohort, read it and keep nothing of it; return how much it was."""
    writer.write(request(Accept_Encoding=accepted))
    _, length = await read_head(reader)
    drunk = 0
    while drunk < length:
        drunk += len(await reader.read(65_536))
    return drunk


async def peak_of_long_downloads(folder: Path) -> tuple[int, int]:
    """Send 64 MiB in both forms, and the half of it to 20 who stop; return both peaks in bytes."""
    with gzip.open(folder / "packed", "wb", compresslevel=0) as out:
        for _ in range(64):
            out.write(NOISE)
    size = (folder / "packed").stat().st_size
    async with serving(FLAGS[:1]) as served, AsyncExitStack() as opened:
        served.held[0, "c1"] = stored_bytes(
            folder, b"", packed=folder / "packed", packed_bytes=size, plain_bytes=64 * MEBIBYTE
        )
        clients = [await opened.enter_async_context(slow_client(served)) for _ in range(20)]
        tracemalloc.start()
        opened.callback(tracemalloc.stop)
        for accepted, length in (("", 64 * MEBIBYTE), ("gzip", size)):
            assert await drink(*clients[0], accepted) == length
        alone = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        for client in clients:
            await begun(*client)
        assert served.counted("downloads_active") == 20
        return alone, tracemalloc.get_traced_memory()[1]


async def test_memory_does_not_grow_with_the_body(tmp_path: Path) -> None:
    alone, together = await peak_of_long_downloads(tmp_path)

    assert alone < 4 * MEBIBYTE
    assert together < 20 * (4 * PIECE_BYTES)


def test_memory_does_not_grow_with_the_body_on_the_programs_own_loop(tmp_path: Path) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        alone, together = runner.run(peak_of_long_downloads(tmp_path))

    assert alone < 4 * MEBIBYTE
    assert together < 20 * (4 * PIECE_BYTES)


async def test_a_client_that_stops_reading_is_cut_off(tmp_path: Path) -> None:
    limits = Limits(request_timeout_millis=100)
    async with serving(settings=builders.settings(limits=limits)) as served:
        served.held[0, "c1"] = stored_bytes(tmp_path, LONG)
        async with slow_client(served) as (reader, writer):
            left = await begun(reader, writer)
            await wait_until_gone(served)
            with pytest.raises(CUT):
                await rest(reader, left)
        assert served.counted("downloads_cut_total", reason="client_left") == 1


@pytest.mark.parametrize("sip", [50_000, PIECE_BYTES])
async def test_a_client_that_reads_slowly_is_not(tmp_path: Path, sip: int) -> None:
    limits = Limits(request_timeout_millis=200)
    async with serving(settings=builders.settings(limits=limits)) as served:
        # Sip by piece, as much of it may be unread whenever somebody looks.
        served.held[0, "c1"] = stored_bytes(tmp_path, NOISE * (sip // 6_000))
        now = asyncio.get_running_loop().time
        async with slow_client(served) as (reader, writer):
            left = await begun(reader, writer)
            began = now()
            while left:
                left -= len(await rest(reader, min(left, sip)))
                await wait_a_little()
        assert now() - began > 5 * 0.2


async def test_a_stop_cuts_off_a_download_that_takes_too_long(
    tmp_path: Path, log_lines: io.StringIO
) -> None:
    async with serving() as served, slow_client(served) as (reader, writer):
        served.held[0, "c1"] = stored_bytes(tmp_path, LONG)
        left = await begun(reader, writer)

        await served.server.drain(0.2, asyncio.Event())

        await wait_until_gone(served)
        with pytest.raises(CUT):
            await rest(reader, left)
    assert "requests cut off" in log_lines.getvalue()


async def test_a_download_under_way_is_finished_while_leaving(tmp_path: Path) -> None:
    async with serving() as served, slow_client(served) as (reader, writer):
        served.held[0, "c1"] = stored_bytes(tmp_path, LONG)
        left = await begun(reader, writer)
        leaving = asyncio.ensure_future(served.server.drain(20.0, asyncio.Event()))
        await asyncio.sleep(0)

        assert await rest(reader, left) == LONG[1000:]
        assert await reader.read() == b""
        await leaving


async def test_who_finds_no_place_waits_for_one_and_then_is_told_to_come_again(
    tmp_path: Path,
) -> None:
    metrics, body = Metrics(), body_of(tmp_path, b"x")
    hasty = Downloads(metrics, wall_clock, most_at_once=1, longest_wait=0.05)
    _, first = await hasty.begin(Response(), body, None)
    answer, second = await hasty.begin(Response(), body, None)
    assert first is not None
    assert (answer.status, second) == (503, None)
    counted = metrics.registry.get_sample_value
    assert counted("amplitude_proxy_rejected_requests_total", {"reason": "busy"}) == 1
    hasty.end(first)

    patient = Downloads(metrics, wall_clock, most_at_once=1, longest_wait=60.0)
    _, first = await patient.begin(Response(), body, None)
    waiting = asyncio.ensure_future(patient.begin(Response(), body, None))
    await asyncio.sleep(0)
    assert first is not None
    patient.end(first)
    _, second = await waiting
    assert second is not None
    patient.close()
    patient.end(second)
    hasty.close()


async def test_a_place_is_free_again_when_its_asker_is_cancelled(tmp_path: Path) -> None:
    downloads = Downloads(Metrics(), wall_clock, most_at_once=1, longest_wait=0.05)
    body = body_of(tmp_path, b"x")
    asking = asyncio.ensure_future(downloads.begin(Response(), body, None))
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking

    _, source = await downloads.begin(Response(), body, None)

    assert source is not None
    downloads.end(source)
    downloads.close()
