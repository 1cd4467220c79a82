"""A pattern answers in bounded time, whatever the pattern and the text."""

import inspect
import random
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.evaluation.patterns.budget import Budget
from proxy.evaluation.patterns.pattern import (
    MAX_BACKTRACKED,
    MAX_PATTERN,
    MAX_TEXT,
    Pattern,
    compile_pattern,
)

AS = "a" * 200
TOO_LONG_FOR_A_TEST = 2.0
"""Seconds. What should take milliseconds may take longer on a busy machine, but not for ever."""


class Counter:
    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1


def matches_in_time(pattern: Pattern, text: str) -> bool:
    began = time.perf_counter()
    found = pattern.matches(text)
    assert time.perf_counter() - began < TOO_LONG_FOR_A_TEST
    return found


def compiles_in_time(text: str) -> Pattern:
    began = time.perf_counter()
    pattern = compile_pattern(text)
    assert time.perf_counter() - began < TOO_LONG_FOR_A_TEST
    return pattern


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r"(a|aa)+\1*c?b", AS),
        (r"(?=(a+)+c)a*b", AS * 20 + "bcd"),
        (r"(a|b|ab)*\1(a|b)*(?=b)c?", AS * 10 + "b"),
        (r"(?:(?:(?:a{1,30}){1,30}){1,30})(?!b)", AS + "b"),
        (r"(?:(?:[^c]*d|a)*+)", "a" * MAX_BACKTRACKED),
        (r"(?:(?=.*b)a)*b", "a" * (MAX_BACKTRACKED - 1) + "b"),
    ],
)
def test_a_catastrophic_pattern_counts_as_no_match_and_is_reported(text: str, value: str) -> None:
    ran_out = Counter()
    pattern = compile_pattern(text, ran_out)

    assert pattern.problem is None
    assert not matches_in_time(pattern, value)
    assert ran_out.count == 1


@pytest.mark.parametrize(
    "text", ["(a+)+", "(a|a)*b?", "(.*)(.*)(.*)(.*)(.*)c", "(?:a?){100}a{100}"]
)
def test_what_is_a_regular_language_never_runs_out_of_time(text: str) -> None:
    ran_out = Counter()

    assert not matches_in_time(compile_pattern(text, ran_out), AS * 5 + "bd")

    assert ran_out.count == 0


@pytest.mark.parametrize(
    "text",
    [
        "(((a{1000}){1000}){1000})",
        "((a?){1000}){1000}",
        "((a{0,1000}){0,1000}){0,1000}",
        r"(?:[\p{L}&&[^a]]{1000}){1000}",
        r"\p{L}{1000}",
        "(" * 5_000 + ")" * 5_000,
        "[" * 5_000,
        "(?:a|" * 99 + ")*" * 99,
        "(?:" * 90 + "a" + "{0,9})" * 90,
        ("a?" * 8_000),
        ("[a&&" * 3_000),
        "[" + "a&&" * 3_000 + "a]",
        "(?iu)[" + "a-é" * 2_000 + "]",
        r"(a)\1" * 3_000,
        "|".join(f"user{n}@example\\.com" for n in range(700)),
        "a{99999999999}",
        "a" * 1_000_000,
    ],
    ids=lambda text: text[:30],
)
def test_a_hostile_pattern_is_compiled_or_refused_in_time(text: str) -> None:
    pattern = compiles_in_time(text)

    matches_in_time(pattern, AS)


def test_a_pattern_that_is_too_long_matches_nothing_and_says_so() -> None:
    pattern = compile_pattern("a" * (MAX_PATTERN + 1))

    assert not pattern.matches("a" * (MAX_PATTERN + 1))
    assert pattern.problem == f"longer than {MAX_PATTERN} characters"


def test_nesting_too_deep_is_refused() -> None:
    assert compile_pattern("(" * 101 + ")" * 101).problem == "nested deeper than 100 levels"
    assert compile_pattern("(" * 100 + ")" * 100).problem is None


def test_a_text_that_is_too_long_counts_as_a_time_out() -> None:
    ran_out = Counter()
    pattern = compile_pattern("a.*", ran_out)

    assert pattern.matches("a" * MAX_TEXT)
    assert not pattern.matches("a" * (MAX_TEXT + 1))
    assert ran_out.count == 1


def test_backtracking_takes_shorter_texts() -> None:
    ran_out = Counter()
    pattern = compile_pattern("(?=a).*", ran_out)

    assert pattern.matches("a" * MAX_BACKTRACKED)
    assert not pattern.matches("a" * (MAX_BACKTRACKED + 1))
    assert ran_out.count == 1


def test_a_broken_pattern_matches_nothing_and_says_why() -> None:
    pattern = compile_pattern("[")

    assert not pattern.matches("[")
    assert pattern.problem == "Unclosed character class near index 0"


def test_a_hundred_hostile_conditions_of_one_evaluation_share_its_budget() -> None:
    ran_out, budget = Counter(), Budget()
    patterns = [compile_pattern(rf"(a|aa)+\1*{n}?c?b(?<!b)", ran_out, budget) for n in range(300)]
    began = time.perf_counter()
    for pattern in patterns:
        pattern.matches(AS + "c")

    budget.begin()
    innocent = compile_pattern("(?=.*a)b.*", ran_out, budget)

    assert time.perf_counter() - began < TOO_LONG_FOR_A_TEST
    assert innocent.matches("bca")


def test_when_quick_attempts_are_spent_backtracking_ends_at_once() -> None:
    ran_out, budget = Counter(), Budget()
    budget.quick = 0

    assert not compile_pattern("(?=a)a", ran_out, budget).matches("a")
    assert compile_pattern("a+", ran_out, budget).matches("a")
    assert ran_out.count == 1


def test_without_a_slow_attempt_the_quick_one_decides() -> None:
    ran_out, budget = Counter(), Budget()
    budget.slow = 0.0

    assert compile_pattern("(?=a)a", ran_out, budget).matches("a")
    assert not compile_pattern(r"(a|aa)+\1*c?b", ran_out, budget).matches(AS + "db")
    assert ran_out.count == 1
    assert budget.quick == Budget().quick - 1


def test_where_the_linear_engine_would_cost_too_much_the_other_one_answers() -> None:
    ran_out, budget = Counter(), Budget()
    pattern = compile_pattern("(?:a|b)*ab?", ran_out, budget)
    budget.steps = 0

    assert pattern.matches("aba")
    assert not pattern.matches("abc")
    assert ran_out.count == 0


def test_compiling_late_needs_a_slow_attempt() -> None:
    ran_out, budget = Counter(), Budget()
    pattern = compile_pattern("(?:a|c)*ac?", ran_out, budget)
    budget.steps = 0
    budget.slow = 0.0

    assert not pattern.matches("aca")
    assert ran_out.count == 1


def test_a_pattern_too_large_for_the_other_engine_counts_as_a_time_out() -> None:
    ran_out, budget = Counter(), Budget()
    words = "|".join(f"user{n}@example\\.com" for n in range(700))
    pattern = compile_pattern(words, ran_out, budget)

    assert pattern.matches("user650@example.com")
    budget.steps = 0
    assert not pattern.matches("user650@example.com")
    assert ran_out.count == 1


def test_exponential_states_stay_within_the_budget() -> None:
    random_text = "".join(random.Random(5).choices("ab", k=MAX_TEXT))

    matches_in_time(compile_pattern("(?:a|b)*a(?:a|b){50}"), random_text)
    matches_in_time(compile_pattern("(?:a|b)*a(?:a|b){900}"), random_text)


def test_word_boundaries_count_letters_beyond_ascii() -> None:
    pattern = compile_pattern(r".*\b")

    assert pattern.matches("ab")
    assert pattern.matches("né")
    assert not pattern.matches("né.")


def test_surrogates_in_two_halves_are_one_character() -> None:
    halves = "\ud83d" + "\ude00"

    assert compile_pattern(halves + "{2}").matches("😀😀")
    assert compile_pattern("(?!a).").matches(halves)
    assert compile_pattern(".b?").matches(halves)
    assert compile_pattern(".{2}b?").matches("\ude00\ud83d")


def test_the_same_pattern_is_compiled_once_and_reports_to_its_own_owner() -> None:
    first, second = Counter(), Counter()
    one = compile_pattern("(?=b)b", first)
    other = compile_pattern("(?=b)b", second)

    one.matches("b" * (MAX_TEXT + 1))

    assert (first.count, second.count) == (1, 0)
    assert other.matches("b")


@given(st.text(alphabet=st.sampled_from(r"ab1 \()[]{}?*+|^$.-&,<>=!:pPQExuNkdwbR0"), max_size=25))
def test_no_text_is_a_pattern_that_raises(text: str) -> None:
    compile_pattern(text).matches("ab1")


@given(st.text())
def test_a_quoted_text_matches_itself_and_nothing_else(text: str) -> None:
    pattern = compile_pattern("\\Q" + text.replace("\\E", "\\E\\\\E\\Q") + "\\E")

    assert pattern.problem is None
    assert pattern.matches(text)
    assert not pattern.matches(text + "x")


def with_stack_left(frames: int, text: str) -> Pattern:
    used = len(inspect.stack(0))
    limit = sys.getrecursionlimit()

    def descend(levels: int) -> Pattern:
        return descend(levels - 1) if levels > 0 else compile_pattern(text)

    return descend(limit - used - frames)


def test_a_caller_deep_in_its_stack_gets_a_problem_and_no_error() -> None:
    problems = {
        with_stack_left(frames, "(?=a|" * 40 + "a" * frames + ")" * 40).problem
        for frames in range(40, 400, 10)
    }

    assert None in problems
    assert "nested too deeply for the caller's stack" in problems


@pytest.mark.parametrize(
    "text", ["(?:" * 40 + "a" + "(?=b))+" * 40, r"((?:(?=" * 20 + "x" + r")|\1)+)+" * 20]
)
def test_nested_repetitions_that_the_engine_would_copy_are_refused(text: str) -> None:
    assert compiles_in_time(text).problem == "too large for the backtracking engine"
