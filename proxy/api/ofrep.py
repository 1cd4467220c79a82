"""OFREP: what OpenFeature's providers ask, on `/ofrep/v1/evaluate/flags`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

from proxy.api.features import Offer, Tools
from proxy.api.messages import JSON, Request, Response
from proxy.api.ofrep_answers import failed, is_deployed, no_id, shown, wants_id
from proxy.api.ofrep_catchup import CatchUp
from proxy.api.ofrep_context import GENERAL, Mistake, has_no_id, read_user
from proxy.api.ofrep_streams import STREAMS
from proxy.api.requests import decoded, flag_keys, names_tag
from proxy.api.routes import Route
from proxy.errors import BadRequest

if TYPE_CHECKING:
    from proxy.api.ofrep_streams import OfrepStreams
    from proxy.evaluation.deployment import CompiledDeployment
    from proxy.evaluation.model import Flag
    from proxy.evaluation.outcomes import Outcome
    from proxy.snapshots.snapshot import Snapshot

FLAGS: Final = "/ofrep/v1/evaluate/flags"
FLAG_NOT_FOUND: Final = "FLAG_NOT_FOUND"
TRACK: Final = "x-amp-exp-track"
TAG_LENGTH: Final = 32

Announce = Callable[["Snapshot"], bytes]
"""Give the member of an answer that names the streams of changes, empty when there are none."""


def no_streams(_snapshot: Snapshot) -> bytes:
    """Give none."""
    return b""


def ofrep(tools: Tools, streams: OfrepStreams | None = None) -> Offer:
    """Offer OFREP, unless it is switched off; with `streams`, clients are told of changes."""
    if not tools.settings.ofrep.enabled:
        return Offer()
    made = Ofrep(tools, no_streams if streams is None else streams.announce)
    one = Route(FLAGS + "/{key}", guarded={"POST": made.one})
    beginnings = [(FLAGS + "/", one)]
    if streams is not None:
        stream = {"GET": streams.begin, "HEAD": streams.begin}
        beginnings.append((STREAMS, Route(STREAMS + "{channel}", open=stream)))
    return Offer({FLAGS: Route(FLAGS, guarded={"POST": made.every})}, tuple(beginnings))


class Ofrep:
    """Evaluates one flag, or all that are for clients, for the user that a context describes."""

    def __init__(self, tools: Tools, announce: Announce) -> None:
        self._evaluator = tools.evaluator
        self._settings = tools.settings.ofrep
        self._in_force = tools.in_force
        self._bad_request = tools.metrics.rejected.labels("bad_request")
        self._announce = announce
        self._catch_up = CatchUp(tools.board)
        self._flags: WeakKeyDictionary[CompiledDeployment, dict[str, Flag]] = WeakKeyDictionary()

    def one(self, request: Request, snapshot: Snapshot) -> Response:
        """Evaluate the flag that the path names."""
        try:
            key = decoded(request.rest)
        except BadRequest as mistake:
            return self._refused(Mistake(400, GENERAL, mistake.reason), request.rest)
        flag = self._for_clients(snapshot.compiled).get(key)
        if flag is None:
            return Response(404, failed(FLAG_NOT_FOUND, "There is no such flag", key))
        user = read_user(
            request.body, self._in_force.limits.max_json_depth, self._settings.targeting_key
        )
        if isinstance(user, Mistake):
            return self._refused(user, key)

        def encode(outcomes: list[Outcome]) -> bytes:
            return shown(flag, _of(key, outcomes), self._settings.value)

        lacks_id = has_no_id(user)
        outcomes, body = self._evaluator.evaluate(snapshot, user, [key], encode)
        if lacks_id and wants_id(flag, _of(key, outcomes)):
            return Response(400, no_id(flag))
        self._evaluator.report(request.headers, snapshot, user, outcomes, [key])
        return Response(200, body)

    def every(self, request: Request, snapshot: Snapshot) -> Response:
        """Evaluate all flags, or those of the filter; 304 to who holds the same answer."""
        if self._catch_up.is_worth_it(request.query, snapshot):
            return Response(later=partial(self._when_caught_up, request, snapshot))
        return self._every(request, snapshot)

    async def _when_caught_up(self, request: Request, snapshot: Snapshot) -> Response:
        return self._every(request, await self._catch_up.wait(snapshot))

    def _every(self, request: Request, snapshot: Snapshot) -> Response:
        user = read_user(
            request.body, self._in_force.limits.max_json_depth, self._settings.targeting_key
        )
        if isinstance(user, Mistake):
            return self._refused(user)
        try:
            keys = flag_keys(request.headers, request.query, self._in_force.limits.max_flag_keys)
        except BadRequest as mistake:
            return self._refused(Mistake(mistake.status, GENERAL, mistake.reason))
        lacks_id = has_no_id(user)

        def encode(outcomes: list[Outcome]) -> bytes:
            flags = self._all(snapshot, outcomes, keys, lacks_id=lacks_id)
            return b'{"flags":[%b]%b}' % (b",".join(flags), self._announce(snapshot))

        outcomes, body = self._evaluator.evaluate(snapshot, user, keys, encode)
        # Nobody is exposed to all the flags that a client holds ready.
        wish = {TRACK: request.headers.get(TRACK, "")}
        self._evaluator.report(wish, snapshot, user, outcomes, keys)
        tag = hashlib.sha256(body).hexdigest()[:TAG_LENGTH]
        headers = (("ETag", f'W/"{tag}"'),)
        if names_tag(request.headers.get("if-none-match"), tag):
            return Response(304, b"", JSON, headers)
        return Response(200, body, JSON, headers)

    def _all(
        self, snapshot: Snapshot, outcomes: list[Outcome], keys: list[str], *, lacks_id: bool
    ) -> list[bytes]:
        """Return what is said of each flag for clients, of the named ones when keys are given."""
        flags, value_of = self._for_clients(snapshot.compiled), self._settings.value
        found = {outcome.flag_key: outcome for outcome in outcomes}
        parts = []
        for key in dict.fromkeys(keys) if keys else flags:
            flag, outcome = flags.get(key), found.get(key)
            if flag is None:
                continue
            if lacks_id and wants_id(flag, outcome):
                parts.append(no_id(flag))
            else:
                parts.append(shown(flag, outcome, value_of))
        return parts

    def _for_clients(self, compiled: CompiledDeployment) -> dict[str, Flag]:
        flags = self._flags.get(compiled)
        if flags is None:
            flags = {key: flag for key, flag in compiled.flags.items() if is_deployed(flag)}
            self._flags[compiled] = flags
        return flags

    def _refused(self, mistake: Mistake, key: str | None = None) -> Response:
        self._bad_request.inc()
        return Response(mistake.status, failed(mistake.code, mistake.details, key))


def _of(key: str, outcomes: list[Outcome]) -> Outcome | None:
    return next((outcome for outcome in outcomes if outcome.flag_key == key), None)
