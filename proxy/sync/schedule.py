"""When the next attempt is due: pure, with chance and time handed in."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import final

import msgspec

from proxy.settings.schema import Configuration
from proxy.upstream.flags import Patience

Draw = Callable[[], float]
"""A number from [0, 1), another one each time."""

JITTER = 0.1


class Timings(msgspec.Struct, frozen=True, kw_only=True):
    """All times of this room, in seconds."""

    deployments: float = 120.0
    """The pause between listings of deployments."""
    flags: float = 60.0
    """The pause between polls of flag configs."""
    streams: bool = True
    """Whether to follow streams at all."""
    while_streaming: float = 10.0
    """How many of those pauses lie between polls while a stream delivers: a safety net only."""
    confirm: float = 10.0
    """The longest wait before asking again whether something is gone."""
    longest_retry: float = 60.0
    """The longest pause after failures, unless the regular pause is longer."""
    patience: Patience = Patience()
    """What a stream may keep us waiting for."""
    renewal: float = 900.0
    """The life of a stream's connection."""
    stream_retry: float = 15.0
    """The pause after a stream's first failure."""
    longest_stream_retry: float = 300.0
    """The pause after many of them."""
    stream_not_offered: float = 3600.0
    """The pause after upstream said that it has no streams."""
    parallel: int = 8
    """How many first fetches may be under way, and how many openings of streams."""
    most_streams: int | None = None
    """How many streams may be followed; None: half of the files that the process may open."""

    @property
    def until_second_word(self) -> float:
        """The wait before asking again whether all flags are gone."""
        return min(self.flags, self.confirm)


def timings_of(configuration: Configuration) -> Timings:
    """Return the timings that the settings ask for."""
    return Timings(
        deployments=configuration.deployment_sync_interval_millis / 1000,
        flags=configuration.flag_sync_interval_millis / 1000,
        streams=configuration.stream_updates,
    )


def jittered(seconds: float, draw: Draw) -> float:
    """Return `seconds`, more or less a tenth, so that a fleet does not ask in step."""
    return seconds * (1 + JITTER * (2 * draw() - 1))


@final
class Backoff:
    """Pauses that double with each failure in a row up to `longest`, drawn from a part of each.

    `low` and `high` are the bounds of that part; the default is nearly the whole (full jitter),
    with a tenth kept so that no loop runs hot.
    """

    def __init__(
        self, draw: Draw, *, first: float, longest: float, low: float = 0.1, high: float = 1.0
    ) -> None:
        self.failures = 0
        self._draw = draw
        self._first = first
        self._longest = longest
        self._low = low
        self._high = high

    def failed(self, retry_after: float | None = None) -> float:
        """Count a failure and return the pause after it, never shorter than upstream asked for."""
        # Beyond 2**32 no longest pause is larger, and the power would overflow one day.
        cap = min(math.ldexp(self._first, min(self.failures, 32)), self._longest)
        self.failures += 1
        pause = cap * (self._low + (self._high - self._low) * self._draw())
        if retry_after is None:
            return pause
        return max(pause, retry_after * (1 + JITTER * self._draw()))

    def succeeded(self) -> None:
        """Start over."""
        self.failures = 0
