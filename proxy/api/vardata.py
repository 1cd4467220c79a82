"""Remote evaluation: `/sdk/v2/vardata`, and the older `/sdk/vardata` and `/v1/vardata`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from proxy.api.editions import BODY, BODY_V1, HEADER, HEADER_V1, QUERY_V1
from proxy.api.messages import Request, Response
from proxy.api.repeats import PRIVATE, Repeats, tagged, unchanged
from proxy.api.requests import (
    flag_keys,
    names_tag,
    query_fields,
    user_from_base64,
    user_from_body,
    user_from_query,
    wants_exposures,
    wants_tracking,
)
from proxy.evaluation.outcomes import Outcome, answer, answer_v1

if TYPE_CHECKING:
    from proxy.api.answers import Answers
    from proxy.api.editions import Edition, Editions, Key
    from proxy.api.evaluator import Evaluator
    from proxy.api.in_force import InForce
    from proxy.snapshots.snapshot import Snapshot

LONGEST_KEPT: Final = 16_384
"""A user in a longer text is evaluated each time, and the answer has no tag."""
ANY: Final = "*"


class Form(NamedTuple):
    """How to read the text that a user came as, nested so deeply at most; how answers look."""

    name: str
    read: Callable[[Any, int], dict[str, Any]]
    encode: Callable[[list[Outcome]], bytes]


def _user_from_query(query: str, deepest: int) -> dict[str, Any]:
    return user_from_query(query_fields(query), deepest)


BY_HEADER: Final = Form(HEADER, user_from_base64, answer)
BY_BODY: Final = Form(BODY, user_from_body, answer)
BY_HEADER_V1: Final = Form(HEADER_V1, user_from_base64, answer_v1)
BY_BODY_V1: Final = Form(BODY_V1, user_from_body, answer_v1)
BY_QUERY_V1: Final = Form(QUERY_V1, _user_from_query, answer_v1)


class Vardata:
    """Evaluates the user of a request, in every form in which SDKs send it.

    Who asks again is answered from what is kept, and told 304 when he holds the answer.
    """

    def __init__(
        self, evaluator: Evaluator, editions: Editions, answers: Answers, in_force: InForce
    ) -> None:
        self.answers = answers
        self._evaluator = evaluator
        self._edition_of = editions.of
        self._kept = answers.kept
        self._missed = answers.missed
        self._keep = answers.keep
        self._give_again = Repeats(evaluator, answers).give
        self._in_force = in_force

    def by_header(self, request: Request, snapshot: Snapshot) -> Response:
        """Evaluate the user of `X-Amp-Exp-User`; the answer holds all that the engine returned."""
        return self._answer(request, snapshot, BY_HEADER, request.headers.get("x-amp-exp-user", ""))

    def by_body(self, request: Request, snapshot: Snapshot) -> Response:
        """Evaluate the user that the body is; the answer holds all that the engine returned."""
        return self._answer(request, snapshot, BY_BODY, request.body)

    def by_header_v1(self, request: Request, snapshot: Snapshot) -> Response:
        """Evaluate the user of `X-Amp-Exp-User`, without default and undeployed variants."""
        return self._answer(
            request, snapshot, BY_HEADER_V1, request.headers.get("x-amp-exp-user", "")
        )

    def by_body_v1(self, request: Request, snapshot: Snapshot) -> Response:
        """Evaluate the user that the body is, without default and undeployed variants."""
        return self._answer(request, snapshot, BY_BODY_V1, request.body)

    def by_query_v1(self, request: Request, snapshot: Snapshot) -> Response:
        """Evaluate the user of the query, without default and undeployed variants."""
        return self._answer(request, snapshot, BY_QUERY_V1, request.query)

    def _answer(
        self, request: Request, snapshot: Snapshot, form: Form, text: str | bytes
    ) -> Response:
        """Answer for the user that came as `text`: again, or by evaluating."""
        is_get = request.method != "POST"
        edition = None
        if self.answers.credit > 0 and len(text) <= LONGEST_KEPT:
            edition = self._edition_of(snapshot)
        if edition is None:
            body = self._evaluate(request, snapshot, form, text)[0]
            return Response(200, body, lines=PRIVATE) if is_get else Response(200, body)
        key = edition.number, form.name, _wanted(request), text
        kept = self._kept.get(key)
        if kept is not None:
            return self._give_again(request, kept)
        if is_get:
            return self._tagged(request, snapshot, form, key, edition)
        return Response(200, self._work_out(request, snapshot, form, key, edition)[0])

    def _tagged(
        self, request: Request, snapshot: Snapshot, form: Form, key: Key, edition: Edition
    ) -> Response:
        """Answer with a tag, or 304 to who holds the answer: unevaluated, if nobody is told."""
        headers, tag = request.headers, edition.tag(key)
        asked = headers.get("if-none-match")
        is_held = asked is not None and names_tag(asked, tag.decode())
        if is_held and asked != ANY and not _is_told_of(headers):
            return unchanged(tag)
        body, is_sound = self._work_out(request, snapshot, form, key, edition)
        if not is_sound:
            return Response(200, body, lines=PRIVATE)
        return unchanged(tag) if is_held else Response(200, body, lines=tagged(tag))

    def _work_out(
        self, request: Request, snapshot: Snapshot, form: Form, key: Key, edition: Edition
    ) -> tuple[bytes, bool]:
        """Evaluate and keep the answer, if it is asked for again; return it and if it is sound.

        What was given up for lack of time may come out otherwise another time.
        """
        watch = snapshot.compiled.watch
        before = watch.timeouts
        body, user, outcomes, keys = self._evaluate(request, snapshot, form, key[3])
        is_sound = watch.timeouts == before
        if self._missed(key) and is_sound:
            project = snapshot.deployment.project_index
            self._keep((key, edition, body, project, user, outcomes, keys))
        return body, is_sound

    def _evaluate(
        self, request: Request, snapshot: Snapshot, form: Form, text: str | bytes
    ) -> tuple[bytes, dict[str, Any], list[Outcome], list[str]]:
        """Evaluate and report; return the body, the user, the outcomes and the keys asked for."""
        headers, limits = request.headers, self._in_force.limits
        user = form.read(text, limits.max_json_depth)
        keys = flag_keys(headers, request.query, limits.max_flag_keys)
        outcomes, body = self._evaluator.evaluate(snapshot, user, keys, form.encode)
        self._evaluator.report(headers, snapshot, user, outcomes, keys)
        return body, user, outcomes, keys


def _is_told_of(headers: Mapping[str, str]) -> bool:
    return wants_tracking(headers) or wants_exposures(headers)


def _wanted(request: Request) -> str:
    """Return what names the flags asked for, as it came; empty when nothing does."""
    named = request.headers.get("x-amp-exp-flag-keys")
    if named:
        return f"header {named}"
    return f"query {request.query}" if "flag_key" in request.query else ""
