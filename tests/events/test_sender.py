"""One project's events in virtual time: an hour takes a millisecond."""

import asyncio
from collections.abc import MutableMapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import looptime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.events.answers import LONGEST_HOLD_SECONDS
from proxy.upstream.analytics import Limits, Receipt
from tests.events.builders import NOW, numbers, receipt
from tests.events.rig import HOUR, rig, running


@pytest.mark.looptime
async def test_a_few_events_go_when_the_period_is_over() -> None:
    one = rig(period_seconds=10.0)

    async with running(one):
        one.offer(1)
        await asyncio.sleep(4)
        one.offer(2)
        await asyncio.sleep(20)

    assert one.upstream.diary == [(10.0, [0, 1, 2])]


@pytest.mark.looptime
async def test_enough_events_go_at_once() -> None:
    one = rig(threshold=3)

    async with running(one):
        await asyncio.sleep(5)
        one.offer(3)
        await asyncio.sleep(1)

    assert one.upstream.diary == [(5.0, [0, 1, 2])]
    assert one.tally.counts()["sent"] == 3


@pytest.mark.looptime
async def test_nothing_is_sent_when_there_is_nothing() -> None:
    one = rig()

    async with running(one):
        await asyncio.sleep(HOUR)
    await one.sender.send_batch()

    assert one.upstream.diary == []


@pytest.mark.looptime
async def test_an_outage_of_hours_loses_nothing() -> None:
    one = rig(threshold=10)
    script = one.upstream.script
    script[:] = [None]

    async with running(one):
        for _ in range(12):
            one.offer(10)
            await asyncio.sleep(HOUR / 2)
        assert one.sender.status()["failures_in_a_row"] > 10
        script[:] = [receipt(200)]
        await asyncio.sleep(120)

    assert one.upstream.accepted == list(range(120))
    assert one.dropped == {}
    assert len(one.sender) == 0


@pytest.mark.looptime
async def test_failures_slow_down_to_a_minute_and_success_resets() -> None:
    one = rig(None, *[receipt(500)] * 8, receipt(200), receipt(503), receipt(200), threshold=1)

    async with running(one):
        one.offer(1)
        await asyncio.sleep(HOUR)
        one.offer(1)
        await asyncio.sleep(HOUR)

    pauses = [after - before for before, after in pairwise(one.upstream.times)]
    assert pauses[:9] == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert pauses[10] == 1
    assert one.upstream.batches == [[0]] * 10 + [[1]] * 2
    assert one.tally.counts()["retried"] == 10


@pytest.mark.looptime
async def test_the_pause_is_fully_jittered() -> None:
    chances = iter([0.0, 0.25, 0.5])
    one = rig(None, None, None, receipt(200), threshold=1, chance=lambda: next(chances))

    async with running(one):
        one.offer(1)
        await asyncio.sleep(HOUR)

    assert one.upstream.times == [0, 0, 0.5, 2.5]


@pytest.mark.looptime
async def test_retry_after_is_honoured() -> None:
    one = rig(receipt(503, 90.0), receipt(200), threshold=1)

    async with running(one):
        one.offer(1)
        await asyncio.sleep(HOUR)

    assert one.upstream.times == [0, 90]


@pytest.mark.looptime
async def test_refused_events_are_dropped_and_the_others_resent_at_once() -> None:
    one = rig(
        receipt(400, events_with_invalid_fields={"time": [1]}, silenced_events=[3]),
        receipt(200),
        threshold=5,
    )

    async with running(one):
        one.offer(5)
        await asyncio.sleep(1)

    assert one.upstream.diary == [(0, [0, 1, 2, 3, 4]), (0, [0, 2, 4])]
    assert one.dropped == {"invalid": 1, "silenced": 1}
    assert one.lost == [], "the same again would be refused again"


@pytest.mark.looptime
async def test_throttled_events_rest_while_the_others_go() -> None:
    one = rig(
        receipt(429, throttled_events=[0, 1], exceeded_daily_quota_users={}),
        receipt(200),
        threshold=3,
        rest_seconds=15.0,
    )

    async with running(one):
        one.offer(3)
        await asyncio.sleep(60)

    assert one.upstream.diary == [(0, [0, 1, 2]), (0, [2]), (15, [0, 1])]
    assert one.tally.counts()["held"] == 2


def throttled(bodies: Sequence[bytes]) -> Receipt:
    return receipt(429, 3600.0, throttled_events=list(range(len(bodies))))


@pytest.mark.looptime
async def test_throttled_events_do_not_pile_up(tmp_path: Path) -> None:
    small = Limits(events=10, size=1_000_000)
    bound = 200_000
    one = rig(throttled, folder=tmp_path, limits=small, threshold=5, max_bytes=bound)

    async with running(one):
        for _ in range(150):
            one.offer(20)
            await asyncio.sleep(1)
        assert len(one.upstream.diary) == 2, "two batches are held, and upstream is left alone"
        assert one.sender.status()["pending_bytes"] <= bound
        assert one.spool.status()["used_bytes"] <= bound
        one.upstream.script = [receipt(200)]
        await asyncio.sleep(LONGEST_HOLD_SECONDS)
    await one.spool.close()

    assert set(one.dropped) == {"full"}
    assert len(one.upstream.accepted) == one.made - one.dropped["full"]
    assert set(one.upstream.accepted) >= {0, 1, 2, one.made - 1}


@pytest.mark.looptime
async def test_a_few_throttled_events_hold_nobody_up() -> None:
    def throttle_three(bodies: Sequence[bytes]) -> Receipt:
        held = [place for place, number in enumerate(numbers(bodies)) if number < 3]
        return receipt(429, 3600.0, throttled_events=held) if held else receipt(200)

    one = rig(throttle_three, threshold=10)

    async with running(one):
        for _ in range(20):
            one.offer(10)
            await asyncio.sleep(1)

    assert sorted(one.upstream.accepted) == [*range(3, 200)]


@pytest.mark.looptime
async def test_trouble_that_comes_and_goes_does_not_flood_the_log(
    log_lines: list[MutableMapping[str, Any]],
) -> None:
    one = rig(threshold=1)
    one.upstream.script = [receipt(500), receipt(200)] * 2000

    async with running(one):
        for _ in range(500):
            one.offer(1)
            await asyncio.sleep(0.5)

    said = [
        (line["event"], line["log_level"]) for line in log_lines if line["log_level"] != "debug"
    ]
    assert said.count(("events not accepted", "warning")) in (4, 5), "once a minute"
    assert said.count(("events are accepted again", "info")) in (4, 5)


@pytest.mark.looptime
async def test_a_429_without_names_rests_too() -> None:
    one = rig(receipt(429), receipt(200), threshold=1, rest_seconds=15.0)

    async with running(one):
        one.offer(1)
        await asyncio.sleep(60)

    assert one.upstream.times == [0, 15]


@pytest.mark.looptime
async def test_a_413_halves_until_it_fits_and_remembers_it_for_a_while() -> None:
    def too_large(bodies: Sequence[bytes]) -> Receipt:
        return receipt(413 if len(bodies) > 3 else 200)

    one = rig(too_large, threshold=10)

    async with running(one):
        one.offer(10)
        await asyncio.sleep(1)
        assert one.upstream.batches[:3] == [list(range(10)), [0, 1, 2, 3, 4], [0, 1, 2]]
        assert one.upstream.accepted == list(range(10))
        assert one.sender.status()["batch_limit"] == 3

        one.upstream.diary.clear()
        one.offer(10)
        await asyncio.sleep(1)
        assert one.upstream.batches == [[10, 11, 12], [13, 14, 15], [16, 17, 18]]

        await asyncio.sleep(600)
        assert one.sender.status()["batch_limit"] == 2000
    assert one.dropped == {}


@pytest.mark.looptime
async def test_a_single_event_that_is_too_large_for_upstream_is_dropped() -> None:
    one = rig(
        lambda bodies: receipt(413 if 1 in numbers(bodies) else 200),
        threshold=3,
        period_seconds=1.0,
    )

    async with running(one):
        one.offer(3)
        await asyncio.sleep(5)

    assert one.upstream.accepted == [0, 2]
    assert one.dropped == {"too_large": 1}


@pytest.mark.looptime
async def test_one_event_that_is_too_large_leaves_the_batches_as_large_as_they_were() -> None:
    one = rig(lambda bodies: receipt(413 if 5 in numbers(bodies) else 200), threshold=10)

    async with running(one):
        one.offer(10)
        await asyncio.sleep(60)
        assert one.sender.status()["batch_limit"] == 2000
        one.upstream.diary.clear()
        one.offer(10)
        await asyncio.sleep(1)

    assert one.upstream.batches == [list(range(10, 20))]
    assert sorted(one.upstream.accepted) == [n for n in range(20) if n != 5]


@pytest.mark.looptime
async def test_no_wait_asked_for_is_no_reason_to_ask_without_end() -> None:
    one = rig(receipt(429, 0.0, throttled_events=[*range(10)]), seconds=0.001, threshold=10)

    async with running(one):
        one.offer(10)
        await asyncio.sleep(60)

    assert len(one.upstream.diary) <= 61
    assert len(one.sender) == 10


@pytest.mark.looptime
async def test_an_answer_that_we_stumble_over_loses_nothing() -> None:
    unreadable = Receipt(400, None)  # type: ignore[arg-type]
    one = rig(unreadable, receipt(200), threshold=5)
    one.offer(5)

    with pytest.raises(TypeError):
        await one.sender.send_batch()
    await one.sender.send_batch()

    assert one.upstream.accepted == [0, 1, 2, 3, 4]
    assert one.sender.size == 0


@pytest.mark.looptime
async def test_a_refusal_without_names_is_narrowed_to_the_culprit() -> None:
    one = rig(lambda bodies: receipt(400 if 37 in numbers(bodies) else 200), threshold=100)

    async with running(one):
        one.offer(100)
        await asyncio.sleep(5)

    assert sorted(one.upstream.accepted) == [n for n in range(100) if n != 37]
    assert one.upstream.accepted == sorted(one.upstream.accepted), "nothing is reordered"
    assert one.dropped == {"refused": 1}
    assert one.lost == [37]
    assert len(one.upstream.diary) < 20


@pytest.mark.looptime
async def test_a_refusal_of_everything_does_not_lose_everything_at_once() -> None:
    one = rig(receipt(422), threshold=100)

    async with running(one):
        one.offer(100)
        await asyncio.sleep(600)

    assert 0 < one.dropped["refused"] < 20
    assert len(one.sender) == 100 - one.dropped["refused"]


@pytest.mark.looptime
async def test_an_invalid_api_key_drops_the_batch_and_slows_down() -> None:
    one = rig(receipt(400, error="Invalid API key: x"), receipt(200), threshold=2)

    async with running(one):
        one.offer(2)
        await asyncio.sleep(0)
        one.offer(2)
        await asyncio.sleep(60)

    assert one.dropped == {"invalid_api_key": 2}
    assert one.lost == [0, 1], "they may be told again"
    assert one.upstream.diary == [(0, [0, 1]), (1, [2, 3])]


@pytest.mark.looptime
async def test_what_exceeds_the_bound_in_bytes_is_dropped_oldest_first() -> None:
    one = rig(None, threshold=1000, max_memory=10 * (40 + 160))

    one.offer(13)

    assert one.lost == [0, 1, 2]
    assert one.dropped == {"full": 3}
    assert one.sender.size <= 2000


@pytest.mark.looptime
async def test_what_is_too_old_is_dropped() -> None:
    one = rig(None, threshold=1, max_age_seconds=HOUR)

    async with running(one):
        one.offer(2)
        await asyncio.sleep(HOUR - 100)
        one.offer(1)
        await asyncio.sleep(200)
        assert len(one.sender) == 1
        assert one.sender.oldest_age() == 200.0
        await asyncio.sleep(HOUR)

    assert one.dropped == {"too_old": 3}
    assert one.lost == [0, 1, 2]


@pytest.mark.looptime
async def test_an_event_too_large_for_any_request_is_dropped() -> None:
    one = rig(limits=Limits(events=10, size=100))

    one.offer(1, size=101)
    one.offer(1, size=100)

    assert one.dropped == {"too_large": 1}
    assert len(one.sender) == 1


@pytest.mark.looptime
async def test_an_event_larger_than_the_buffer_does_not_empty_it() -> None:
    one = rig(max_memory=2000)

    one.offer(3)
    one.offer(1, size=1900)

    assert one.dropped == {"too_large": 1}
    assert len(one.sender) == 3


@pytest.mark.looptime
async def test_full_batches_do_not_wait() -> None:
    one = rig(threshold=100, limits=Limits(events=4, size=1_000_000))

    async with running(one):
        one.offer(10)
        await asyncio.sleep(20)

    assert one.upstream.diary == [(0, [0, 1, 2, 3]), (0, [4, 5, 6, 7]), (10, [8, 9])]


@pytest.mark.looptime
async def test_flush_sends_everything_without_the_loop() -> None:
    one = rig(limits=Limits(events=4, size=1_000_000))
    one.offer(10)

    left = await one.flush(deadline=10.0)

    assert left == 0
    assert one.upstream.accepted == list(range(10))
    assert asyncio.get_running_loop().time() == 0


@pytest.mark.looptime
async def test_flush_gives_up_at_its_deadline_and_counts_what_is_left() -> None:
    one = rig(None, chance=lambda: 1.0)
    one.offer(5)

    left = await one.flush(deadline=10.0)

    assert left == 5
    assert one.dropped == {"stopped": 5}
    assert len(one.sender) == 0
    assert one.upstream.times == [0, 1, 3, 7]


@pytest.mark.looptime
async def test_flush_does_not_wait_for_an_upstream_that_hangs() -> None:
    one = rig(seconds=HOUR)
    one.offer(5)

    assert await one.flush(deadline=10.0) == 5
    assert asyncio.get_running_loop().time() == 10


@pytest.mark.looptime
async def test_flush_tries_at_once_even_after_a_long_pause_was_asked_for() -> None:
    one = rig(receipt(503, 600.0), receipt(200), threshold=2)
    async with running(one):
        one.offer(2)
        await asyncio.sleep(5)

    assert await one.flush(deadline=15.0) == 0
    assert one.upstream.times == [0, 5]


@pytest.mark.looptime
async def test_flush_sends_what_is_held() -> None:
    one = rig(receipt(429, throttled_events=[0]), receipt(200), threshold=2)
    async with running(one):
        one.offer(2)
        await asyncio.sleep(1)

    assert await one.flush(deadline=10.0) == 0
    assert one.upstream.accepted == [1, 0]


@pytest.mark.looptime
async def test_flush_waits_for_held_events_if_there_is_time() -> None:
    one = rig(receipt(429, throttled_events=[0]), receipt(200), rest_seconds=5.0)
    one.offer(1)

    assert await one.flush(deadline=10.0) == 0
    assert one.upstream.times == [0, 5]


@pytest.mark.looptime
async def test_a_batch_under_way_when_the_loop_is_cancelled_is_sent_again_by_flush() -> None:
    one = rig(seconds=3.0, threshold=5)
    async with running(one):
        one.offer(5)
        await asyncio.sleep(1)

    one.upstream.seconds = 0.0
    assert await one.flush(deadline=10.0) == 0
    assert one.upstream.batches == [[0, 1, 2, 3, 4]] * 2
    assert one.lost == []


@pytest.mark.looptime
async def test_flush_beside_a_living_loop_waits_for_the_batch_under_way() -> None:
    one = rig(seconds=3.0, threshold=5)
    async with running(one):
        one.offer(5)
        await asyncio.sleep(1)
        one.offer(1)

        assert await one.flush(deadline=20.0) == 0

    assert one.upstream.batches == [[0, 1, 2, 3, 4], [5]]


@pytest.mark.looptime
async def test_an_answer_after_the_flush_gave_up_changes_nothing() -> None:
    one = rig(receipt(500), seconds=30.0, threshold=5)
    async with running(one):
        one.offer(5)
        await asyncio.sleep(1)
        assert await one.flush(deadline=10.0) == 5
        await asyncio.sleep(60)

    assert len(one.sender) == 0
    assert one.dropped == {"stopped": 5}


@pytest.mark.looptime
async def test_a_batch_cut_short_after_the_flush_gave_up_stays_lost() -> None:
    one = rig(seconds=HOUR, threshold=5)
    async with running(one):
        one.offer(5)
        await asyncio.sleep(1)
        assert await one.flush(deadline=10.0) == 5

    assert len(one.sender) == 0
    assert one.dropped == {"stopped": 5}


@pytest.mark.looptime
async def test_the_status_tells_the_last_answer_and_the_next_attempt() -> None:
    one = rig(receipt(503, 40.0), threshold=2)
    assert one.sender.status()["next_attempt_in_seconds"] is None
    assert one.sender.oldest_age() == 0.0

    async with running(one):
        one.offer(2)
        await asyncio.sleep(10)
        status = one.sender.status()

    assert status == {
        "pending": 2,
        "pending_bytes": 400,
        "backlog": 0,
        "in_memory": 2,
        "oldest_age_seconds": 10.0,
        "batch_limit": 2000,
        "failures_in_a_row": 1,
        "last_answer": {"status": 503, "said": "answered 503", "at": NOW},
        "next_attempt_in_seconds": 30.0,
    }


@pytest.mark.looptime
async def test_the_status_names_why_there_was_no_answer() -> None:
    one = rig(None, threshold=1)
    one.offer(1)

    await one.sender.send_batch()

    assert one.sender.status()["last_answer"]["said"] == "no answer in time"


steps = st.sampled_from(
    [
        receipt(200),
        None,
        receipt(500),
        receipt(429),
        receipt(429, throttled_events=[0, 2]),
        receipt(429, 1 / 3, throttled_events=[0, 1]),
        receipt(400, throttled_events=[1]),
        receipt(413),
        receipt(400),
        receipt(503, 45.0),
        receipt(301),
    ]
)


@given(
    st.lists(steps, max_size=12),
    st.lists(st.tuples(st.integers(1, 9), st.floats(0, 70)), min_size=1, max_size=6),
    st.integers(1, 6),
)
@settings(max_examples=60, deadline=None)
def test_while_events_wait_none_is_lost_silently_or_accepted_twice(
    script: list[Receipt | None], offers: list[tuple[int, float]], most: int
) -> None:
    async def wait_and_compare() -> None:
        one = rig(*script, receipt(200), threshold=4, limits=Limits(events=most, size=1_000_000))
        async with running(one):
            for count, pause in offers:
                one.offer(count)
                await asyncio.sleep(pause)
            await asyncio.sleep(HOUR)
        refused = one.dropped.get("refused", 0) + one.dropped.get("too_large", 0)
        accepted = one.upstream.accepted
        assert len(set(accepted)) == len(accepted)
        assert len(accepted) + refused == one.made
        assert set(one.dropped) <= {"refused", "too_large"}
        assert all(len(batch) <= most for batch in one.upstream.batches)

    loop = looptime.new_event_loop(start=0)
    try:
        loop.run_until_complete(wait_and_compare())
    finally:
        loop.close()
