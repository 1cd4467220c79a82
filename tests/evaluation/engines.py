"""The engines that must agree, behind one signature; the only place that names them all."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest

from proxy.evaluation.decode import FlagRefused, decode_flag, split_flags
from proxy.evaluation.dependencies import on_or_behind_cycles
from proxy.evaluation.deployment import compile_deployment
from proxy.evaluation.interpreter import interpret
from proxy.evaluation.model import Flag
from proxy.evaluation.patterns.pattern import compile_pattern
from proxy.evaluation.results import result_json
from proxy.evaluation.users import parse_user

Engine = Callable[[bytes, bytes, Sequence[str]], dict[str, Any]]
"""Flags, a user and the asked keys, all as JSON came, to results by flag key in their order."""


def match(pattern: str, text: str) -> bool:
    return compile_pattern(pattern).matches(text)


def usable(body: bytes) -> dict[str, Flag]:
    """The flags that decode and lie on or behind no cycle, by key."""
    flags: dict[str, Flag] = {}
    for raw in split_flags(body):
        try:
            flag = decode_flag(raw)
        except FlagRefused:
            continue
        flags[flag.key] = flag
    for key in on_or_behind_cycles(flags):
        del flags[key]
    return flags


def interpreted(body: bytes, user: bytes, keys: Sequence[str]) -> dict[str, Any]:
    results = interpret(usable(body), parse_user(user), keys, match=match)
    return {key: msgspec.json.decode(result_json(result)) for key, result in results.items()}


def compiled(body: bytes, user: bytes, keys: Sequence[str]) -> dict[str, Any]:
    outcomes = compile_deployment(body).evaluate(parse_user(user), keys)
    return {outcome.flag_key: msgspec.json.decode(outcome.result) for outcome in outcomes}


every_engine = pytest.mark.parametrize("engine", [interpreted, compiled])
