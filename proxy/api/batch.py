"""Remote evaluation of many users by one request: `/sdk/v2/vardata/batch`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from functools import partial
from time import perf_counter
from typing import Any, Final, final

import msgspec

from proxy.api.features import Offer, Tools
from proxy.api.long_bodies import MOST_HELD_BYTES, LongBodies
from proxy.api.messages import Outflow, Request, Response, failure, refuse
from proxy.api.requests import flag_keys, user_from_body
from proxy.api.routes import Route
from proxy.errors import BadRequest
from proxy.evaluation.outcomes import answer
from proxy.evaluation.results import encode
from proxy.evaluation.users import parse_json
from proxy.snapshots.snapshot import Snapshot

PATH: Final = "/sdk/v2/vardata/batch"
NOT_FOR_THIS_KEY: Final = failure(403, "Client deployment keys may not ask for batches")
NO_ARRAY: Final = "The body is not a JSON array of users"
LARGEST_INLINE: Final = 65_536
"""Longer bodies are taken apart in a thread, so that nobody else waits."""
PARTS_PER_USER: Final = 300
"""On average; a few megabytes hold millions of values, which take a second to read."""
SLICE_SECONDS: Final = 0.001

_ARRAY = msgspec.json.Decoder(list[msgspec.Raw])


def batch(tools: Tools, most_held: int = MOST_HELD_BYTES) -> Offer:
    """Offer the evaluation of many users at once; all batches hold at most so many bytes."""

    def admit(headers: Mapping[str, str]) -> Snapshot | Response:
        admitted = tools.gate.admit(headers)
        # Everybody can read such a key on a web page, and a batch counts as one request.
        if isinstance(admitted, Snapshot) and admitted.deployment.type == "client":
            return NOT_FOR_THIS_KEY
        return admitted

    in_force = tools.in_force
    bodies = LongBodies(lambda: in_force.limits.max_batch_bytes, most_held, tools.metrics.rejected)
    handlers = {"POST": Batch(tools).evaluate}
    route = Route(PATH, guarded=handlers, browsers=False, admit=admit, waits=bodies.to)
    return Offer({PATH: route})


def split(body: bytes, most_users: int) -> list[msgspec.Raw]:
    """Return the JSON of each user; 400 when it is not an array, 413 when there are too many."""
    parts = body.count(b",") + body.count(b"[") + body.count(b"{")
    if parts > most_users * PARTS_PER_USER:
        refuse("Too many values in JSON", 413)
    try:
        users = _ARRAY.decode(body)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        users = _split_slowly(body)
    if len(users) > most_users:
        refuse(f"More than {most_users} users", 413)
    return users


def _split_slowly(body: bytes) -> list[msgspec.Raw]:
    """Do the same with what the fast decoder refuses, if it is JSON at all."""
    try:
        users: Any = parse_json(body)
    except ValueError:
        refuse(NO_ARRAY)
    if not isinstance(users, list):
        refuse(NO_ARRAY)
    return [msgspec.Raw(encode(user)) for user in users]


@final
class Batch:
    """Evaluates users one by one, a millisecond at a time, so that whoever asks else goes between.

    An element of the answer is what the user alone would be answered, an error too.
    """

    def __init__(self, tools: Tools) -> None:
        self._evaluator = tools.evaluator
        self._in_force = tools.in_force
        self._bad_request = tools.metrics.rejected.labels("bad_request")
        self._turn = asyncio.Lock()
        self._splitting = asyncio.Lock()

    def evaluate(self, request: Request, snapshot: Snapshot) -> Response:
        """Evaluate the users that the body lists; the answer has an element for each, in order."""
        keys = flag_keys(request.headers, request.query, self._in_force.limits.max_flag_keys)
        return Response(later=partial(self._begin, request, snapshot, keys))

    async def _begin(self, request: Request, snapshot: Snapshot, keys: list[str]) -> Response:
        most = self._in_force.limits.max_batch_users
        if len(request.body) > LARGEST_INLINE:
            # One at a time: each thread keeps the event loop waiting for the interpreter.
            async with self._splitting:
                users = await asyncio.to_thread(split, request.body, most)
        else:
            users = split(request.body, most)
        answered = (self._answer(request, snapshot, bytes(user), keys) for user in users)
        return Response(200, stream=partial(self._pour, answered))

    async def _pour(self, answered: Iterator[bytes], outflow: Outflow) -> None:
        before = b"["
        while True:
            # One slice at a time, however many batches there are.
            async with self._turn:
                part = b",".join(_slice(answered))
            if not part:
                break
            await outflow.write(before + part)
            before = b","
            await asyncio.sleep(0)
        await outflow.write(b"]" if before == b"," else b"[]")

    def _answer(self, request: Request, snapshot: Snapshot, text: bytes, keys: list[str]) -> bytes:
        try:
            user = user_from_body(text, self._in_force.limits.max_json_depth)
        except BadRequest as mistake:
            self._bad_request.inc()
            return failure(mistake.status, mistake.reason).body
        outcomes, body = self._evaluator.evaluate(snapshot, user, keys, answer)
        self._evaluator.report(request.headers, snapshot, user, outcomes, keys)
        return body


def _slice(answered: Iterator[bytes]) -> Iterator[bytes]:
    """Give answers for a moment, one at least."""
    until = perf_counter() + SLICE_SECONDS
    for one in answered:
        yield one
        if perf_counter() >= until:
            break
