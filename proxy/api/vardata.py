"""Remote evaluation: `/sdk/v2/vardata`, and the older `/sdk/vardata` and `/v1/vardata`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from proxy.api.messages import Request, Response
from proxy.api.requests import (
    flag_keys,
    query_fields,
    user_from_body,
    user_from_header,
    user_from_query,
)
from proxy.evaluation.outcomes import Outcome, answer, answer_v1

if TYPE_CHECKING:
    from proxy.api.evaluator import Evaluator
    from proxy.settings.schema import Settings
    from proxy.snapshots.snapshot import Snapshot


class Vardata:
    """Evaluates the user of a request, in every form in which SDKs send it."""

    def __init__(self, evaluator: Evaluator, settings: Settings) -> None:
        self._evaluator = evaluator
        self._deepest = settings.limits.max_json_depth
        self._most_keys = settings.limits.max_flag_keys

    def by_header(self, request: Request, snapshot: Snapshot) -> Response:
        """Evaluate the user of `X-Amp-Exp-User`; the answer holds all that the engine returned."""
        user = user_from_header(request.headers, self._deepest)
        return self._evaluate(request, snapshot, user, answer)

    def by_body(self, request: Request, snapshot: Snapshot) -> Response:
        """Evaluate the user that the body is; the answer holds all that the engine returned."""
        user = user_from_body(request.body, self._deepest)
        return self._evaluate(request, snapshot, user, answer)

    def by_header_v1(self, request: Request, snapshot: Snapshot) -> Response:
        """Evaluate the user of `X-Amp-Exp-User`, without default and undeployed variants."""
        user = user_from_header(request.headers, self._deepest)
        return self._evaluate(request, snapshot, user, answer_v1)

    def by_body_v1(self, request: Request, snapshot: Snapshot) -> Response:
        """Evaluate the user that the body is, without default and undeployed variants."""
        user = user_from_body(request.body, self._deepest)
        return self._evaluate(request, snapshot, user, answer_v1)

    def by_query_v1(self, request: Request, snapshot: Snapshot) -> Response:
        """Evaluate the user of the query, without default and undeployed variants."""
        user = user_from_query(query_fields(request.query), self._deepest)
        return self._evaluate(request, snapshot, user, answer_v1)

    def _evaluate(
        self,
        request: Request,
        snapshot: Snapshot,
        user: dict[str, Any],
        encode: Callable[[list[Outcome]], bytes],
    ) -> Response:
        keys = flag_keys(request.headers, request.query, self._most_keys)
        outcomes, body = self._evaluator.evaluate(snapshot, user, keys, encode)
        self._evaluator.report(request.headers, snapshot, user, outcomes, keys)
        return Response(200, body)
