"""Web flags and previews as Amplitude gives them, and what pages get when it does not."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Final, final

from proxy.api.credentials import any_key
from proxy.api.features import Feature, Offer, Tools
from proxy.api.flags import Flags
from proxy.api.messages import JSON, Request, Response
from proxy.api.pages import NO_FLAGS_YET, counting, refusal
from proxy.api.requests import user_from_header
from proxy.api.routes import Route, with_head
from proxy.api.web import WebFlags, asks_for_web, flags_answer
from proxy.errors import UpstreamError
from proxy.evaluation.delivery import delivered_by_web
from proxy.upstream.flags import PATH
from proxy.upstream.web import PREVIEWS_PATH, fetch_previews, fetch_web_flags

if TYPE_CHECKING:
    from proxy.relay.copies import Copies
    from proxy.snapshots.snapshot import Snapshot
    from proxy.upstream.client import UpstreamClient

NEVER_KEPT: Final = ("Cache-Control", "no-store")
Count = Callable[[str], None]


def forwarded(client: UpstreamClient, copies: Copies) -> Feature:
    """Offer web flags as Amplitude gives them; all other flag configs stay as they are."""

    def offer(tools: Tools) -> Offer:
        answers = ForwardedFlags(tools, client, copies)
        handlers = with_head({"GET": answers.configs})
        return Offer({PATH: Route(PATH, guarded=handlers, admit=answers.admit)})

    return offer


def previewed(client: UpstreamClient, copies: Copies) -> Feature:
    """Offer what Amplitude tells previews of experiments."""

    def offer(tools: Tools) -> Offer:
        answers = Previews(tools, client, copies)
        handlers = with_head({"GET": answers.configs})
        return Offer({PREVIEWS_PATH: Route(PREVIEWS_PATH, guarded=handlers, admit=answers.admit)})

    return offer


class _Admission:
    """Lets in whom the gate lets in, and keys of ours that have no flags here."""

    def __init__(self, tools: Tools) -> None:
        self._keys = tools.page_keys
        self._gate = tools.gate

    def admit(self, headers: Mapping[str, str]) -> Snapshot | Response:
        """Return a snapshot, perhaps without flags, or why there is none."""
        return self._keys.without_flags(any_key(headers)) or self._gate.admit(headers)


@final
class ForwardedFlags(_Admission):
    """Answers with Amplitude's web flags; from here, as far as that goes, when it fails."""

    def __init__(self, tools: Tools, client: UpstreamClient, copies: Copies) -> None:
        super().__init__(tools)
        self._client = client
        self._copies = copies
        self._count = counting(tools.metrics.web_answers, "flags")
        self._in_force = tools.in_force
        self._local = WebFlags(tools.evaluator, tools.in_force, tools.metrics)
        self._flags = Flags(tools.in_force, self._forward)

    def configs(self, request: Request, snapshot: Snapshot) -> Response:
        """Answer flag configs; those for the web come from Amplitude."""
        if snapshot.compiled is NO_FLAGS_YET and not asks_for_web(request):
            refused = self._gate.admit(request.headers)
            return refused if isinstance(refused, Response) else self.configs(request, refused)
        return self._flags.configs(request, snapshot)

    def _forward(self, request: Request, snapshot: Snapshot) -> Response:
        # What is broken goes no further.
        user_from_header(request.headers, self._in_force.limits.max_json_depth)
        return Response(later=partial(self._asked, request, snapshot))

    async def _asked(self, request: Request, snapshot: Snapshot) -> Response:
        key, user = snapshot.deployment.key, request.headers.get("x-amp-exp-user") or ""
        try:
            given = await self._copies.get(
                _name(key.reveal(), user),
                lambda _: fetch_web_flags(self._client, key, user),
                of=key.reveal(),
                version=snapshot.compiled.version,
            )
        except UpstreamError as error:
            return await self._instead(request, snapshot, error)
        self._count(given.outcome)
        return flags_answer(request, given.document.body)

    async def _instead(
        self, request: Request, snapshot: Snapshot, error: UpstreamError
    ) -> Response:
        # Without any flag a page would forget those that it remembers; an error lets it keep them.
        if not delivered_by_web(snapshot.compiled.flags):
            self._count("failed")
            return refusal(error)
        self._count("fallback")
        answer = self._local.answer(request, snapshot)
        return answer if answer.later is None else await answer.later()


@final
class Previews(_Admission):
    """Passes previews on: nothing is kept for longer than it takes to answer a burst."""

    def __init__(self, tools: Tools, client: UpstreamClient, copies: Copies) -> None:
        super().__init__(tools)
        self._client = client
        self._copies = copies
        self._count = counting(tools.metrics.web_answers, "previews")

    def configs(self, _request: Request, snapshot: Snapshot) -> Response:
        """Answer the flags and pages as they are edited at the moment."""
        return Response(later=partial(self._asked, snapshot))

    async def _asked(self, snapshot: Snapshot) -> Response:
        key = snapshot.deployment.key
        try:
            given = await self._copies.get(
                _name(key.reveal()),
                lambda _: fetch_previews(self._client, key),
                of=key.reveal(),
            )
        except UpstreamError as error:
            self._count("failed")
            return refusal(error)
        self._count(given.outcome)
        return Response(200, given.document.body, JSON, (NEVER_KEPT,))


def _name(*parts: str) -> bytes:
    """Return a hash by which questions are told apart; users stay in memory no longer than that."""
    lengths = ",".join(str(len(part)) for part in parts)
    return hashlib.blake2b("|".join((lengths, *parts)).encode(), digest_size=16).digest()
