"""Keys stand for what is the same, and for nothing else."""

from collections.abc import Mapping
from operator import attrgetter
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from proxy.evaluation.outcomes import Outcome
from proxy.events.canonical import identity_prefix
from proxy.events.sameness import answer_key, exposure_key, key_of
from tests.events.builders import outcome

any_text = st.text(st.sampled_from("a \ud800\udc00") | st.characters(), max_size=40)


class Told(NamedTuple):
    """An answer: the project's place, the ids, and the variant of each flag."""

    place: int
    user_id: str | None
    device_id: str | None
    variants: Mapping[str, str]

    @property
    def outcomes(self) -> list[Outcome]:
        return [outcome(flag, variant) for flag, variant in self.variants.items()]

    @property
    def key(self) -> int:
        return answer_key(self.place, self.user_id, self.device_id, self.outcomes)

    @property
    def text(self) -> str:
        """The canonical text, after the project's place."""
        ordered = sorted(self.outcomes, key=attrgetter("flag_key"))
        parts = [f"{self.place} ", identity_prefix(self.user_id, self.device_id)]
        return "".join([*parts, *[one.canonical for one in ordered]])


def answers(alphabet: str) -> st.SearchStrategy[Told]:
    """Few words, so that answers often are the same, or nearly."""
    words = st.text(alphabet, max_size=3)
    ids = st.none() | st.just("null") | words
    return st.builds(Told, st.integers(0, 1), ids, ids, st.dictionaries(words, words, max_size=3))


plain, awkward = answers("ab"), answers("a \n")


@given(plain, plain)
def test_keys_are_the_same_when_canonical_texts_are(one: Told, other: Told) -> None:
    assert (one.key == other.key) == (one.text == other.text)
    assert 0 <= one.key < 2**128


@given(awkward, awkward)
def test_no_key_is_anothers_whatever_names_are_like(one: Told, other: Told) -> None:
    if one.key == other.key:
        assert one.text == other.text
        assert {name.strip() for name in one.variants} == {name.strip() for name in other.variants}


@given(plain, st.permutations(range(3)))
def test_the_order_of_evaluation_does_not_matter(one: Told, order: list[int]) -> None:
    outcomes = one.outcomes
    moved = [outcomes[place] for place in order if place < len(outcomes)]

    assert answer_key(one.place, one.user_id, one.device_id, moved) == one.key


def test_texts_that_happen_to_be_alike_are_told_apart() -> None:
    one = Told(0, "a b", "c", {"f": "g h i"})
    other = Told(0, "a", "b c", {"f": "g", "h": "i"})

    assert one.text == other.text
    assert one.key != other.key


@given(plain, st.frozensets(st.text("abc", max_size=3)), st.frozensets(st.text("abc", max_size=3)))
def test_exposures_are_the_same_when_answers_and_what_was_asked_for_are(
    told: Told, one: frozenset[str], other: frozenset[str]
) -> None:
    def asked_for(asked: frozenset[str]) -> set[str]:
        return set(told.variants) & (asked or set(told.variants))

    keys = [exposure_key(told.key, told.outcomes, asked) for asked in (one, other)]

    assert (keys[0] == keys[1]) == (asked_for(one) == asked_for(other))
    assert exposure_key(told.key, told.outcomes, frozenset()) == told.key


@given(any_text, any_text)
def test_keys_differ_as_texts_do(one: str, other: str) -> None:
    assert (key_of(one) == key_of(other)) == (one == other)
    assert 0 <= key_of(one) < 2**128


def test_half_a_surrogate_pair_has_a_key_too() -> None:
    assert key_of("u\ud800") != key_of("u\udc00")


def test_the_seed_changes_the_key() -> None:
    assert key_of("u null f on ", 1) != key_of("u null f on ", 2)
