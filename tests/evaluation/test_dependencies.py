from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.evaluation.dependencies import CycleError, on_or_behind_cycles, order
from proxy.evaluation.model import Flag

KEYS = st.sampled_from("abcdefgh")
GRAPHS = st.dictionaries(KEYS, st.lists(KEYS, max_size=4, unique=True))
ASKED = st.lists(st.sampled_from("abcdefghij"), max_size=4)


def flags_of(graph: Mapping[str, Sequence[str]]) -> dict[str, Flag]:
    return {
        key: Flag(key=key, variants={}, segments=(), dependencies=tuple(needed))
        for key, needed in graph.items()
    }


def ordered(graph: Mapping[str, Sequence[str]], keys: Sequence[str] = ()) -> list[str]:
    return [flag.key for flag in order(flags_of(graph), keys, lambda flag: flag.dependencies)]


def reached(graph: Mapping[str, Sequence[str]], keys: Sequence[str]) -> set[str]:
    found: set[str] = set()
    waiting = [key for key in keys if key in graph]
    while waiting:
        key = waiting.pop()
        if key not in found:
            found.add(key)
            waiting += [needed for needed in graph[key] if needed in graph]
    return found


def on_cycle(graph: Mapping[str, Sequence[str]], key: str) -> bool:
    return key in reached(graph, [needed for needed in graph[key] if needed in graph])


@given(GRAPHS, ASKED)
def test_each_flag_comes_once_and_after_what_it_needs(
    graph: dict[str, list[str]], keys: list[str]
) -> None:
    wanted = reached(graph, keys or list(graph))
    cyclic = any(on_cycle(graph, key) for key in wanted)

    if cyclic:
        with pytest.raises(CycleError):
            ordered(graph, keys)
        return
    result = ordered(graph, keys)

    assert sorted(result) == sorted(wanted)
    for place, key in enumerate(result):
        assert set(graph[key]) & graph.keys() <= set(result[:place])


@given(GRAPHS)
def test_flags_on_or_behind_cycles_are_those_that_reach_one(graph: dict[str, list[str]]) -> None:
    expected = {
        key for key in graph if any(on_cycle(graph, other) for other in reached(graph, [key]))
    }

    assert on_or_behind_cycles(flags_of(graph)) == expected


@given(GRAPHS)
def test_without_the_flags_on_or_behind_cycles_all_can_be_ordered(
    graph: dict[str, list[str]],
) -> None:
    left_out = on_or_behind_cycles(flags_of(graph))
    rest = {key: needed for key, needed in graph.items() if key not in left_out}

    assert sorted(ordered(rest)) == sorted(rest)


def test_a_cycle_that_is_not_asked_for_goes_unnoticed() -> None:
    assert ordered({"a": ["b"], "b": ["a"], "c": []}, ["c"]) == ["c"]


def test_a_cycle_error_tells_the_path() -> None:
    with pytest.raises(CycleError, match="x -> a -> b") as caught:
        ordered({"x": ["a"], "a": ["b"], "b": ["a"]})

    assert caught.value.path == ("x", "a", "b")


def test_a_chain_of_any_length_is_ordered() -> None:
    length = 20_000
    chain = {str(place): [str(place + 1)] for place in range(length)}

    assert ordered(chain)[0] == str(length - 1)
    assert on_or_behind_cycles(flags_of(chain)) == set()
    chain[str(length - 1)] = ["0"]
    assert len(on_or_behind_cycles(flags_of(chain))) == length
