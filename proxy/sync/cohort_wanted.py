"""One cohort that flags target: who needs it, what is here of it, and how its load goes."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, final

from proxy.cohorts.shelf import Cohort
from proxy.secret import Secret
from proxy.sync.cohort_verdicts import ABSENCES_TO_GO, ANSWERS, HOPELESS, REGULAR, Result
from proxy.sync.journal import Journal
from proxy.sync.schedule import Backoff

Stage = Literal["waiting", "downloading", "building"]


@final
@dataclass(kw_only=True, eq=False)
class Load:
    """An attempt under way; times are of the loop's clock, `began` is when it had its turn."""

    stage: Stage = "waiting"
    began: float | None = None
    stage_began: float = 0.0
    bytes: int = 0
    total_bytes: int | None = None
    members: int = 0

    def enter(self, stage: Stage, now: float) -> None:
        """Note that a stage begins."""
        self.stage = stage
        self.stage_began = now

    @property
    def comes(self) -> bool:
        """Whether something of the cohort is there by now."""
        return self.bytes > 0 or self.stage == "building"

    def progress(self, now: float) -> dict[str, Any]:
        """Return how far it is, as JSON; rates are those of the present stage."""
        seconds = max(now - self.stage_began, 0.001)
        told: dict[str, Any] = {"stage": self.stage, "bytes": self.bytes}
        if self.total_bytes is not None:
            told["total_bytes"] = self.total_bytes
        told["members"] = self.members
        if self.stage == "downloading":
            told["bytes_per_second"] = round(self.bytes / seconds)
        if self.stage == "building":
            told["members_per_second"] = round(self.members / seconds)
        return told


@final
class Saved:
    """The packed body of a cohort whose index is lost; the cohort is built from it."""

    def __init__(self, body: Path, confirmed_at: float) -> None:
        self.body = body
        self.confirmed_at = confirmed_at


@final
@dataclass(kw_only=True, eq=False)
class Wanted:
    """The state of one cohort; `here` is what is on the shelf of it.

    `since` is when it was first needed and `left_at` when nobody needed it any more, both on the
    loop's clock; `confirmed_at` is upstream's last word for what is here, in seconds since 1970;
    `last` is how the last attempt ended.
    """

    cohort_id: str
    journal: Journal
    backoff: Backoff
    preparing: Backoff
    since: float | None = None
    here: Cohort | None = None
    index_bytes: int = 0
    confirmed_at: float = 0.0
    needed_by: set[Secret] = field(default_factory=set)
    needed: asyncio.Event = field(default_factory=asyncio.Event)
    hurry: asyncio.Event = field(default_factory=asyncio.Event)
    """The next attempt is due at once."""
    left_at: float | None = None
    last: Result | None = None
    hopeless: bool = False
    absences: int = 0
    unsound: bool = False
    """The packed body of what is here is damaged: upstream's is taken even if it is no newer."""
    doubted_at: float | None = None
    """When a damaged body was last hurried for, on the loop's clock."""
    refused_version: int | None = None
    """`lastModified` of a version that had too many members."""
    saved: Saved | None = None
    load: Load | None = None
    _was: str | None = None

    def given_up(self, now: float, wait: float) -> bool:
        """Tell whether no flag should wait for it (any longer)."""
        return self.hopeless or (self.since is not None and now - self.since >= wait)

    def awaited(self, now: float, wait: float) -> bool:
        """Tell whether flags wait for it, for `wait` seconds at most, or may."""
        return self.here is None and bool(self.needed_by) and not self.given_up(now, wait)

    def need(self, deployment: Secret, now: float) -> None:
        """Note that a deployment's flags target it."""
        self.needed_by.add(deployment)
        self.needed.set()
        self.left_at = None
        if self.since is None:
            # Flags that come to need it have not waited yet, whatever others did.
            self.since, self.hopeless = now, False
            if self.last is not None and self.last.retry_after is None:
                self.hurry.set()

    def leave(self, deployment: Secret, now: float) -> None:
        """Note that a deployment's flags do not target it any more."""
        self.needed_by.discard(deployment)
        if not self.needed_by:
            self.needed.clear()
            self.left_at = now
            if self.here is None:
                self.since = None

    def put(self, cohort: Cohort, index_bytes: int, as_of: float) -> None:
        """Note what is on the shelf now, its index's bytes on the disk, and upstream's word."""
        self.here = cohort
        self.index_bytes = index_bytes
        self.confirmed_at = as_of
        self.hopeless = False
        self.unsound = False
        self.saved = None
        self.refused_version = None

    @property
    def asked_version(self) -> int | None:
        """The `lastModified` of the newest version that upstream need not send again."""
        sound = self.here.last_modified if self.here is not None and not self.unsound else None
        known = [one for one in (sound, self.refused_version) if one is not None]
        return max(known, default=None)

    def conclude(self, result: Result) -> None:
        """Remember how an attempt ended, but for what is here."""
        self.last = result
        # Hope comes back only with the cohort: a flag does not wait for it a second time.
        self.hopeless |= self.here is None and result.outcome in HOPELESS
        if result.outcome == "unknown":
            self.absences += 1
        elif result.outcome in ANSWERS:
            self.absences = 0
        self.journal.note("cohort", result.outcome, result.detail)

    def moved(self) -> bool:
        """Tell whether it came, went or changed its group type since this was last asked."""
        before, self._was = self._was, None if self.here is None else self.here.group_type
        return before != self._was

    @property
    def unknown(self) -> bool:
        """Whether it is not here, and upstream last said that it knows no such cohort."""
        return self.here is None and self.absences > 0

    @property
    def gone(self) -> bool:
        """Whether upstream said often enough that it knows no such cohort."""
        return self.here is not None and self.absences >= ABSENCES_TO_GO

    def doubt(self, cohort: Cohort, now: float, period: float) -> None:
        """Note that the packed body of what was here of late is damaged.

        What is damaged again within a `period` is not hurried for: then the disk is to blame.
        """
        if self.here is not cohort or self.unsound:
            return
        self.unsound = True
        if self.doubted_at is None or now - self.doubted_at >= period:
            self.doubted_at = now
            self.hurry.set()

    def lose(self) -> None:
        """Note that nothing is on the shelf any more, as upstream knows no such cohort."""
        self.here = None
        self.hopeless = True

    def pause(self, result: Result, regular: float) -> float:
        """Return the seconds until the next attempt; `regular` are those after success."""
        if result.outcome == "preparing":
            return self.preparing.failed(result.retry_after)
        self.preparing.succeeded()
        if result.outcome in REGULAR or (result.outcome == "unknown" and self.here is not None):
            self.backoff.succeeded()
            return max(regular, result.retry_after or 0.0)
        return self.backoff.failed(result.retry_after)

    def reason(self) -> str:
        """Say why it is not here, for operators."""
        if self.last is not None:
            return self.last.detail or self.last.outcome
        if self.saved is not None:
            return "is rebuilt: its index was damaged"
        return "is being loaded" if self.load is not None else "is not loaded yet"
