"""Readers of streams, on virtual time: keep-alives, renewal, those who read slowly or not."""

import asyncio
import io
from collections.abc import AsyncIterator

import pytest

from proxy import tasks
from proxy.api.standing import LEAVING, Standing, chunk
from proxy.api.stream_readers import Reader, Readers
from proxy.metrics import Metrics
from proxy.settings.schema import Streams
from tests.api.streaming import KEEP_ALIVE, Line, Lines

MEBIBYTE = 1 << 20
pytestmark = pytest.mark.looptime


class Flags:
    """A source whose message a test sets."""

    label, kind, keep_alive = "test", "flags", chunk(KEEP_ALIVE)

    def __init__(self) -> None:
        self.message = b""
        self.firsts = 0
        self.others = 0
        self.readers: set[Reader] = set()

    def newest(self, told: bytes | None) -> bytes | None:
        return None if told is self.message else self.message

    def sent(self, _reader: Reader, *, first: bool) -> None:
        self.firsts += first
        self.others += not first

    def left(self, reader: Reader) -> None:
        self.readers.remove(reader)


class House:
    """Readers, their loops running, and a source that they all read."""

    def __init__(self, settings: Streams) -> None:
        self.metrics = Metrics()
        self.flags = Flags()
        self.lines = Lines(self.metrics)
        # Everybody stays for half of the longest extra time.
        self.readers = Readers(settings, self.metrics, lambda: 0.5)
        self.tell(b"first")

    def tell(self, text: bytes) -> None:
        """Change what the source says."""
        self.flags.message = chunk(event(text))
        for reader in self.flags.readers:
            self.readers.turns.add(reader)

    def add(self, room: int = 1 << 40) -> tuple[Line, Standing]:
        line, standing = self.lines.connect()
        line.room = room
        self.flags.readers.add(self.readers.add(standing, self.flags))
        return line, standing

    def counted(self, name: str, **labels: str) -> float:
        found = self.metrics.registry.get_sample_value(f"amplitude_proxy_client_{name}", labels)
        return found or 0.0


def event(text: bytes) -> bytes:
    return b"data: %b\n\n" % text


async def opened(settings: Streams) -> AsyncIterator[House]:
    house = House(settings)
    running = [
        tasks.start("turns", house.readers.turns.run()),
        tasks.start("wheel", house.readers.wheel.run()),
    ]
    yield house
    await tasks.stop(*running)


@pytest.fixture
async def house() -> AsyncIterator[House]:
    async for house in opened(Streams()):
        yield house


@pytest.fixture
async def small_house() -> AsyncIterator[House]:
    async for house in opened(Streams(max_unread_bytes=MEBIBYTE, renew_millis=900_000)):
        yield house


async def wait(seconds: float = 0.0) -> None:
    """Let time go by, and all be done that is due by then."""
    await asyncio.sleep(seconds)
    for _ in range(20):
        await asyncio.sleep(0)


def now() -> float:
    return asyncio.get_running_loop().time()


async def test_no_reader_hears_nothing_for_longer_than_the_keep_alive_interval(
    house: House,
) -> None:
    heard: dict[Line, float] = {}
    silences = [0.0]
    for step in range(1200):
        if step % 7 == 0 and len(heard) < 40:
            heard[house.add()[0]] = now()
        await wait(0.1)
        for line, before in heard.items():
            chunks = line.chunks()
            assert set(chunks) <= {KEEP_ALIVE, event(b"first")}
            if chunks:
                silences.append(now() - before)
                heard[line] = now()
    assert 14.9 < max(silences) < 15.2
    assert house.counted("stream_messages_total", kind="keep_alive") <= 40 * (120 / 15 + 1)


async def test_keep_alives_are_spread_over_the_interval(house: House) -> None:
    lines = [house.add()[0] for _ in range(300)]
    await wait()
    for line in lines:
        line.chunks()
    most = 0
    for _ in range(150):
        await wait(0.1)
        most = max(most, sum(bool(line.chunks()) for line in lines))
    assert most <= 300 / 150 * 2
    assert house.counted("stream_messages_total", kind="keep_alive") >= 298


async def test_a_wheel_without_readers_stands_still_and_turns_again(house: House) -> None:
    for _ in range(2):
        line, _ = house.add()
        await wait(15.1)
        assert KEEP_ALIVE in line.chunks()
        line.hang_up()
        await wait(1000.0)
        assert not line.chunks()


async def test_a_stream_is_renewed_after_its_time_and_not_before(small_house: House) -> None:
    house = small_house
    line, _ = house.add()
    await wait(900 * 1.125 - 1)
    assert not line.is_closing()
    await wait(17)
    assert line.ended == "closed"
    assert line.taken.endswith(b"0\r\n\r\n")
    assert len(house.readers) == 0


async def test_a_reader_that_lags_is_told_only_what_is_newest(house: House) -> None:
    line, _ = house.add()
    await wait()
    line.chunks()
    line.read(room=4)
    for number in range(50):
        house.tell(b"change %d" % number)
        await wait()
    assert house.readers.unread.total == len(chunk(event(b"change 0"))) - 4
    line.read()
    await wait()
    assert line.chunks() == [event(b"change 0"), event(b"change 49")]
    assert house.readers.unread.total == 0


async def test_a_reader_that_reads_nothing_at_all_is_cut_after_two_keep_alives(
    house: House,
) -> None:
    line, _ = house.add()
    slow, _ = house.add()
    await wait()
    for one in (line, slow):
        one.read(room=4)
    house.tell(b"change")
    for _ in range(6):
        await wait(5.0)
        slow.read(room=1)
    assert line.ended == "aborted"
    assert not slow.ended
    assert house.counted("streams_cut_total", reason="stalled") == 1
    assert len(house.readers) == 1
    slow.read()
    await wait(15.1)
    assert slow.chunks()[-2:] == [event(b"change"), KEEP_ALIVE]


async def test_who_does_not_read_to_the_end_of_its_stream_is_cut_too(house: House) -> None:
    line, standing = house.add()
    await wait()
    line.read(room=4)
    house.tell(b"change")
    await wait()
    standing.end()
    await wait(10.0)
    assert len(house.readers) == 1
    await wait(25.0)
    assert line.ended == "aborted"
    assert len(house.readers) == 0


async def test_beyond_the_most_unread_bytes_who_waits_longest_is_cut(small_house: House) -> None:
    house = small_house
    lines = [house.add()[0] for _ in range(40)]
    await wait()
    for line in lines:
        line.read(room=200)
    house.tell(b"x" * 50_000)
    await wait(12.0)
    assert MEBIBYTE * 0.9 < house.readers.unread.total <= MEBIBYTE
    assert house.counted("stream_unread_bytes") == house.readers.unread.total
    cut = [line for line in lines if line.ended]
    assert 0 < len(cut) == house.counted("streams_cut_total", reason="unread")
    assert house.counted("streams_cut_total", reason="stalled") == 0


async def test_a_flood_of_newcomers_is_answered_in_order_and_the_late_ones_are_told_so(
    small_house: House,
) -> None:
    """The network takes 16 messages and then no more: the others wait, one second at most."""
    house = small_house
    house.tell(b"x" * 16_384)
    first = [house.add(room=0)[0] for _ in range(16)]
    later = [house.add(room=0)[0] for _ in range(20)]
    await wait(0.5)
    assert all(line.unread for line in first)
    assert not any(line.unread for line in later)
    for line in first[:4]:
        line.read()
    await wait(0.4)
    assert [bool(line.unread) for line in later] == [True] * 4 + [False] * 16
    await wait(0.3)
    late = later[4:]
    for line in late:
        line.read()
    assert all(line.taken.startswith(b"HTTP/1.1 503 ") for line in late)
    assert all(b"Retry-After: 13\r\n" in line.taken for line in late)
    assert all(line.ended == "closed" for line in late)
    assert house.counted("streams_refused_total", reason="late") == 16


async def test_slow_readers_hold_up_nobody_for_long(small_house: House) -> None:
    house = small_house
    house.tell(b"x" * 16_384)
    for _ in range(16):
        house.add(room=0)
    await wait(1.6)
    line, _ = house.add()
    await wait()
    assert line.chunks() == [event(b"x" * 16_384)]


async def test_newcomers_and_those_who_are_told_news_take_turns(small_house: House) -> None:
    house = small_house
    old = [house.add()[0] for _ in range(50)]
    await wait()
    for line in old:
        line.chunks()
        line.read(room=0)
    house.tell(b"x" * 16_384)
    new = [house.add(room=0)[0] for _ in range(50)]
    await wait()
    # A quarter of a mebibyte is under way.
    assert sum(bool(line.unread) for line in old) == 8
    assert sum(bool(line.unread) for line in new) == 8


async def test_who_is_gone_is_forgotten_wherever_it_waited(house: House) -> None:
    line, _ = house.add()
    gone_at_once, _ = house.add()
    gone_at_once.hang_up()
    await wait()
    line.read(room=0)
    house.tell(b"change")
    await wait()
    line.hang_up()
    await wait(100.0)
    assert (len(house.readers), house.readers.unread.total) == (0, 0)
    assert not house.flags.readers
    assert len(house.lines.crowd) == 0
    assert house.counted("streams", deployment="test") == 0


async def test_a_bug_in_one_stream_ends_no_other(house: House, log_lines: io.StringIO) -> None:
    class Broken(Flags):
        def newest(self, told: bytes | None) -> bytes | None:
            raise ValueError("secret")

    broken = Broken()
    for source in (broken, house.flags):
        line, standing = house.lines.connect()
        source.readers.add(house.readers.add(standing, source))
        await wait()
        assert line.taken.startswith(b"HTTP/1.1 500 " if source is broken else b"HTTP/1.1 200 ")
        assert b"secret" not in line.taken
    assert len(house.readers) == 1
    assert "stream failed" in log_lines.getvalue()


async def test_an_end_before_the_answer_began_is_a_refusal(house: House) -> None:
    line, standing = house.lines.connect()
    standing.end()
    await wait()
    assert line.taken.startswith(b"HTTP/1.1 503 ")
    assert line.taken.endswith(LEAVING.body)
    assert line.ended == "closed"
    standing.begin(chunk(b"x"))
    standing.put(chunk(b"x"))
    standing.refuse(LEAVING)
    standing.abort()
    assert standing.unread_bytes == 0


async def test_a_crowd_is_thinned_out_evenly(house: House) -> None:
    lines = [house.add()[0] for _ in range(1000)]
    await wait()
    left = []
    for calls in range(20, 0, -1):
        house.lines.crowd.thin_out(calls)
        left.append(sum(not line.ended for line in lines))
    steps = [before - after for before, after in zip([1000, *left], left, strict=False)]
    assert left[-1] == 0
    assert max(steps) <= 1000 / 20 + 1
    assert len(house.lines.crowd) == 1000
    await wait()
    assert len(house.lines.crowd) == 0


async def test_a_small_crowd_is_not_kept_waiting(house: House) -> None:
    lines = [house.add()[0] for _ in range(10)]
    await wait()
    house.lines.crowd.thin_out(1_000_000)
    assert all(line.ended for line in lines)


async def test_a_crowd_is_cut_off(house: House) -> None:
    lines = [house.add(room=0)[0] for _ in range(20)]
    await wait()
    house.lines.crowd.thin_out(10)
    await house.lines.crowd.cut_off()
    await wait()
    assert all(line.ended for line in lines)
    assert len(house.lines.crowd) == 0
