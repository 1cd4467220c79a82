import asyncio
import io

import pytest

from proxy.metrics import Metrics
from proxy.run.loops import Loops
from proxy.run.stop import LOOP_DIED, Stop


@pytest.mark.looptime
async def test_a_loop_that_dies_is_restarted_and_in_the_end_given_up(
    log_lines: io.StringIO,
) -> None:
    metrics, stop = Metrics(), Stop()
    loops = Loops(metrics, stop)
    lives = 0

    async def body() -> None:
        nonlocal lives
        lives += 1
        if lives == 2:
            assert loops.down() == []
        raise RuntimeError("boom")

    async with loops.running("sync", body):
        while lives < 2:
            assert loops.down() in ([], [("loop sync", False, "died: RuntimeError")])
            await asyncio.sleep(0.5)
        assert not loops.are_up()
        assert not stop.asked.is_set()
        await stop.asked.wait()

    assert stop.exit_code == LOOP_DIED
    assert lives == 7
    name = "amplitude_proxy_loop_deaths_total"
    assert metrics.registry.get_sample_value(name, {"loop": "sync"}) == 7
    assert "boom" in log_lines.getvalue()


@pytest.mark.looptime
async def test_a_loop_that_is_not_vital_takes_nobody_out_of_service() -> None:
    stop = Stop()
    loops = Loops(Metrics(), stop)
    lives = 0

    async def body() -> None:
        nonlocal lives
        lives += 1
        raise OSError

    async with loops.running("store", body, vital=False):
        while lives < 9:
            assert loops.are_up()
            assert loops.down() in ([], [("loop store", True, "died: OSError")])
            await asyncio.sleep(1)

    assert not stop.asked.is_set()
