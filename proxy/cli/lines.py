"""Bulk evaluation: JSON lines in, one result object a line out."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable
from itertools import count
from typing import Any, BinaryIO

import msgspec

from proxy.evaluation.deployment import CompiledDeployment, compile_deployment
from proxy.evaluation.users import parse_user

MOST_DEPLOYMENTS = 256
NOTHING = msgspec.Raw()
ESCAPE = re.compile(rb"\\(?:u([dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL)


class Line(msgspec.Struct):
    """One case as JSON texts; the user as JSON, or as a text that holds JSON."""

    flags: msgspec.Raw
    user: msgspec.Raw = NOTHING
    user_json: msgspec.Raw = NOTHING
    flag_keys: msgspec.Raw = NOTHING


class Lines:
    """Evaluates lines; deployments are compiled once for each different list of flags."""

    def __init__(self) -> None:
        self._deployments: OrderedDict[bytes, CompiledDeployment] = OrderedDict()

    def run(self, source: BinaryIO, sink: BinaryIO) -> int:
        """Answer every line of `source` on `sink`, in order; return how many had no answer."""
        failures = 0
        for line in source:
            try:
                answer = self.evaluate(line)
            except (ValueError, RecursionError) as error:
                failures += 1
                answer = msgspec.json.encode({"error": _reason(error)})
            sink.write(answer + b"\n")
            # Whoever writes one line and waits for its answer must get it.
            sink.flush()
        return failures

    def evaluate(self, line: bytes) -> bytes:
        """Return the result object of one line; raises ValueError when it is not a case."""
        case = read_case(line)
        if not case.user:
            raise ValueError("the line has neither `user` nor `user_json`")
        keys = _KEYS.decode(case.flag_keys) if case.flag_keys else None
        return result_object(self._deployment(case.flags), parse_user(case.user), keys)

    def _deployment(self, flags: bytes) -> CompiledDeployment:
        known = self._deployments.get(flags)
        if known is None:
            known = self._deployments[flags] = compile_deployment(flags)
            if len(self._deployments) > MOST_DEPLOYMENTS:
                self._deployments.popitem(last=False)
        else:
            self._deployments.move_to_end(flags)
        return known


def result_object(
    deployment: CompiledDeployment, user: dict[str, Any], flag_keys: tuple[str, ...] | None
) -> bytes:
    """Return the engine's own results, values as they came, as one JSON object by flag key."""
    outcomes = deployment.evaluate(user, flag_keys or ())
    parts = (
        b"%b:%b" % (msgspec.json.encode(outcome.flag_key), outcome.result) for outcome in outcomes
    )
    return b"{%b}" % b",".join(parts)


class Case(msgspec.Struct, frozen=True):
    """The JSON texts of one line."""

    flags: bytes
    user: bytes
    flag_keys: bytes


def read_case(line: bytes) -> Case:
    """Take a line apart without a change to its texts; raises ValueError."""
    try:
        return _case(_LINE.decode(line), bytes)
    except msgspec.DecodeError:
        if not ESCAPE.search(line):
            raise
    # The decoder stumbles over half of a surrogate pair, which a user may hold. So such escapes
    # are called something else until the line is in parts.
    name = _unused(line)

    def rename(escape: re.Match[bytes]) -> bytes:
        return name + escape[1] if escape[1] else escape[0]

    def restore(raw: bytes) -> bytes:
        return re.sub(re.escape(name) + rb"([0-9a-fA-F]{4})", rb"\\u\1", bytes(raw))

    return _case(_LINE.decode(ESCAPE.sub(rename, line)), restore)


def _case(line: Line, restore: Callable[[msgspec.Raw], bytes]) -> Case:
    user = bytes(line.user)
    if bytes(line.user_json) not in {b"", b"null"}:
        user = _TEXT.decode(line.user_json).encode()
    return Case(restore(line.flags), restore(msgspec.Raw(user)), restore(line.flag_keys))


def _unused(line: bytes) -> bytes:
    return next(name for number in count() if (name := b"x%dx" % number) not in line)


_LINE = msgspec.json.Decoder(Line)
_TEXT = msgspec.json.Decoder(str)
_KEYS = msgspec.json.Decoder(tuple[str, ...] | None)


def _reason(error: Exception) -> str:
    return "nested too deep" if isinstance(error, RecursionError) else str(error)
