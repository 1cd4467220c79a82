"""Every request is within the limits, and nothing is lost, moved or doubled."""

import asyncio
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory

import looptime
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.events.event import RECORD_BYTES
from proxy.events.sender import MOST_LIVE_BATCHES
from proxy.upstream.analytics import Limits
from tests.events.builders import event, receipt
from tests.events.rig import HOUR, rig, running


async def wait_an_hour() -> None:
    """Of virtual time, so that all is sent."""
    await asyncio.sleep(HOUR)


@given(
    sizes=st.lists(st.integers(40, 500), max_size=40),
    limits=st.builds(Limits, events=st.integers(1, 8), size=st.integers(100, 1500)),
    script=st.lists(st.sampled_from([receipt(200), receipt(503), None]), max_size=4),
    on_disk=st.booleans(),
)
@settings(max_examples=50, deadline=None)
def test_batches_are_within_the_limits_in_order_and_complete(
    sizes: list[int], limits: Limits, script: list[object], on_disk: bool
) -> None:
    real = [len(event(number, size)) for number, size in enumerate(sizes)]
    sendable = [number for number, size in enumerate(real) if size <= limits.size]

    async def send_and_compare(folder: Path | None) -> None:
        one = rig(*script, receipt(200), folder=folder, limits=limits)
        async with running(one):
            for size in sizes:
                one.offer(1, size)
            await wait_an_hour()
        for batch in one.upstream.batches:
            assert 1 <= len(batch) <= limits.events
            assert sum(real[number] for number in batch) + len(batch) - 1 <= limits.size
            assert batch == sorted(batch)
        assert sorted(one.upstream.accepted) == sendable, "each once"
        pending = sum(real[number] + RECORD_BYTES for number in sendable)
        few = len(sendable) <= MOST_LIVE_BATCHES * limits.events
        if few and pending <= MOST_LIVE_BATCHES * limits.size:
            assert one.upstream.accepted == sendable, "in order, if nothing became a backlog"
        too_large = len(sizes) - len(sendable)
        assert one.dropped == ({"too_large": too_large} if too_large else {})
        assert len(one.lost) == 0, "what is too large is not tried again"
        repeated = chain.from_iterable(one.upstream.batches)
        assert set(repeated) == set(sendable)

    with TemporaryDirectory() as name:
        loop = looptime.new_event_loop(start=0)
        try:
            loop.run_until_complete(send_and_compare(Path(name) if on_disk else None))
        finally:
            loop.close()
