"""Web flags: what a page is given to finish evaluating, without what is decided here."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, final
from weakref import WeakKeyDictionary

from proxy.api.messages import JSON, Request, Response
from proxy.api.requests import names_tag, query_fields, user_from_header
from proxy.evaluation.delivery import delivered_by_web, for_web
from proxy.evaluation.partial_plan import FlagPlan, encode

if TYPE_CHECKING:
    from proxy.api.evaluator import Evaluator
    from proxy.api.in_force import InForce
    from proxy.evaluation.compiler_units import Unit
    from proxy.evaluation.deployment import CompiledDeployment
    from proxy.metrics import Metrics
    from proxy.snapshots.snapshot import Snapshot

MADE_PER_STEP: Final = 25
"""Plans of so many flags are made in about a millisecond; then others have their turn."""
FOR_ONE_USER: Final = ("Cache-Control", "private, no-cache")


def asks_for_web(request: Request) -> bool:
    """Tell whether a request for flag configs is for those that the web delivers."""
    return "delivery_method" in request.query and (
        query_fields(request.query).get("delivery_method") == "web"
    )


def flags_answer(request: Request, body: bytes) -> Response:
    """Return flags made for one user; 304 to who names them as those it holds."""
    tag = hashlib.blake2b(body, digest_size=12).hexdigest()
    headers = (("ETag", f'W/"{tag}"'), FOR_ONE_USER)
    if names_tag(request.headers.get("if-none-match"), tag):
        return Response(304, b"", JSON, headers)
    return Response(200, body, JSON, headers)


@final
class WebFlags:
    """Resolves a deployment's web flags for the user of a request, as far as both are known."""

    def __init__(self, evaluator: Evaluator, in_force: InForce, metrics: Metrics) -> None:
        self._evaluator = evaluator
        self._in_force = in_force
        self._took = metrics.web_evaluation_seconds.observe
        self._plans = Plans()

    def answer(self, request: Request, snapshot: Snapshot) -> Response:
        """Answer the web flags for the user of `X-Amp-Exp-User`, or for nobody in particular."""
        user = user_from_header(request.headers, self._in_force.limits.max_json_depth)
        plans = self._plans.ready(snapshot.compiled)
        if plans is not None:
            return self._resolved(request, snapshot, user, plans)

        async def later() -> Response:
            made = await self._plans.make(snapshot.compiled)
            return self._resolved(request, snapshot, user, made)

        return Response(later=later)

    def _resolved(
        self, request: Request, snapshot: Snapshot, user: dict[str, Any], plans: list[FlagPlan]
    ) -> Response:
        began = perf_counter()
        self._evaluator.settle_cohorts(user, snapshot)
        # One evaluation's worth of matching, whatever the patterns are.
        snapshot.compiled.watch.budget.begin()
        body = encode(plans, user)
        self._took(perf_counter() - began)
        return flags_answer(request, body)


@final
class Plans:
    """The plans of snapshots' web flags; those of flags that did not change are made once."""

    def __init__(self) -> None:
        self._of_units: WeakKeyDictionary[Unit, dict[bool, FlagPlan]] = WeakKeyDictionary()
        self._ready: WeakKeyDictionary[CompiledDeployment, list[FlagPlan]] = WeakKeyDictionary()

    def ready(self, compiled: CompiledDeployment) -> list[FlagPlan] | None:
        """Return the plans of all web flags, None as long as nobody made them."""
        return self._ready.get(compiled)

    async def make(self, compiled: CompiledDeployment) -> list[FlagPlan]:
        """Make what plans are missing, letting others have their turn in between."""
        for made, _ in enumerate(self._made(compiled), start=1):
            if made % MADE_PER_STEP == 0:
                await asyncio.sleep(0)
        plans = [
            self._of_units[compiled.units[key]][itself]
            for key, itself in delivered_by_web(compiled.flags).items()
        ]
        self._ready[compiled] = plans
        return plans

    def _made(self, compiled: CompiledDeployment) -> Iterator[FlagPlan]:
        for key, itself in delivered_by_web(compiled.flags).items():
            unit = compiled.units[key]
            known = self._of_units.setdefault(unit, {})
            if itself not in known:
                known[itself] = FlagPlan(for_web(unit.flag, itself=itself), unit.patterns.match)
                yield known[itself]
