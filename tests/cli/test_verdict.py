"""What is alarming about a proxy, and what is only good to know."""

from typing import Any

import msgspec
import pytest

from proxy.cli.seen import Changes, Readiness, Sample, Seen, Status, Traffic
from proxy.cli.verdict import Verdict, judge

NOW = 1_700_000_000.0


def judged(
    ready: dict[str, Any] | None = None, samples: tuple[Sample, ...] = (), **status: Any
) -> Verdict:
    said = {"version": "1", "started_at": NOW - 60, "uptime_seconds": 60, **status}
    return judge(
        Seen(
            url="http://h",
            readiness=msgspec.convert(ready or {"ready": True}, Readiness),
            status=msgspec.convert(said, Status),
            traffic=Traffic(samples=samples),
            changes=Changes(),
            raw={},
        )
    )


def flags(**changes: Any) -> dict[str, Any]:
    return {"deployments": [{"deployment": "prod", "age_seconds": 3, "flags": 2, **changes}]}


def cohorts(**changes: Any) -> dict[str, Any]:
    return {"cohorts": [{"project": "shop", "here": 1, **changes}]}


def events(**changes: Any) -> dict[str, Any]:
    return {"events": [{"project": "shop", **changes}]}


ON_DISK = {"directory": "/data"}


@pytest.mark.parametrize(
    ("status", "alarm"),
    [
        ({"stopping": True}, "it is stopping"),
        ({"loops_down": ["events"]}, "the loop events is down"),
        (
            flags(age_seconds=1000, trouble="flags: 500"),
            "prod: its flags were last heard of 16 min ago: flags: 500",
        ),
        (flags(left_out=[{"flag": "a", "reason": "b"}]), "prod: 1 flag left out"),
        (flags(left_out=[{}, {}]), "prod: 2 flags left out"),
        (cohorts(missing=2), "shop: 2 cohorts missing"),
        (cohorts(oldest_age_seconds=7300), "shop: a cohort was last confirmed 2 h 01 min ago"),
        (
            events(counts={"dropped": {"too_old": 1, "full": 0}}),
            "shop: 1 event lost since the start: too_old",
        ),
        (
            events(oldest_age_seconds=1000, last_answer={"status": 503, "said": "busy", "at": 1}),
            "shop: events have waited for 16 min: busy",
        ),
        (
            {"store": ON_DISK, "spool": {"place": "memory", "why": "no space"}},
            "events wait in memory only: no space",
        ),
        (
            {"spool": {"place": "disk", "used_bytes": 95, "max_bytes": 100}},
            "the room for events is full by 95%: beyond it the oldest are lost",
        ),
        ({"store": {**ON_DISK, "trouble": "read-only"}}, "the data directory: read-only"),
        (
            {"edge": {"tls": {"expires_at": NOW + 86_400, "trouble": ""}}},
            "the certificate expires in 1 d 0 h",
        ),
        ({"edge": {"tls": {"expires_at": NOW - 1}}}, "the certificate expired"),
        (
            {"config": {"last_attempt": {"outcome": "refused", "mistakes": ["a: b", "c: d"]}}},
            "the configuration as it is now was not taken: a: b; c: d",
        ),
        (
            {"edge": {"tls": {"expires_at": NOW + 9e6, "trouble": "no key"}}},
            "the new TLS files cannot be used: no key",
        ),
    ],
)
def test_what_is_alarming(status: dict[str, Any], alarm: str) -> None:
    verdict = judged(**status)

    assert verdict.alarms == (alarm,)
    assert not verdict.is_well


@pytest.mark.parametrize(
    ("status", "note"),
    [
        ({"notices": ["redis.uri: without effect"]}, "redis.uri: without effect"),
        ({"projects": [{"project": "shop", "trouble": "list: 401"}]}, "shop: list: 401"),
        (flags(trouble="stream: refused"), "prod: stream: refused"),
        (flags(flags=0), "prod: no flags: none are deployed to it in Amplitude"),
        (
            cohorts(
                cohorts=[
                    {"id": "a", "trouble": "cohort: 401"},
                    {"id": "b", "trouble": "cohort: 401"},
                    {"id": "c"},
                ]
            ),
            "shop: 2 cohorts: 401",
        ),
        (
            flags(waiting=[{"flag": "a", "cohorts": ["x", "y"]}]),
            "prod: a waits for x, y",
        ),
        (flags(broken_patterns=[{"flag": "a", "reason": "pattern ("}]), "prod: a: pattern ("),
        (
            events(failures_in_a_row=2, last_answer={"status": 429, "said": "slow down"}),
            "shop: Amplitude does not take events at the moment: slow down",
        ),
        (
            {"spool": {"place": "memory", "why": "no data directory"}},
            "events wait in memory only: no data directory",
        ),
    ],
)
def test_what_is_only_good_to_know(status: dict[str, Any], note: str) -> None:
    verdict = judged(**status)

    assert verdict.notes == (note,)
    assert verdict.is_well


def test_who_serves_offline_need_hear_of_nothing() -> None:
    deployments = flags(age_seconds=9e6, source="offline")
    offline = {"kind": "archive", "path": "/flags.tar", "age_seconds": 9e6, "trouble": ""}

    old = {**cohorts(oldest_age_seconds=9e6), **events(oldest_age_seconds=9e6)}

    verdict = judged(**deployments, **old, offline=offline)
    troubled = judged(**deployments, offline={**offline, "trouble": "no signature"})

    assert verdict.is_well
    assert verdict.notes == ("Amplitude is not asked: it serves /flags.tar, of 104 d 4 h ago",)
    assert troubled.alarms == ("/flags.tar: no signature",)


def test_a_configuration_that_was_taken_is_no_alarm() -> None:
    assert judged(config={"last_attempt": {"outcome": "applied", "mistakes": []}}).is_well
    assert judged(config={"last_attempt": None}).is_well


def test_what_is_not_ready_is_named_with_its_reason() -> None:
    parts = [
        {"name": "process", "ready": True, "reason": "serving"},
        {"name": "prod", "ready": False, "reason": "no flags yet: refused"},
    ]
    assert judged({"ready": False, "parts": parts}).alarms == (
        "not ready: prod: no flags yet: refused",
    )
    assert judged({"ready": False}).alarms == ("not ready",)
    down = [{"name": "events", "ready": False, "reason": "died"}]
    assert judged({"ready": False, "parts": down}, loops_down=["events"]).alarms == (
        "not ready: events: died",
    )


def test_evaluation_is_slow_when_it_was_for_minutes() -> None:
    slow, fast, idle = (Sample(p99_millis=millis) for millis in (250.0, 2.0, None))

    assert judged(samples=(slow,) * 60).alarms == ("evaluation is slow: p99 is 250 ms",)
    assert judged(samples=(fast,) * 60 + (slow,) * 20).is_well
    assert judged(samples=(idle,) * 120).is_well
    assert judged(samples=(slow,) * 5).is_well, "too few to tell"
    assert judged(samples=(slow,) * 200 + (fast,) * 120).is_well, "that was before"


def test_a_proxy_in_good_order_is_well() -> None:
    verdict = judged(**flags(), **cohorts(), **events(), store=ON_DISK, spool={"place": "disk"})

    assert verdict == Verdict((), ())
