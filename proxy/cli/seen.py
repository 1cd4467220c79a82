"""What the operators' port says of a running proxy, as far as a terminal shows it.

Every part may be missing, as another version of the proxy may say less; what is unknown is passed
over.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct


class Part(Struct, frozen=True):
    """A part of readiness."""

    name: str = ""
    ready: bool = False
    reason: str = ""


class Readiness(Struct, frozen=True):
    """What `/readyz` says."""

    ready: bool = False
    parts: tuple[Part, ...] = ()


class FlagTrouble(Struct, frozen=True):
    """A flag that could not be used as it came."""

    flag: str = ""
    reason: str = ""
    in_force: bool = False


class Waiting(Struct, frozen=True):
    """A flag that waits for cohorts."""

    flag: str = ""
    cohorts: tuple[str, ...] = ()


class Deployment(Struct, frozen=True):
    """A deployment."""

    deployment: str = ""
    source: str | None = None
    age_seconds: float | None = None
    flags: int = 0
    left_out: tuple[FlagTrouble, ...] = ()
    broken_patterns: tuple[FlagTrouble, ...] = ()
    waiting: tuple[Waiting, ...] = ()
    cohorts_missing: Mapping[str, str] = {}
    stream: str = ""
    trouble: str = ""


class Project(Struct, frozen=True):
    """A project whose deployments are listed."""

    project: str = ""
    trouble: str = ""


class Cohort(Struct, frozen=True):
    """A cohort."""

    id: str = ""
    state: str = ""
    size: int | None = None
    age_seconds: float | None = None
    reason: str = ""
    trouble: str = ""


class Cohorts(Struct, frozen=True):
    """The cohorts of a project."""

    project: str = ""
    here: int = 0
    loading: int = 0
    missing: int = 0
    members: int = 0
    oldest_age_seconds: float = 0.0
    cohorts: tuple[Cohort, ...] = ()


class Counts(Struct, frozen=True):
    """What became of events, in numbers."""

    sent: int = 0
    dropped: Mapping[str, int] = {}


class LastAnswer(Struct, frozen=True):
    """Amplitude's last answer to events."""

    status: int | None = None
    said: str = ""


class Lane(Struct, frozen=True):
    """The events of a project."""

    project: str = ""
    pending: int = 0
    pending_bytes: int = 0
    oldest_age_seconds: float = 0.0
    failures_in_a_row: int = 0
    last_answer: LastAnswer | None = None
    counts: Counts = Counts()


class Spool(Struct, frozen=True):
    """Where events wait."""

    place: str = ""
    why: str | None = None
    used_bytes: int = 0
    max_bytes: int = 0


class Store(Struct, frozen=True):
    """The data directory."""

    directory: str | None = None
    trouble: str = ""


class Certificate(Struct, frozen=True):
    """The certificate of the clients' port."""

    expires_at: float = 0.0
    trouble: str = ""


class Edge(Struct, frozen=True):
    """What the clients' port adds."""

    tls: Certificate | None = None


class Attempt(Struct, frozen=True):
    """An attempt to read the configuration again."""

    outcome: str = ""
    mistakes: tuple[str, ...] = ()


class Config(Struct, frozen=True):
    """The configuration in force."""

    last_attempt: Attempt | None = None


class Offline(Struct, frozen=True):
    """What is served while Amplitude is not asked."""

    path: str = ""
    age_seconds: float | None = None
    trouble: str = ""


class Status(Struct, frozen=True):
    """What `/status` says; a `version` is in every answer of a proxy."""

    version: str
    started_at: float = 0.0
    uptime_seconds: float = 0.0
    stopping: bool = False
    notices: tuple[str, ...] = ()
    loops_down: tuple[str, ...] = ()
    projects: tuple[Project, ...] = ()
    deployments: tuple[Deployment, ...] = ()
    cohorts: tuple[Cohorts, ...] = ()
    store: Store = Store()
    events: tuple[Lane, ...] = ()
    spool: Spool = Spool()
    edge: Edge = Edge()
    config: Config = Config()
    offline: Offline | None = None

    @property
    def now(self) -> float:
        """The moment of the answer by the proxy's own clock, in seconds since 1970."""
        return self.started_at + self.uptime_seconds


class Sample(Struct, frozen=True):
    """The requests of a few seconds."""

    at: float = 0.0
    requests_per_second: float = 0.0
    failures_per_second: float = 0.0
    p50_millis: float | None = None
    p99_millis: float | None = None


class Traffic(Struct, frozen=True):
    """What `/status/traffic` says."""

    interval_seconds: float = 5
    samples: tuple[Sample, ...] = ()


class Change(Struct, frozen=True):
    """A change of a flag."""

    at: float = 0.0
    deployment: str = ""
    flag: str = ""
    kind: str = ""
    what: tuple[str, ...] = ()


class Changes(Struct, frozen=True):
    """What `/status/changes` says."""

    changes: tuple[Change, ...] = ()


class Seen(Struct, frozen=True):
    """All answers of one look; `raw` has them as they came."""

    url: str
    readiness: Readiness
    status: Status
    traffic: Traffic
    changes: Changes
    raw: Mapping[str, Any]
