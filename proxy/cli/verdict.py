"""Whether a proxy is well: what is alarming, and what is only good to know.

The bounds are those of the alerts in `config/alerts.yaml`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from statistics import median
from typing import Final

from msgspec import Struct

from proxy.cli.seen import Cohorts, Deployment, Lane, Seen, Status
from proxy.cli.terminal import span

OLD_FLAGS_SECONDS: Final = 900
OLD_COHORT_SECONDS: Final = 3600
OLD_EVENT_SECONDS: Final = 900
SLOW_MILLIS: Final = 100.0
SLOW_SAMPLES: Final = 120
CERTIFICATE_SECONDS: Final = 7 * 86_400
FULL_SHARE: Final = 0.9
NOT_TAKEN: Final = frozenset({"refused", "failed"})


class Verdict(Struct, frozen=True):
    """What is alarming, and what is good to know; one line each."""

    alarms: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def is_well(self) -> bool:
        """Whether nothing is alarming."""
        return not self.alarms


def judge(seen: Seen) -> Verdict:
    """Judge one look at a proxy."""
    return Verdict(tuple(_alarms(seen)), tuple(_notes(seen.status)))


def _alarms(seen: Seen) -> Iterator[str]:
    status = seen.status
    yield from _unready(seen)
    named = {part.name for part in seen.readiness.parts if not part.ready}
    for name in status.loops_down:
        if name not in named:
            yield f"the loop {name} is down"
    for deployment in status.deployments:
        yield from _of_flags(deployment)
    asks = status.offline is None
    for cohorts in status.cohorts:
        yield from _of_cohorts(cohorts, asks=asks)
    for lane in status.events:
        yield from _of_events(lane, asks=asks)
    yield from _of_disk(status)
    yield from _of_certificate(status)
    attempt = status.config.last_attempt
    if attempt is not None and attempt.outcome in NOT_TAKEN:
        yield f"the configuration as it is now was not taken: {'; '.join(attempt.mistakes)}"
    if status.offline is not None and status.offline.trouble:
        yield f"{status.offline.path}: {status.offline.trouble}"
    slow = [one.p99_millis for one in seen.traffic.samples[-SLOW_SAMPLES:] if one.p99_millis]
    if len(slow) >= SLOW_SAMPLES // 4 and median(slow) > SLOW_MILLIS:
        yield f"evaluation is slow: p99 is {median(slow):.0f} ms"


def is_late(deployment: Deployment) -> bool:
    """Tell whether a deployment's flags should have been heard of since."""
    age = deployment.age_seconds
    return age is not None and age > OLD_FLAGS_SECONDS and deployment.source != "offline"


def _unready(seen: Seen) -> Iterator[str]:
    if seen.status.stopping:
        yield "it is stopping"
        return
    if seen.readiness.ready:
        return
    parts = [part for part in seen.readiness.parts if not part.ready]
    for part in parts:
        yield f"not ready: {part.name}: {part.reason}"
    if not parts:
        yield "not ready"


def _of_flags(deployment: Deployment) -> Iterator[str]:
    name, age = deployment.deployment, deployment.age_seconds
    if age is not None and is_late(deployment):
        why = f": {deployment.trouble}" if deployment.trouble else ""
        yield f"{name}: its flags were last heard of {span(age)} ago{why}"
    if deployment.left_out:
        yield f"{name}: {_count(len(deployment.left_out), 'flag')} left out"


def _of_cohorts(cohorts: Cohorts, *, asks: bool) -> Iterator[str]:
    if cohorts.missing:
        yield f"{cohorts.project}: {_count(cohorts.missing, 'cohort')} missing"
    if asks and cohorts.oldest_age_seconds > OLD_COHORT_SECONDS:
        age = span(cohorts.oldest_age_seconds)
        yield f"{cohorts.project}: a cohort was last confirmed {age} ago"


def _of_events(lane: Lane, *, asks: bool) -> Iterator[str]:
    for reason, number in lane.counts.dropped.items():
        if number:
            yield f"{lane.project}: {_count(number, 'event')} lost since the start: {reason}"
    if asks and lane.oldest_age_seconds > OLD_EVENT_SECONDS:
        said = f": {lane.last_answer.said}" if lane.last_answer and lane.last_answer.said else ""
        yield f"{lane.project}: events have waited for {span(lane.oldest_age_seconds)}{said}"


def _of_disk(status: Status) -> Iterator[str]:
    spool, store = status.spool, status.store
    if store.directory is not None and spool.place == "memory":
        yield f"events wait in memory only: {spool.why}"
    if spool.max_bytes and spool.used_bytes > FULL_SHARE * spool.max_bytes:
        share = spool.used_bytes / spool.max_bytes
        yield f"the room for events is full by {share:.0%}: beyond it the oldest are lost"
    if store.directory is not None and store.trouble:
        yield f"the data directory: {store.trouble}"


def _of_certificate(status: Status) -> Iterator[str]:
    tls = status.edge.tls
    if tls is None:
        return
    left = tls.expires_at - status.now
    if tls.expires_at and left < CERTIFICATE_SECONDS:
        yield f"the certificate expires in {span(left)}" if left > 0 else "the certificate expired"
    if tls.trouble:
        yield f"the new TLS files cannot be used: {tls.trouble}"


def _notes(status: Status) -> Iterator[str]:
    yield from status.notices
    if status.offline is not None:
        age = status.offline.age_seconds
        as_of = "" if age is None else f", of {span(age)} ago"
        yield f"Amplitude is not asked: it serves {status.offline.path}{as_of}"
    for project in status.projects:
        if project.trouble:
            yield f"{project.project}: {project.trouble}"
    for deployment in status.deployments:
        yield from _about_flags(deployment)
    for cohorts in status.cohorts:
        yield from _about_cohorts(cohorts)
    for lane in status.events:
        if lane.failures_in_a_row:
            said = f": {lane.last_answer.said}" if lane.last_answer else ""
            yield f"{lane.project}: Amplitude does not take events at the moment{said}"
    if status.store.directory is None and status.spool.place == "memory":
        yield f"events wait in memory only: {status.spool.why}"


def _about_flags(deployment: Deployment) -> Iterator[str]:
    name = deployment.deployment
    if deployment.trouble and not is_late(deployment):
        yield f"{name}: {deployment.trouble}"
    if not deployment.flags and not deployment.left_out and deployment.age_seconds is not None:
        yield f"{name}: no flags: none are deployed to it in Amplitude"
    for waiting in deployment.waiting:
        yield f"{name}: {waiting.flag} waits for {', '.join(waiting.cohorts)}"
    for broken in deployment.broken_patterns:
        yield f"{name}: {broken.flag}: {broken.reason}"


def _about_cohorts(cohorts: Cohorts) -> Iterator[str]:
    """Tell each trouble once, however many cohorts have it."""
    troubles = Counter(cohort.trouble for cohort in cohorts.cohorts if cohort.trouble)
    for trouble, number in troubles.items():
        yield f"{cohorts.project}: {_count(number, 'cohort')}: {trouble.removeprefix('cohort: ')}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
