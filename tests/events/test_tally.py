from typing import Any

import pytest

from proxy.events.event import ASSIGNMENT, EXPOSURE, INGEST
from proxy.events.tally import LOG_SECONDS, NEVER_MADE, REASONS, Tally
from proxy.metrics import Metrics


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"amplitude_proxy_{name}_total", labels)


def test_everything_is_there_from_the_start() -> None:
    metrics = Metrics()
    Tally("p", metrics)

    assert value(metrics, "events", project="p", outcome="sent") == 0
    assert {value(metrics, "events_dropped", project="p", reason=one) for one in REASONS} == {0}


def test_counts_reach_the_metrics_and_the_official_names() -> None:
    metrics = Metrics()
    tally = Tally("p", metrics)

    tally.of[ASSIGNMENT].offered += 5
    tally.of[ASSIGNMENT].skipped += 1
    tally.of[ASSIGNMENT].filtered += 2
    tally.of[ASSIGNMENT].told += 2
    tally.accepted += 2
    tally.measure()
    tally.measure()
    tally.count("sent", 2)
    tally.count("retried", 3)
    tally.drop("full", 4)

    assert [value(metrics, name) for name in (
        "assignment", "assignment_filter", "assignment_send", "assignment_send_failure"
    )] == [5, 2, 2, 4]  # fmt: skip
    for outcome, count in (("offered", 5), ("skipped", 1), ("filtered", 2), ("told", 2)):
        assert value(metrics, "event_answers", project="p", outcome=outcome) == count
    assert value(metrics, "events", project="p", outcome="accepted") == 2
    assert value(metrics, "events", project="p", outcome="retried") == 3
    assert value(metrics, "events_dropped", project="p", reason="full") == 4
    assert tally.counts() == {
        "offered": 5,
        "skipped": 1,
        "filtered": 2,
        "told": 2,
        "found": 0,
        "accepted": 2,
        "withdrawn": 0,
        "spooled": 0,
        "sent": 2,
        "retried": 3,
        "held": 0,
        "dropped": {"full": 4},
    }


def test_each_kind_has_its_official_names_and_uploads_have_none() -> None:
    metrics = Metrics()
    tally = Tally("p", metrics)

    for number, kind in enumerate((ASSIGNMENT, EXPOSURE), 1):
        tally.of[kind].offered += number
        tally.of[kind].filtered += number
    for number, kind in enumerate((ASSIGNMENT, EXPOSURE, INGEST), 1):
        tally.count("sent", number, kind)
        tally.drop("full", number, kind)
    tally.measure()

    for kind, number in (("assignment", 1), ("exposure", 2)):
        names = (kind, f"{kind}_filter", f"{kind}_send", f"{kind}_send_failure")
        assert [value(metrics, name) for name in names] == [number] * 4
    assert value(metrics, "event_answers", project="p", outcome="offered") == 3
    assert tally.counts()["filtered"] == 3
    assert tally.counts()["sent"] == 6


@pytest.mark.parametrize("reason", sorted(NEVER_MADE))
def test_an_answer_of_which_no_event_can_be_made_is_in_both_books(reason: str) -> None:
    tally = Tally("p", Metrics())
    tally.of[EXPOSURE].offered += 1

    tally.drop(reason, 1, EXPOSURE)

    counts = tally.counts()
    assert counts["offered"] == counts["told"] == 1
    assert counts["accepted"] == sum(counts["dropped"].values()) == 1


def test_losses_are_logged_at_most_once_a_minute(log_lines: list[dict[str, Any]]) -> None:
    tally = Tally("p", Metrics())

    tally.report_drops(0.0)
    tally.drop("full", 1)
    tally.report_drops(1.0)
    tally.drop("full", 2)
    tally.drop("too_old", 1)
    tally.report_drops(LOG_SECONDS)
    tally.report_drops(1.0 + LOG_SECONDS)

    assert [(line["event"], line.get("full"), line.get("too_old")) for line in log_lines] == [
        ("events lost", 1, None),
        ("events lost", 2, 1),
    ]
