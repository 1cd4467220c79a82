"""The insert_id is the same whenever Amplitude should count once, and another one otherwise."""

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from proxy.events.assignment import assignment_event, told
from proxy.events.exposure import exposure_events
from proxy.events.subject import Subject
from tests.events.builders import outcome

DAY = 86_400_000

texts = st.text(max_size=12)
ids = st.none() | texts
# By flag, in any order.
variants = st.dictionaries(st.text(min_size=1, max_size=12), texts, min_size=1, max_size=4)
moments = st.integers(0, 40_000 * DAY)


def official(before: str, subject: tuple[str | None, str | None], found: dict[str, str]) -> int:
    """Java's hash of the canonical text, in the plainest way."""
    user, device = ("null" if one is None else one.strip() for one in subject)
    flags = "".join(f"{flag.strip()} {found[flag].strip()} " for flag in sorted(found))
    value = 0
    units = f"{before}{user} {device} {flags}".encode("utf-16-be")
    for high, low in zip(units[::2], units[1::2], strict=True):
        value = (31 * value + (high << 8) + low) % 2**32
    return value - 2**32 if value >= 2**31 else value


def named(subject: tuple[str | None, str | None]) -> str:
    return " ".join("null" if one is None else one for one in subject)


def outcomes_of(found: dict[str, str]) -> list[Any]:
    return [outcome(flag, found[flag]) for flag in sorted(found)]


def assignment_id(
    subject: tuple[str | None, str | None], found: dict[str, str], millis: int
) -> str:
    parts = [told(one) for one in outcomes_of(found)]
    body = assignment_event(Subject(*subject), parts, millis, user_properties=True)
    return str(msgspec.json.decode(body)["insert_id"])


@given(st.tuples(ids, ids), variants, moments)
def test_an_assignment_has_the_official_insert_id(
    subject: tuple[str | None, str | None], found: dict[str, str], millis: int
) -> None:
    expected = f"{named(subject)} {official('', subject, found)} {millis // DAY}"

    assert assignment_id(subject, found, millis) == expected


@given(st.tuples(ids, ids), variants, moments)
def test_each_exposure_has_the_official_insert_id_of_its_flag(
    subject: tuple[str | None, str | None], found: dict[str, str], millis: int
) -> None:
    bodies = exposure_events(Subject(*subject), outcomes_of(found), (), millis)

    assert [msgspec.json.decode(body)["insert_id"] for body in bodies] == [
        f"{named(subject)} {official(f'{flag} ', subject, found)} {millis // DAY}"
        for flag in sorted(found)
    ]


@given(st.tuples(ids, ids), variants, st.integers(0, 40_000), st.integers(0, DAY - 1), st.data())
def test_an_evaluation_has_one_insert_id_all_day_and_another_one_the_next_day(
    subject: tuple[str | None, str | None],
    found: dict[str, str],
    day: int,
    millis: int,
    data: st.DataObject,
) -> None:
    again = dict(data.draw(st.permutations(list(found.items()))))
    later = data.draw(st.integers(0, DAY - 1))
    one = assignment_id(subject, found, day * DAY + millis)

    assert assignment_id(subject, again, day * DAY + later) == one
    assert assignment_id(subject, found, (day + 1) * DAY + later) != one


@given(st.lists(st.tuples(ids, ids), min_size=2, max_size=2, unique_by=named), variants)
def test_two_users_never_share_an_insert_id(
    subjects: list[tuple[str | None, str | None]], found: dict[str, str]
) -> None:
    one, other = (assignment_id(subject, found, 0).rpartition(" ")[0] for subject in subjects)

    # Unless one's ids end like the hash of the other: those are for upstream to tell apart.
    assert one.rpartition(" ")[0] != other.rpartition(" ")[0]
