"""`POST /explain`: why a user gets what it gets, step by step."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, final

import msgspec

from proxy import tasks
from proxy.admin.brevity import Brief
from proxy.admin.pages import Ask, Page, Refused
from proxy.admin.query import slot_of
from proxy.admin.wording import name_text
from proxy.evaluation.brackets import nested_deeper
from proxy.evaluation.interpreter import Trace, interpretations
from proxy.evaluation.outcomes import Outcome, answer
from proxy.evaluation.patterns.budget import Budget
from proxy.evaluation.patterns.pattern import Pattern, compile_pattern
from proxy.evaluation.results import Result, encode, result_json
from proxy.evaluation.users import parse_json, plain

if TYPE_CHECKING:
    from proxy.evaluation.deployment import CompiledDeployment
    from proxy.settings.sections import Limits
    from proxy.snapshots.board import Board
    from proxy.snapshots.snapshot import Snapshot

Settle = Callable[[dict[str, Any], "Snapshot"], None]
"""Put the known cohorts of a user into it, as before an evaluation."""

MEMBERS: Final = frozenset({"deployment", "user", "flag_keys"})
MOST_PARTS: Final = 50_000
LONGEST_REASON: Final = 300
MOST_TRACED_BYTES: Final = 8_388_608
MOST_SECONDS: Final = 3.0
REMEDY: Final = "name fewer flags in flag_keys"


class Question(msgspec.Struct, frozen=True):
    """Whose evaluation is to be explained; no keys ask for all flags."""

    deployment: str
    user: dict[str, Any]
    flag_keys: tuple[str, ...]


@final
class Explanations:
    """Explains evaluations: nothing is counted, nothing is reported.

    The variants are the compiled function's, the traces the interpreter's, one at a time and in a
    thread: requests of clients do not wait for it. `clock` gives the seconds that a thread worked.
    """

    def __init__(
        self,
        board: Board,
        settle: Settle,
        limits: Limits,
        clock: Callable[[], float] = time.thread_time,
    ) -> None:
        self._board = board
        self._settle = settle
        self.limits = limits
        self._clock = clock
        self._turn = asyncio.Lock()

    async def answer(self, ask: Ask) -> Page:
        """Answer one question; Refused for one that cannot be read or answered."""
        # Questions that wait do so unread, when they take the least room.
        async with self._turn:
            question = read(ask.body, self.limits)
            snapshot = slot_of(self._board, question.deployment).snapshot
            if snapshot is None:
                raise Refused(409, "The flags of this deployment are not here yet")
            user, keys = dict(question.user), question.flag_keys
            self._settle(user, snapshot)
            outcomes = snapshot.compiled.evaluate(user, keys)
            # From here on it has lists: a cohort's index may be closed while the thread works.
            evaluated = plain(user)
            told = (snapshot, evaluated, keys, outcomes, self._clock)
            return Page(200, await tasks.in_thread(_explain, *told))


def read(body: bytes, limits: Limits) -> Question:
    """Read a question; Refused with 400 and a reason."""
    if body.count(b",") + body.count(b"[") + body.count(b"{") > MOST_PARTS:
        raise Refused(400, "Too many values in JSON")
    if nested_deeper(body, limits.max_json_depth + 1):
        raise Refused(400, f"JSON nested deeper than {limits.max_json_depth}")
    try:
        given = parse_json(body)
    except (ValueError, RecursionError) as error:
        raise Refused(400, f"The body cannot be read: {name_text(str(error))}") from None
    if not isinstance(given, dict):
        raise Refused(400, "The body is no JSON object")
    unknown = sorted(given.keys() - MEMBERS)
    if unknown:
        raise Refused(400, f"{name_text(unknown[0])} is not known here")
    return _question(given, limits.max_flag_keys)


def _question(given: Mapping[str, Any], most_keys: int) -> Question:
    label, user, keys = given.get("deployment"), given.get("user"), given.get("flag_keys")
    if not isinstance(label, str):
        raise Refused(400, "deployment is not a text")
    if not isinstance(user, dict):
        raise Refused(400, "user is no JSON object")
    if keys is None:
        keys = []
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise Refused(400, "flag_keys is no array of texts")
    if len(keys) > most_keys:
        raise Refused(400, f"flag_keys has more than {most_keys} keys")
    return Question(label, user, tuple(dict.fromkeys(keys)))


def _explain(
    snapshot: Snapshot,
    user: dict[str, Any],
    flag_keys: Sequence[str],
    outcomes: Sequence[Outcome],
    clock: Callable[[], float],
) -> bytes:
    """Return the answer's JSON."""
    compiled = snapshot.compiled
    traces, results = _traced(compiled, user, flag_keys, clock)
    told = {
        "deployment": encode(snapshot.deployment.label),
        "version": encode(compiled.version),
        "user": encode(user),
        "variants": answer(outcomes),
        "traces": b"[%b]" % b",".join(traces),
        "left_out": encode(_left_out(compiled, flag_keys)),
        "disagrees": encode(_disagreements(outcomes, results)),
    }
    return b"{%b}" % b",".join(b'"%b":%b' % (name.encode(), part) for name, part in told.items())


def _traced(
    compiled: CompiledDeployment,
    user: dict[str, Any],
    flag_keys: Sequence[str],
    clock: Callable[[], float],
) -> tuple[list[bytes], dict[str, Result]]:
    """Return the traces' JSON, and the results; Refused where they take too much."""
    brief, traces, results = Brief(), list[bytes](), dict[str, Result]()
    size, end = 0, clock() + MOST_SECONDS
    for key, result, trace in interpretations(
        compiled.flags, user, flag_keys, match=_matcher(), bucketing=True
    ):
        # One by one: while JSON is written, no other thread goes on.
        traces.append(encode(_told(trace, result, brief)))
        size += len(traces[-1])
        if size > MOST_TRACED_BYTES:
            raise Refused(400, f"The explanation is too long: {REMEDY}")
        if clock() > end:
            raise Refused(400, f"The explanation takes too long: {REMEDY}")
        if result is not None:
            results[key] = result
    return traces, results


def _matcher() -> Callable[[str, str], bool]:
    """Return a test of patterns that spends on all of them what one evaluation may."""
    budget = Budget()
    patterns: dict[str, Pattern] = {}

    def match(pattern: str, text: str) -> bool:
        known = patterns.get(pattern)
        if known is None:
            known = patterns[pattern] = compile_pattern(pattern, budget=budget)
        return known.matches(text)

    return match


def _told(trace: Trace, result: Result | None, brief: Brief) -> Trace:
    """Return a trace with the variant that came out, its segments' names, and values in short."""
    for step in trace["steps"]:
        step["segment"] = step.get("segmentMetadata", {}).get("segmentName")
        for test in chain.from_iterable(step.get("conditionResult", ())):
            if "propValue" in test:
                test["propValue"] = brief(test["propValue"])
        if "bucketing" in step:
            step["bucketing"]["value"] = brief(step["bucketing"]["value"])
    return trace if result is None else trace | {"variant": result.variant.key}


def _left_out(compiled: CompiledDeployment, flag_keys: Sequence[str]) -> dict[str, str]:
    return {
        one.flag_key: name_text(one.reason, LONGEST_REASON)
        for one in compiled.problems
        if not flag_keys or one.flag_key in flag_keys
    }


def _disagreements(outcomes: Sequence[Outcome], results: Mapping[str, Result]) -> list[str]:
    """Name the flags of which the compiled function and the interpreter think differently."""
    compiled = {outcome.flag_key: outcome.result for outcome in outcomes}
    interpreted = {key: result_json(result) for key, result in results.items()}
    return sorted(
        key for key in {*compiled, *interpreted} if compiled.get(key) != interpreted.get(key)
    )
