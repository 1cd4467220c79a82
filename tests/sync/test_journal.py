import pytest
from structlog.testing import capture_logs

from proxy.errors import UpstreamError, UpstreamGarbled, UpstreamRefused, UpstreamUnavailable
from proxy.metrics import Metrics
from proxy.sync.journal import REMEMBERED, Journal, outcome_of


class Time:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_last_outcomes_are_kept_newest_first() -> None:
    clock = Time()
    journal = Journal("alpha", Metrics(), clock)
    for number in range(REMEMBERED + 3):
        clock.now = number
        journal.note("flags", "unchanged")
    journal.failed("stream", UpstreamUnavailable("answered 503"))

    entries = journal.status()["last_outcomes"]
    assert len(entries) == REMEMBERED
    assert entries[0] == {
        "at": clock.now,
        "what": "stream",
        "outcome": "unavailable",
        "detail": "answered 503",
    }
    assert entries[1] == {"at": clock.now, "what": "flags", "outcome": "unchanged"}


def test_outcomes_are_counted() -> None:
    metrics = Metrics()
    journal = Journal("alpha", metrics, Time())
    journal.note("flags", "changed")
    journal.note("flags", "changed")

    labels = {"what": "flags", "outcome": "changed"}
    assert metrics.registry.get_sample_value("amplitude_proxy_sync_outcomes_total", labels) == 2


def test_trouble_is_told_when_it_begins_changes_and_ends() -> None:
    journal = Journal("alpha", Metrics(), Time())
    with capture_logs() as lines:
        for reason in ("one", "one", "two"):
            journal.failed("flags", UpstreamUnavailable(reason))
        assert journal.trouble() == "flags: two"
        journal.note("stream", "not_offered")
        assert journal.trouble() == "flags: two; stream: not_offered"
        for _ in range(3):
            journal.note("flags", "unchanged")
    assert journal.trouble() == "stream: not_offered"

    told = [(line["log_level"], line["what"], line.get("why")) for line in lines]
    assert told == [
        ("warning", "flags", "one"),
        ("warning", "flags", "two"),
        ("warning", "stream", ""),
        ("info", "flags", None),
    ]


def test_the_next_attempt_is_told_in_seconds_from_now() -> None:
    clock = Time()
    journal = Journal("alpha", Metrics(), clock)
    assert journal.status()["next_attempt_in_seconds"] is None

    journal.expect(60)
    clock.now += 20
    assert journal.status()["next_attempt_in_seconds"] == 40
    clock.now += 60
    assert journal.status()["next_attempt_in_seconds"] == 0


@pytest.mark.parametrize(
    ("error", "word"),
    [
        (UpstreamUnavailable("x"), "unavailable"),
        (UpstreamRefused("x"), "refused"),
        (UpstreamGarbled("x"), "garbled"),
    ],
)
def test_each_kind_of_failure_has_its_word(error: UpstreamError, word: str) -> None:
    assert outcome_of(error) == word
