"""One evaluation without a server: the variants, and why."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec

from proxy.cli.drawing import draw, json_text
from proxy.cli.lines import result_object
from proxy.cli.terminal import harmless_json
from proxy.evaluation.deployment import CompiledDeployment, compile_deployment
from proxy.evaluation.interpreter import interpret_with_trace
from proxy.evaluation.patterns.pattern import Pattern, compile_pattern
from proxy.evaluation.users import parse_user
from proxy.sandbox.watch import text_of
from proxy.sandbox.world import read_world


class InputMistake(ValueError):
    """What was given on the command line cannot be used; one sentence says why."""


def read_flags(path: str) -> CompiledDeployment:
    """Compile a file of flags: a JSON array as Amplitude serves it, or a sandbox's YAML file."""
    try:
        body = Path(path).read_bytes()
    except OSError as error:
        raise InputMistake(f"cannot read {path}: {error.strerror}") from None
    try:
        if path.endswith((".yaml", ".yml")):
            body = read_world(text_of(body)).flags
        return compile_deployment(body)
    except ValueError as error:
        raise InputMistake(f"cannot use the flags in {path}: {error}") from None


def read_user(text: str) -> dict[str, Any]:
    """Parse the user given as JSON."""
    try:
        return parse_user(text.encode("utf-8", "surrogateescape"))
    except ValueError as error:
        raise InputMistake(f"cannot use the user: {error}") from None


def evaluate(
    deployment: CompiledDeployment,
    user: dict[str, Any],
    flag_keys: tuple[str, ...],
    *,
    explain: bool,
    as_json: bool,
) -> str:
    """Return what to print: the variants, and with `explain` what led to them."""
    variants = result_object(deployment, user, flag_keys)
    if not explain:
        return _readable(variants)
    results, traces = interpret_with_trace(
        deployment.flags, user, flag_keys, match=_match, bucketing=True
    )
    if as_json:
        both = {"variants": msgspec.Raw(variants), "traces": traces}
        return _readable(json_text(both))
    keys = {flag_key: result.variant.key for flag_key, result in results.items()}
    drawn = draw(traces.values(), keys)
    return f"{_readable(variants)}\n\n{drawn}"


def _readable(json: bytes) -> str:
    return harmless_json(msgspec.json.format(json).decode())


def _match(pattern: str, text: str) -> bool:
    return _compiled(pattern).matches(text)


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> Pattern:
    return compile_pattern(pattern)
