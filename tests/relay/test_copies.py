"""Copies: asked for once for all, given again while fresh, and longer when nothing better comes."""

import asyncio
import gc
import io
import traceback
import weakref
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.errors import UpstreamError, UpstreamGarbled, UpstreamRefused, UpstreamUnavailable
from proxy.relay.breaker import MOST_FAILURES, Breaker
from proxy.relay.copies import ENTRY_BYTES, MANY_BREAKERS, Copies, Tally, Terms
from proxy.upstream.web import Document, Given

FRESH = 10.0
NEW = Document(body=b"new")
DOWN = UpstreamUnavailable("down")
REFUSED = UpstreamRefused("answered 403", status=403)

Answer = Callable[[], Awaitable[Document]]


class Rig:
    """Copies whose upstream is a function of the test's, on the loop's virtual time."""

    def __init__(self, **terms: Any) -> None:
        now = asyncio.get_running_loop().time
        self.calls = 0
        self.held: list[Document | None] = []
        self.outcomes: Counter[str] = Counter()
        self.bytes_held = 0
        self.answer: Document | UpstreamError | Exception | Answer = NEW
        usual = {"most_bytes": 2**20, "longest_wait": 1.0, "longest_wait_with_copy": 0.5}
        self.copies = Copies(
            lambda _: FRESH,
            Terms(what="things", **{**usual, "stale_for": 100.0, **terms}),
            Tally(lambda outcome: self.outcomes.update([outcome]), self._hold),
            lambda: Breaker(now, lambda: 1.0),
            now,
        )

    def _hold(self, size: int) -> None:
        self.bytes_held = size

    async def _fetch(self, held: Document | None) -> Document:
        self.calls += 1
        self.held.append(held)
        if isinstance(self.answer, Document):
            return self.answer
        if isinstance(self.answer, Exception):
            raise self.answer
        return await self.answer()

    async def get(self, name: str = "a", version: str = "", of: str = "") -> Given:
        return await self.copies.get(name.encode(), self._fetch, version=version, of=of)

    async def failure(self, name: str = "a") -> UpstreamError:
        with pytest.raises(UpstreamError) as raised:
            await self.get(name)
        return raised.value


@asynccontextmanager
async def rigged(**terms: Any) -> AsyncIterator[Rig]:
    rig = Rig(**terms)
    try:
        yield rig
    finally:
        await rig.copies.close()


def wait_then(seconds: float, then: Document | UpstreamError = NEW) -> Answer:
    async def answer() -> Document:
        await asyncio.sleep(seconds)
        if isinstance(then, Exception):
            raise then
        return then

    return answer


@pytest.mark.looptime
async def test_a_fresh_copy_is_given_without_a_call() -> None:
    async with rigged() as rig:
        assert await rig.get() == Given(NEW, 0.0, "miss")
        await asyncio.sleep(FRESH - 1)
        assert await rig.get() == Given(NEW, FRESH - 1, "hit")
        await asyncio.sleep(1)
        assert (await rig.get()).outcome == "miss"

        assert rig.calls == 2
        assert rig.held == [None, NEW]


@pytest.mark.looptime
async def test_who_asks_meanwhile_waits_for_the_same_call() -> None:
    async with rigged() as rig:
        rig.answer = wait_then(0.5)

        found = await asyncio.gather(*(rig.get() for _ in range(50)))

        assert rig.calls == 1
        assert {given.outcome for given in found} == {"miss"}
        assert rig.outcomes == {"answered": 1}


@pytest.mark.looptime
async def test_who_leaves_takes_nothing_from_the_others() -> None:
    async with rigged() as rig:
        rig.answer = wait_then(0.5)
        leaving, staying = asyncio.ensure_future(rig.get()), asyncio.ensure_future(rig.get())
        await asyncio.sleep(0.1)
        leaving.cancel()

        assert (await staying).document == NEW
        assert rig.calls == 1


@pytest.mark.looptime
async def test_nobody_waits_longer_than_the_terms_say_and_the_answer_is_kept_all_the_same() -> None:
    async with rigged() as rig:
        rig.answer = wait_then(2.0)
        began = asyncio.get_running_loop().time()

        assert (await rig.failure()).reason == "no answer in time"
        assert asyncio.get_running_loop().time() - began == pytest.approx(1.0)
        # Upstream has had its time: who comes now does not wait for it anew.
        assert (await rig.failure()).reason == "no answer in time"
        assert asyncio.get_running_loop().time() - began == pytest.approx(1.0)
        await asyncio.sleep(1.0)
        assert (await rig.get()).outcome == "hit"
        assert rig.calls == 1


@pytest.mark.looptime
async def test_a_stale_copy_is_given_when_upstream_fails_or_is_slow() -> None:
    async with rigged(stale_for=100.0) as rig:
        await rig.get()
        await asyncio.sleep(FRESH)
        rig.answer = DOWN
        assert await rig.get() == Given(NEW, FRESH, "stale")

        await asyncio.sleep(2.0)
        rig.answer = wait_then(60.0)
        began = asyncio.get_running_loop().time()
        assert (await rig.get()).outcome == "stale"
        assert asyncio.get_running_loop().time() - began == pytest.approx(0.5)

        await asyncio.sleep(100.0)
        rig.answer = DOWN
        await rig.failure()


@pytest.mark.looptime
async def test_what_came_under_another_version_is_not_fresh_but_better_than_nothing() -> None:
    async with rigged() as rig:
        await rig.get(version="1")
        assert (await rig.get(version="1")).outcome == "hit"
        rig.answer = newer = Document(body=b"newer")
        assert await rig.get(version="2") == Given(newer, 0.0, "miss")
        rig.answer = DOWN
        assert await rig.get(version="3") == Given(newer, 0.0, "stale")


@pytest.mark.looptime
async def test_after_a_failure_the_same_is_left_alone_for_a_moment() -> None:
    async with rigged(pause=3.0) as rig:
        rig.answer = UpstreamRefused("answered 403", status=403)
        assert (await rig.failure()).status == 403
        assert (await rig.failure()).status == 403
        assert rig.calls == 1

        await asyncio.sleep(3.0)
        rig.answer = NEW
        assert (await rig.get()).outcome == "miss"


@pytest.mark.looptime
async def test_upstreams_own_pause_is_kept_to_for_a_minute_at_most() -> None:
    async with rigged() as rig:
        rig.answer = UpstreamUnavailable("answered 429", status=429, retry_after=20.0)
        await rig.failure()
        await asyncio.sleep(19.0)
        await rig.failure()
        assert rig.calls == 1

        await asyncio.sleep(1.0)
        rig.answer = UpstreamUnavailable("answered 429", status=429, retry_after=3600.0)
        await rig.failure()
        await asyncio.sleep(60.0)
        rig.answer = NEW
        await rig.get()
        assert rig.calls == 3


@pytest.mark.looptime
async def test_after_failures_in_a_row_nobody_is_asked_until_one_try_succeeds() -> None:
    async with rigged() as rig:
        rig.answer = UpstreamGarbled("not a thing")
        for number in range(MOST_FAILURES):
            assert (await rig.failure(f"{number}")).reason == "not a thing"
        assert (await rig.failure("other")).reason.startswith("not asked")
        assert rig.calls == MOST_FAILURES
        assert rig.outcomes == {"failed": MOST_FAILURES, "held_back": 1}
        assert rig.copies.status()["resting"] is True

        await asyncio.sleep(2.0)
        rig.answer = NEW
        assert (await rig.get("other")).outcome == "miss"
        assert (await rig.get("yet another")).outcome == "miss"
        assert rig.copies.status()["resting"] is False


async def test_the_failures_of_one_hold_no_other_back() -> None:
    async with rigged() as rig:
        rig.answer = DOWN
        for number in range(MOST_FAILURES):
            with pytest.raises(UpstreamUnavailable):
                await rig.get(f"{number}", of="one")
            # Those that come and go in between change nothing.
            rig.answer = NEW
            assert (await rig.get(f"{number} of another", of=f"another {number}")).outcome == "miss"
            rig.answer = DOWN

        rig.answer = NEW
        with pytest.raises(UpstreamUnavailable, match="not asked"):
            await rig.get("more", of="one")
        assert (await rig.get("more", of="another")).outcome == "miss"


@pytest.mark.looptime
async def test_who_failed_is_remembered_however_many_come_and_go() -> None:
    async with rigged(pause=0.0) as rig:
        rig.answer = DOWN
        for number in range(MOST_FAILURES):
            with pytest.raises(UpstreamUnavailable):
                await rig.get(f"{number}", of="one")
        rig.answer = NEW
        for number in range(2 * MANY_BREAKERS):
            await rig.get("a", of=f"another {number}", version=f"{number}")

        assert rig.copies.status()["resting"] is True
        assert len(rig.copies._breakers) <= MANY_BREAKERS + 1


@pytest.mark.looptime
async def test_refusals_are_answers_and_hold_nobody_back() -> None:
    async with rigged() as rig:
        rig.answer = UpstreamRefused("answered 401", status=401)
        for number in range(3 * MOST_FAILURES):
            await rig.failure(f"{number}")

        assert rig.calls == 3 * MOST_FAILURES
        assert rig.outcomes == {"refused": 3 * MOST_FAILURES}


@pytest.mark.looptime
async def test_a_failure_holds_nothing_of_those_who_met_it() -> None:
    class Met:
        """What stands in the frames that an error passes."""

    met: list[weakref.ref[Met]] = []

    async def broken() -> Document:
        here = Met()
        met.append(weakref.ref(here))
        raise UpstreamGarbled("garbage")

    async def asked() -> int:
        here = Met()
        met.append(weakref.ref(here))
        try:
            await rig.get()
        except UpstreamGarbled as error:
            return len(traceback.extract_tb(error.__traceback__))
        raise AssertionError

    async with rigged(pause=60.0) as rig:
        rig.answer = broken
        depths = [await asked() for _ in range(20)]
        gc.collect()

        assert rig.calls == 1
        assert max(depths) == min(depths)
        assert [ref for ref in met if ref() is not None] == []


async def test_only_so_many_calls_are_under_way() -> None:
    async with rigged(most_calls=3) as rig:
        rig.answer = wait_then(60.0)
        waiting = [asyncio.ensure_future(rig.failure(f"{number}")) for number in range(10)]
        found = await asyncio.gather(*waiting)

        assert rig.calls == 3
        assert Counter(error.reason[:9] for error in found) == {"no answer": 3, "not asked": 7}
        assert rig.copies.status()["calls"] == 3


@pytest.mark.looptime
async def test_a_call_that_hangs_ends_and_counts_as_a_failure() -> None:
    async with rigged(longest_call=5.0) as rig:
        rig.answer = wait_then(3600.0)
        await rig.failure()
        await asyncio.sleep(5.0)

        assert rig.outcomes == {"failed": 1}
        assert rig.copies.status()["calls"] == 0


@pytest.mark.looptime
async def test_a_mistake_of_ours_is_logged_and_leaves_nobody_waiting(
    log_lines: io.StringIO,
) -> None:
    async with rigged() as rig:
        rig.answer = RuntimeError("oops")

        assert (await rig.failure()).reason == "failed: RuntimeError"
        assert "oops" in log_lines.getvalue()


@pytest.mark.looptime
async def test_failures_are_logged_now_and_then(log_lines: io.StringIO) -> None:
    async with rigged() as rig:
        rig.answer = UpstreamRefused("answered 403", status=403)
        for number in range(20):
            await rig.failure(f"{number}")

        assert log_lines.getvalue().count("not to be had") == 1


@pytest.mark.looptime
async def test_an_unchanged_copy_is_fresh_again() -> None:
    async with rigged() as rig:
        await rig.get()
        await asyncio.sleep(FRESH)
        rig.answer = Document(body=NEW.body, age=1)  # what a 304 comes to

        assert (await rig.get()).outcome == "miss"
        assert (await rig.get()).outcome == "hit"
        assert rig.outcomes == {"answered": 1, "unchanged": 1}


@pytest.mark.looptime
async def test_without_room_answers_are_given_but_not_kept() -> None:
    async with rigged(most_bytes=0) as rig:
        for _ in range(3):
            assert (await rig.get()).document == NEW

        assert rig.calls == 3
        assert rig.bytes_held == 0


@pytest.mark.looptime
async def test_closing_ends_the_calls_under_way() -> None:
    async with rigged() as rig:
        rig.answer = wait_then(3600.0)
        waiting = asyncio.ensure_future(rig.failure())
        await asyncio.sleep(0.1)
        await rig.copies.close()

        assert (await waiting).reason.startswith("not asked")
        assert rig.copies.status()["calls"] == 0


names = st.sampled_from("abcdef")
bodies = st.integers(0, 3000).map(lambda size: Document(body=b"x" * size))


@settings(max_examples=60)
@given(st.lists(st.tuples(names, st.one_of(bodies, st.just(REFUSED))), max_size=30))
def test_copies_never_take_more_than_their_room(steps: list[tuple[str, Any]]) -> None:
    async def play() -> None:
        async with rigged(most_bytes=3 * ENTRY_BYTES, pause=0.0) as rig:
            for name, answer in steps:
                rig.answer = answer
                try:
                    given = await rig.get(name)
                except UpstreamError:
                    assert answer is REFUSED
                else:
                    assert given.outcome in {"hit", "stale"} or given.document is answer
                assert rig.bytes_held == rig.copies.status()["bytes_kept"] <= 3 * ENTRY_BYTES

    asyncio.run(play())
