"""Remote evaluation: what Amplitude says of one user."""

from __future__ import annotations

import base64
from typing import Final

import msgspec

from proxy.errors import UpstreamRefused, UpstreamUnavailable
from proxy.evaluation.results import encode
from proxy.secret import Secret
from proxy.upstream.client import AGAIN, MAX_POST_ANSWER_BYTES, Answer, UpstreamClient, join

PATH: Final = "/sdk/v2/vardata"
LONGEST_IN_HEADER: Final = 4096
"""Users of so many bytes travel in a header: such an answer may come from a cache on the way."""


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """Which flags (none for all) to evaluate for a user, who is a JSON object as it came.

    `track` and `expose` are what the headers of that name are to say; empty leaves them out.
    """

    key: Secret
    user: bytes
    flag_keys: tuple[str, ...] = ()
    track: str = ""
    expose: str = ""


async def evaluate_remotely(client: UpstreamClient, question: Question) -> bytes:
    """Return the body of a 2xx answer, whatever it is; raise an `UpstreamError` else.

    What is longer than 1 MiB is such an error, or cut there.
    """
    url = join(client.urls.remote, PATH) + "?v=0"
    headers = _headers(question)
    if len(question.user) <= LONGEST_IN_HEADER:
        headers["X-Amp-Exp-User"] = _encoded(question.user)
        answer = await client.get(url, headers=headers, most_bytes=MAX_POST_ANSWER_BYTES)
    else:
        headers["Content-Type"] = "application/json"
        answer = await client.post(url, question.user, headers)
        _refuse_failure(client, answer)
    return answer.body


def _headers(question: Question) -> dict[str, str]:
    headers = {"Authorization": f"Api-Key {question.key.reveal()}"}
    if question.flag_keys:
        headers["X-Amp-Exp-Flag-Keys"] = _encoded(encode(list(question.flag_keys)))
    if question.track:
        headers["X-Amp-Exp-Track"] = question.track
    if question.expose:
        headers["X-Amp-Exp-Exposure-Track"] = question.expose
    return headers


def _encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _refuse_failure(client: UpstreamClient, answer: Answer) -> None:
    status = answer.status
    if 200 <= status <= 299:
        return
    kind = UpstreamUnavailable if status >= 500 or status in AGAIN else UpstreamRefused
    asked_for = client.retry_after(answer.headers)
    raise kind(f"answered {status}", status=status, retry_after=asked_for)
