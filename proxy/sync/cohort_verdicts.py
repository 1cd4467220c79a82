"""What the answers about one cohort mean, and when to ask again: pure."""

from __future__ import annotations

from typing import Literal, Protocol, get_args

import msgspec

from proxy.errors import BuilderDied, CohortError, NoRoom, UpstreamError
from proxy.settings.schema import Configuration
from proxy.sync.journal import KEY_REFUSED, outcome_of

Outcome = Literal[
    "changed",
    "unchanged",
    "older",
    "preparing",
    "too_large",
    "unknown",
    "refused",
    "unavailable",
    "garbled",
    "broken",
    "no_room",
    "no_place",
    "builder_died",
    "rebuilt",
]
"""How an attempt ended: a new version is here; the one that is here is upstream's; upstream has an
older one; it prepares one; it has more members than we take; it knows none; it refuses or does not
give an answer; the body is no cohort; the disk is full; there is no place to write; the builder
died; it was built anew from its packed body on the disk."""

ANSWERS = frozenset({"changed", "unchanged", "older", "preparing", "too_large"})
"""What only who knows the cohort answers."""
REGULAR = frozenset({"changed", "unchanged", "older", "too_large"})
"""After these the next attempt is due at the regular time."""
HOPELESS = frozenset({"too_large", "unknown", "refused"})
"""After these no flag waits for the cohort."""
FAILURES = frozenset(get_args(Outcome)) - {"changed", "unchanged", "older", "preparing", "rebuilt"}
"""What counts as a failure to download, as the official proxy counts."""
KEYS_HINT = ": upstream does not take the project's API key and secret key"
OUR_TROUBLE = frozenset({"no_room", "no_place", "builder_died"})
"""What says nothing about the body, so that building from it may go well another time."""
NOT_FOUND = 404
ABSENCES_TO_GO = 3


class CohortTimings(msgspec.Struct, frozen=True, kw_only=True):
    """All times of the cohorts loops, in seconds."""

    period: float = 120.0
    """The pause between looks for a new version of each cohort."""
    wait: float = 60.0
    """How long flags wait for a cohort after it was first wanted."""
    grace: float = 600.0
    """How long a cohort is kept that no flag targets any more."""
    first_retry: float = 1.0
    """The pause after a first failure, and the least one while upstream prepares a cohort."""
    longest_retry: float = 60.0
    """The longest pause after failures, unless the period is longer."""
    longest_preparing: float = 30.0
    """The longest pause while upstream prepares a cohort."""
    progress: float = 10.0
    """The pause between log lines about a long load."""

    @property
    def longest_pause(self) -> float:
        """The longest pause after failures."""
        return max(self.period, self.longest_retry)


def cohort_timings_of(configuration: Configuration) -> CohortTimings:
    """Return the timings that the settings ask for."""
    return CohortTimings(
        period=configuration.cohort_sync_interval_millis / 1000,
        wait=configuration.cohort_wait_millis / 1000,
    )


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """How one attempt ended; `detail` is fit for operators, `retry_after` in seconds."""

    outcome: Outcome
    detail: str = ""
    retry_after: float | None = None

    @classmethod
    def of(cls, error: UpstreamError | CohortError) -> Result:
        """Return what an error means."""
        if isinstance(error, NoRoom):
            return cls(outcome="no_room", detail=str(error))
        if isinstance(error, BuilderDied):
            return cls(outcome="builder_died", detail=str(error))
        if isinstance(error, CohortError):
            return cls(outcome="broken", detail=str(error))
        if error.status == NOT_FOUND:
            detail = "upstream knows no such cohort"
            return cls(outcome="unknown", detail=detail, retry_after=error.retry_after)
        hint = KEYS_HINT if error.status in KEY_REFUSED else ""
        return cls(
            outcome=outcome_of(error), detail=error.reason + hint, retry_after=error.retry_after
        )


NO_PLACE = Result(outcome="no_place", detail="there is no place to write to")


def too_large(max_size: int, retry_after: float | None = None) -> Result:
    """Return the result for a cohort of more than `max_size` members."""
    detail = f"it has more than maxCohortSize ({max_size}) members"
    return Result(outcome="too_large", detail=detail, retry_after=retry_after)


class Version(Protocol):
    """What a version of a cohort is weighed by."""

    @property
    def last_modified(self) -> int:
        """Upstream's time of it, in milliseconds since 1970."""

    @property
    def size(self) -> int:
        """The number of its distinct members."""


def weigh(built: Version, here: Version | None, *, sound: bool, max_size: int) -> Result:
    """Decide about what was built, given what is here, if anything, and whether that is whole."""
    if here is not None and built.last_modified < here.last_modified:
        return Result(outcome="older", detail="upstream has an older version than is here")
    if here is not None and built.last_modified == here.last_modified and sound:
        return Result(outcome="unchanged")
    if built.size > max_size:
        return too_large(max_size)
    return Result(outcome="changed")


def lost_most(before: int, after: int) -> bool:
    """Tell whether more than half of the members are gone: rare enough to be said."""
    return after * 2 < before
