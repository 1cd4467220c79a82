"""`/status/traffic`: how many evaluation requests came lately, and how long they took."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final, final

import msgspec

from proxy import tasks
from proxy.admin.pages import Ask, Page

if TYPE_CHECKING:
    from proxy.instruments import RequestTimes

INTERVAL_SECONDS: Final = 5
MOST_KEPT: Final = 15 * 60 // INTERVAL_SECONDS
FINE: Final = 300
NOT_MODIFIED: Final = 304


class Totals(msgspec.Struct, frozen=True):
    """All that was counted up to some moment of the loop's clock."""

    at: float
    requests: int
    failures: int
    buckets: tuple[int, ...]


@final
class Traffic:
    """Looks at the metrics' own counts every few seconds; a request pays nothing for it.

    `routes` are those that evaluate.
    """

    def __init__(
        self, times: RequestTimes, routes: Collection[str], clock: tasks.Clock = tasks.wall_clock
    ) -> None:
        self._times = times
        self._routes = frozenset(routes)
        self._clock = clock
        self._samples: deque[Mapping[str, Any]] = deque(maxlen=MOST_KEPT)

    async def watch(self) -> None:
        """Take a sample of each interval, for ever."""
        before = self._totals()
        while True:
            await asyncio.sleep(INTERVAL_SECONDS)
            after = self._totals()
            self._samples.append(self._sample(before, after))
            before = after

    async def answer(self, _ask: Ask) -> Page:
        """Answer the samples of the last quarter of an hour, oldest first."""
        told = {"interval_seconds": INTERVAL_SECONDS, "samples": list(self._samples)}
        return Page(200, msgspec.json.encode(told))

    def _totals(self) -> Totals:
        requests = failures = 0
        buckets: list[int] = [0] * (len(self._times.bounds) + 1)
        for route, status, counts in self._times.counts():
            if route in self._routes:
                number = sum(counts)
                requests += number
                failures += number if status >= FINE and status != NOT_MODIFIED else 0
                buckets = [a + b for a, b in zip(buckets, counts, strict=True)]
        return Totals(asyncio.get_running_loop().time(), requests, failures, tuple(buckets))

    def _sample(self, before: Totals, after: Totals) -> Mapping[str, Any]:
        seconds = after.at - before.at
        counts = [b - a for a, b in zip(before.buckets, after.buckets, strict=True)]
        return {
            "at": round(self._clock(), 3),
            "requests_per_second": round((after.requests - before.requests) / seconds, 3),
            "failures_per_second": round((after.failures - before.failures) / seconds, 3),
            "p50_millis": quantile_millis(self._times.bounds, counts, 0.5),
            "p99_millis": quantile_millis(self._times.bounds, counts, 0.99),
        }


def quantile_millis(bounds: Sequence[float], counts: Sequence[int], part: float) -> float | None:
    """Return about how long `part` of the requests took at most, None without requests.

    Within a bucket of the histogram they count as evenly spread; beyond the last bound nothing
    more is known than that bound.
    """
    wanted = part * sum(counts)
    if not wanted:
        return None
    reached = list(accumulate(counts))
    index = next(place for place, count in enumerate(reached) if count >= wanted)
    if index >= len(bounds):
        return round(bounds[-1] * 1000, 3)
    low = bounds[index - 1] if index else 0.0
    inside = (wanted - (reached[index] - counts[index])) / counts[index]
    return round((low + (bounds[index] - low) * inside) * 1000, 3)
