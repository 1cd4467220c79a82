"""Compiling beside the event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

from proxy.errors import UpstreamGarbled
from proxy.evaluation.cohorts import Target
from proxy.evaluation.deployment import CompiledDeployment, compile_in_steps
from proxy.sync.holding import NOTHING, Waiting, held_back, mixed


class Stopwatch(Protocol):
    """What takes note of how long something took."""

    def observe(self, amount: float, /) -> None:
        """Take note of some seconds."""


async def compile_body(
    body: bytes,
    before: CompiledDeployment | None,
    seconds: Stopwatch,
    on_regex_timeout: Callable[[str], None],
) -> CompiledDeployment:
    """Compile a body in a worker thread, given what it follows; raises `UpstreamGarbled`."""
    began = time.perf_counter()
    try:
        compiled = await asyncio.to_thread(compile_beside, body, before, on_regex_timeout)
    except ValueError as error:
        raise UpstreamGarbled("the flag configs are not a JSON array") from error
    seconds.observe(time.perf_counter() - began)
    return compiled


def compile_beside(
    body: bytes, before: CompiledDeployment | None, on_regex_timeout: Callable[[str], None]
) -> CompiledDeployment:
    """Compile in a worker thread, giving the event loop a chance between the steps.

    Raises ValueError when the body is no JSON array.
    """
    steps = compile_in_steps(body, before, on_regex_timeout)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            compiled: CompiledDeployment = end.value
            return compiled
        time.sleep(0)


def compile_meanwhile(
    whole: CompiledDeployment,
    in_force: CompiledDeployment | None,
    pending: frozenset[Target],
    on_regex_timeout: Callable[[str], None],
) -> tuple[CompiledDeployment | None, Waiting]:
    """Return what can be in force until pending cohorts are here, and what waits for them.

    None when that is nothing new. For a worker thread, as `compile_beside`.
    """
    if not pending:
        return whole, NOTHING
    waiting = held_back(whole, in_force, pending)
    if not waiting:
        return whole, NOTHING
    if in_force is None:
        return None, waiting
    raws = mixed(whole, in_force, waiting)
    if raws == list(in_force.raw_flags.values()):
        return None, waiting
    compiled = compile_beside(b"[" + b",".join(raws) + b"]", whole, on_regex_timeout)
    # The mixture holds good flags only; what could not be used of the body is still to be told.
    compiled.problems = whole.problems
    return compiled, waiting
