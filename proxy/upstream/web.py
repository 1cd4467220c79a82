"""What web experiments ask of Amplitude: flags for one user, the script of a page, previews."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import msgspec

from proxy.errors import UpstreamGarbled, UpstreamRefused
from proxy.secret import Secret
from proxy.upstream.client import Answer, UpstreamClient, join
from proxy.upstream.flags import PATH

PREVIEWS_PATH = "/web/v1/configs"
MOST_FLAG_BYTES = 4 * 1024 * 1024
MOST_SCRIPT_BYTES = 8 * 1024 * 1024
GONE = frozenset({404, 410})
LONGEST_HEADER = 512
LONGEST_AGE = 86_400

_KINDS = {
    "experiment.js": re.compile(r"(application|text)/(x-)?(java|ecma)script", re.IGNORECASE),
    "relay.html": re.compile(r"text/html", re.IGNORECASE),
}
_CHARSET = re.compile(r"; *charset=\"?[\w-]{1,20}\"?", re.IGNORECASE)
_MAX_AGE = re.compile(r"(?:^|[\s,])(s-maxage|max-age)=\"?([0-9]{1,9})", re.IGNORECASE)
_ETAG = re.compile(r"(?:W/)?\"[^\"]*\"")
_FLAGS = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])
_PREVIEWS = msgspec.json.Decoder(dict[str, msgspec.Raw])


class ScriptName(NamedTuple):
    """Which script: the key in its path, `experiment.js` or `relay.html`, and the integration."""

    key: str
    kind: str
    integration: str = ""


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """An answer to be passed on, with what upstream says of it; empty where it says nothing.

    `age` is how many seconds a cache on the way says that it held it.
    """

    status: int = 200
    body: bytes = b""
    content_type: str = ""
    cache_control: str = ""
    etag: str = ""
    age: int = 0

    @property
    def max_age(self) -> int | None:
        """How many seconds a shared cache may give it again; None when that is not said."""
        named = {name.lower(): int(age) for name, age in _MAX_AGE.findall(self.cache_control)}
        return named.get("s-maxage", named.get("max-age"))


class Given(NamedTuple):
    """A document, how many seconds ago upstream gave it, and how it was come by.

    That is `hit` (kept and fresh), `miss` (asked for) or `stale` (kept, for want of better).
    """

    document: Document
    seconds: float
    outcome: str


async def fetch_web_flags(client: UpstreamClient, key: Secret, user: str) -> Document:
    """Ask for the web flags as they are for a user, given as the header's text (empty: none).

    Raises an `UpstreamError`.
    """
    headers = _authorised(key) | ({"X-Amp-Exp-User": user} if user else {})
    answer = await client.get(
        join(client.urls.flags, PATH),
        headers=headers,
        query={"delivery_method": "web"},
        most_bytes=MOST_FLAG_BYTES,
    )
    _check(_FLAGS, answer, "an array of flag configs")
    return Document(body=answer.body)


async def fetch_previews(client: UpstreamClient, key: Secret) -> Document:
    """Ask for the flags and pages that a preview shows; raises an `UpstreamError`."""
    answer = await client.get(
        join(client.urls.remote, PREVIEWS_PATH),
        headers=_authorised(key),
        most_bytes=MOST_SCRIPT_BYTES,
    )
    _check(_PREVIEWS, answer, "a JSON object")
    return Document(body=answer.body)


async def fetch_script(
    client: UpstreamClient, name: ScriptName, held: Document | None = None
) -> Document:
    """Ask for a script, or whether it is still what is `held`; it may be that there is none.

    Raises an `UpstreamError`; a body that is of another kind, or empty, is one.
    """
    conditions = {"If-None-Match": held.etag} if held is not None and held.etag else {}
    query = {"integration": name.integration} if name.integration else None
    url = join(client.urls.scripts, f"/script/{name.key}.{name.kind}")
    try:
        answer = await client.get(
            url, headers=conditions, query=query, most_bytes=MOST_SCRIPT_BYTES
        )
    except UpstreamRefused as refused:
        if refused.status in GONE:
            return Document(status=refused.status)
        raise
    etag = _header(answer, "ETag")
    told = Document(
        body=answer.body,
        content_type=_content_type(answer, name.kind),
        cache_control=_header(answer, "Cache-Control"),
        etag=etag if _ETAG.fullmatch(etag) else "",
        age=_age(answer),
    )
    if answer.status == 304 and held is not None:
        changes = {"age": told.age, "cache_control": told.cache_control or held.cache_control}
        return msgspec.structs.replace(held, **changes)
    if answer.status != 200 or not told.content_type or not answer.body.strip():
        raise UpstreamGarbled(f"the answer is not {name.kind}")
    return told


def _authorised(key: Secret) -> dict[str, str]:
    return {"Authorization": f"Api-Key {key.reveal()}"}


def _check(decoder: msgspec.json.Decoder[Any], answer: Answer, expected: str) -> None:
    try:
        decoder.decode(answer.body)
    except (ValueError, RecursionError):
        raise UpstreamGarbled(f"the answer is not {expected}") from None


def _header(answer: Answer, name: str) -> str:
    """Return a header that may be passed on; empty when there is none or it is odd."""
    told = answer.headers.get(name, "").strip()
    return told if len(told) <= LONGEST_HEADER and told.isascii() and told.isprintable() else ""


def _content_type(answer: Answer, kind: str) -> str:
    """Return the content type if it is one of the expected kind; empty when it is another."""
    told = _header(answer, "Content-Type")
    name, mark, rest = told.partition(";")
    fits = _KINDS[kind].fullmatch(name.strip()) and (not rest or _CHARSET.fullmatch(mark + rest))
    return told if fits else ""


def _age(answer: Answer) -> int:
    told = answer.headers.get("Age", "")
    return (
        min(int(told), LONGEST_AGE) if told.isascii() and told.isdigit() and len(told) < 10 else 0
    )
