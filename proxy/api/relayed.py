"""Remote evaluation with Amplitude's help: what can be evaluated here is, the rest is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec

from proxy.api.credentials import INVALID, any_key
from proxy.api.features import Offer, Tools
from proxy.api.messages import Request, Response, failure, unavailable
from proxy.api.repeats import PRIVATE
from proxy.api.requests import (
    decode_base64,
    flag_keys,
    query_fields,
    user_from_body,
    user_from_header,
    user_from_query,
)
from proxy.api.routes import Guarded, Route, with_head
from proxy.evaluation.deployment import compile_deployment
from proxy.evaluation.results import encode
from proxy.relay.line import Trouble
from proxy.relay.relay import Flight
from proxy.relay.variants import Variants, as_v1, whole
from proxy.snapshots.snapshot import Snapshot
from proxy.upstream.remote import Question

if TYPE_CHECKING:
    from proxy.evaluation.outcomes import Outcome
    from proxy.relay.others import Others
    from proxy.relay.relay import Relay, Reply

NO_FLAGS_YET: Final = compile_deployment(b"[]")
TRACK: Final = frozenset({"track", "no-track", "read-only"})
EXPOSE: Final = frozenset({"track", "no-track"})
LONGEST_KEYS: Final = 6000
"""Keys of so many bytes of JSON are a header that every server takes: 8 KiB, in base64."""
NOT_HERE_YET: Final = "The flags of this deployment are not here yet"

ReadUser = Callable[[Request, int], tuple[dict[str, Any], bytes]]
"""Give a request's user, and the JSON object that it came as."""


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A request on its way to an answer that Amplitude has a part in.

    `others` are the flags that it is asked for, none for all; `local` answers without it.
    """

    request: Request
    snapshot: Snapshot
    user: dict[str, Any]
    keys: Sequence[str]
    others: tuple[str, ...]
    local: Guarded
    is_v1: bool


class Relayed:
    """Answers requests for remote evaluation, with the relay where it is needed."""

    def __init__(self, tools: Tools, relay: Relay, others: Others) -> None:
        self._relay = relay
        self._others = others
        self._board = tools.board
        self._evaluator = tools.evaluator
        self._admit = tools.gate.admit
        self._pending = tools.metrics.rejected.labels("pending")
        self._in_force = tools.in_force

    def admit(self, headers: Mapping[str, str]) -> Snapshot | Response:
        """Let in whom the gate lets in, and deployments of ours whose flags have not come yet."""
        slot = self._board.find(any_key(headers))
        if slot is not None and slot.snapshot is None:
            return Snapshot(
                deployment=slot.deployment, compiled=NO_FLAGS_YET, source="poll", changed_at=0.0
            )
        return self._admit(headers)

    def with_help(self, local: Guarded, read: ReadUser, *, is_v1: bool = False) -> Guarded:
        """Return `local` with Amplitude's help."""

        def answer(request: Request, snapshot: Snapshot) -> Response:
            limits = self._in_force.limits
            keys = flag_keys(request.headers, request.query, limits.max_flag_keys)
            is_early = snapshot.compiled is NO_FLAGS_YET
            others = tuple(keys) if is_early else self._others.among(snapshot.compiled, keys)
            if not others and not is_early:
                return local(request, snapshot)
            user, text = read(request, limits.max_json_depth)
            asked = Asked(
                request=request,
                snapshot=snapshot,
                user=user,
                keys=keys,
                others=others,
                local=local,
                is_v1=is_v1,
            )
            return self._ask(asked, text)

        return answer

    def _ask(self, asked: Asked, text: bytes) -> Response:
        deployment, compiled = asked.snapshot.deployment, asked.snapshot.compiled
        headers = asked.request.headers
        question = Question(
            key=deployment.key,
            user=text,
            flag_keys=_sent(asked.others, asked.keys),
            track=_wish(headers, "x-amp-exp-track", TRACK),
            expose=_wish(headers, "x-amp-exp-exposure-track", EXPOSE),
        )
        # The moment too: flags that are as they once were may have been others in between.
        version = f"{compiled.version} {asked.snapshot.changed_at}"
        found = self._relay.ask(deployment, question, version)
        if isinstance(found, Flight):
            return Response(later=partial(self._answer_later, asked, found))
        return self._answer(asked, found)

    async def _answer_later(self, asked: Asked, flight: Flight) -> Response:
        return self._answer(asked, await flight.landing())

    def _answer(self, asked: Asked, reply: Reply) -> Response:
        is_early = asked.snapshot.compiled is NO_FLAGS_YET
        if isinstance(reply, Trouble):
            return self._refusal(reply) if is_early else asked.local(asked.request, asked.snapshot)
        if is_early:
            return _given(asked.request, _encoded([], reply, is_v1=asked.is_v1))
        return self._merged(asked, reply)

    def _merged(self, asked: Asked, variants: Variants) -> Response:
        """Evaluate here, and put Amplitude's word where it was asked for it.

        What is answered here is reported; of its own part Amplitude takes note itself.
        """
        compiled, others = asked.snapshot.compiled, frozenset(asked.others)
        theirs = {
            key: member
            for key, member in variants.items()
            if key in others or key not in compiled.flags
        }
        ours: list[Outcome] = []

        def put_together(outcomes: list[Outcome]) -> bytes:
            ours.extend(one for one in outcomes if one.flag_key not in theirs)
            return _encoded(ours, theirs, is_v1=asked.is_v1)

        request, snapshot, user = asked.request, asked.snapshot, asked.user
        _, body = self._evaluator.evaluate(snapshot, user, asked.keys, put_together)
        if ours:
            self._evaluator.report(request.headers, snapshot, user, ours, asked.keys)
        return _given(request, body)

    def _refusal(self, trouble: Trouble) -> Response:
        if trouble.status == 401:
            return INVALID
        if trouble.status < 500:
            return failure(trouble.status, "Amplitude refuses to evaluate this request")
        self._pending.inc()
        return unavailable(NOT_HERE_YET, trouble.seconds)


def relayed(relay: Relay, others: Others) -> Callable[[Tools], Offer]:
    """Make the feature: remote evaluation on all its paths, with the relay."""

    def offer(tools: Tools) -> Offer:
        here, helped = tools.vardata, Relayed(tools, relay, others)
        help_v1 = partial(helped.with_help, is_v1=True)
        handlers: dict[str, dict[str, Guarded]] = {
            "/sdk/v2/vardata": {
                "GET": helped.with_help(here.by_header, _of_header),
                "POST": helped.with_help(here.by_body, _of_body),
            },
            "/sdk/vardata": {
                "GET": help_v1(here.by_header_v1, _of_header),
                "POST": help_v1(here.by_body_v1, _of_body),
            },
            "/v1/vardata": {
                "GET": help_v1(here.by_query_v1, _of_query),
                "POST": help_v1(here.by_body_v1, _of_body),
            },
        }
        return Offer(
            {
                path: Route(path, guarded=with_head(of_path), admit=helped.admit)
                for path, of_path in handlers.items()
            }
        )

    return offer


def _of_header(request: Request, deepest: int) -> tuple[dict[str, Any], bytes]:
    user = user_from_header(request.headers, deepest)
    return user, decode_base64(request.headers.get("x-amp-exp-user", "")) or b"{}"


def _of_body(request: Request, deepest: int) -> tuple[dict[str, Any], bytes]:
    return user_from_body(request.body, deepest), request.body.strip() or b"{}"


def _of_query(request: Request, deepest: int) -> tuple[dict[str, Any], bytes]:
    user = user_from_query(query_fields(request.query), deepest)
    return user, encode(user)


def _sent(others: tuple[str, ...], keys: Sequence[str]) -> tuple[str, ...]:
    """Return the keys that travel; none, so that all come, when nobody named too many of them."""
    too_many = not keys and len(encode(others)) > LONGEST_KEYS
    return () if too_many else others


def _given(request: Request, body: bytes) -> Response:
    return Response(200, body) if request.method == "POST" else Response(200, body, lines=PRIVATE)


def _wish(headers: Mapping[str, str], name: str, known: frozenset[str]) -> str:
    wish = headers.get(name, "").strip().lower()
    return wish if wish in known else ""


def _encoded(ours: Sequence[Outcome], theirs: Variants, *, is_v1: bool) -> bytes:
    if not is_v1:
        return whole([*(one.fragment for one in ours), *theirs.values()])
    members = [*(one.fragment_v1 for one in ours), *map(as_v1, theirs.values())]
    return whole([member for member in members if member])
