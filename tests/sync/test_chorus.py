"""What is told of many journals whose troubles come and go together."""

from structlog.testing import capture_logs

from proxy.metrics import Metrics
from proxy.sync.chorus import Chorus
from proxy.sync.journal import Journal


def journals(voice: Chorus, count: int) -> list[Journal]:
    metrics = Metrics()
    return [Journal(f"p/c{number}", metrics, lambda: 0.0, voice) for number in range(count)]


def test_a_few_are_named_and_the_others_counted_until_all_are_told() -> None:
    voice = Chorus("p", most_named=2)
    many = journals(voice, 7)
    with capture_logs() as lines:
        for one in many:
            one.note("cohort", "unavailable", "answered 503")
        many[-1].note("cohort", "too_large", "it is")
        voice.tell()
        voice.tell()
        for one in many:
            one.note("cohort", "unchanged")
        voice.tell()

    told = [(line["event"], line.get("of") or line["count"]) for line in lines]
    assert told == [
        ("sync has trouble", "p/c0"),
        ("sync has trouble", "p/c1"),
        ("sync has more trouble", 6),
        ("sync goes well", "p/c0"),
        ("sync goes well", "p/c1"),
        ("sync goes well with more", 5),
    ]
    assert lines[2]["outcomes"] == {"unavailable": 5, "too_large": 1}
    assert {line["log_level"] for line in lines[:3]} == {"warning"}
    assert {line["log_level"] for line in lines[3:]} == {"info"}


def test_names_are_told_again_after_a_pause() -> None:
    voice = Chorus("p", most_named=1)
    first, second, third = journals(voice, 3)
    with capture_logs() as lines:
        first.note("cohort", "broken")
        second.note("cohort", "broken")
        voice.tell()
        # Still no pause: there was something to count.
        third.note("cohort", "broken")
        voice.tell()
        voice.tell()
        third.note("cohort", "refused")

    assert [line.get("of") for line in lines] == ["p/c0", None, None, "p/c2"]
