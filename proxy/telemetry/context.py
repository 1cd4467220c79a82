"""Where a trace comes from: what a request says of its own, and the draw that decides otherwise."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final, NamedTuple

from structlog.contextvars import STRUCTLOG_KEY_PREFIX

if TYPE_CHECKING:
    from multidict import CIMultiDictProxy

    from proxy.telemetry.spans import Begun

_IDS: Final = r"-((?!0{32})[0-9a-f]{32})-((?!0{16})[0-9a-f]{16})-[0-9a-f]([0-9a-f])"
PARENT: Final = re.compile(rf"(?:00{_IDS}|(?!00|ff)[0-9a-f]{{2}}{_IDS}(?:-.*)?)")
LENGTH: Final = 55
SAMPLED: Final = frozenset("13579bdf")
_KEY: Final = r"(?:[a-z0-9][a-z0-9_*/-]{0,240}@)?[a-z][a-z0-9_*/-]{0,255}"
_VALUE: Final = r"[ -+\--<>-~]{0,255}[!-+\--<>-~]"
MEMBER: Final = re.compile(rf"{_KEY}={_VALUE}")
MOST_MEMBERS: Final = 32
LONGEST_STATE: Final = 512

current: ContextVar[Begun | None] = ContextVar("current", default=None)
"""The span of the request that is being answered, None while it is not traced."""
_in_logs: ContextVar[str] = ContextVar(STRUCTLOG_KEY_PREFIX + "trace_id")
"""What log lines say as `trace_id`."""


class Parent(NamedTuple):
    """The span that a request comes from: ids in lower-case hex, and the state that goes along."""

    trace_id: str
    span_id: str
    is_sampled: bool
    state: str = ""


def looks_unsampled(given: str) -> bool:
    """Tell quickly whether `traceparent` is of the usual length and says that it is not sampled."""
    return len(given) == LENGTH and given[-1] not in SAMPLED


def parent_of(headers: CIMultiDictProxy[str], given: str) -> Parent | None:
    """Return what `traceparent` says, which was `given`; None if it is none, or one of several."""
    found = PARENT.fullmatch(given.strip())
    if found is None or len(headers.getall("traceparent", ())) > 1:
        return None
    trace_id, span_id, flags = (part for part in found.groups() if part is not None)
    if flags not in SAMPLED:
        return Parent(trace_id, span_id, is_sampled=False)
    return Parent(trace_id, span_id, is_sampled=True, state=state_of(headers))


def state_of(headers: CIMultiDictProxy[str]) -> str:
    """Return `tracestate` as it is to be passed on; empty when it is broken or too long."""
    text = ",".join(headers.getall("tracestate", ()))
    members = [member.strip(" \t") for member in text.split(",")]
    members = [member for member in members if member]
    if len(text) > LONGEST_STATE or len(members) > MOST_MEMBERS:
        return ""
    return ",".join(members) if all(map(MEMBER.fullmatch, members)) else ""


@contextmanager
def during(begun: Begun) -> Iterator[None]:
    """Let calls and log lines belong to a span until the block is left."""
    before, before_in_logs = current.set(begun), _in_logs.set(begun.trace_id)
    try:
        yield
    finally:
        current.reset(before)
        _in_logs.reset(before_in_logs)


Chance = Callable[[], float]
"""Draw a number from 0 to 1, without 1."""
