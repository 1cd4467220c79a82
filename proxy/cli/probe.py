"""`probe`: asks a running proxy how it is, for containers that hold no other HTTP client."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.error import HTTPError, URLError
from urllib.request import OpenerDirector, ProxyHandler, Request, build_opener

import msgspec

from proxy.cli.evaluate import InputMistake

if TYPE_CHECKING:
    from proxy.settings.schema import Settings

ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  compared with, not listened on
MOST_BYTES = 1_048_576


def own_url(settings: Settings, *, only_live: bool) -> str:
    """Return where the proxy of these settings, on this machine, says how it is."""
    host = ANY_ADDRESS.get(settings.metrics.host, settings.metrics.host)
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{settings.metrics.port}/{'livez' if only_live else 'readyz'}"


def probe(url: str, seconds: float, key_file: str | None = None) -> tuple[bool, str]:
    """Ask a URL once; return whether it answered 200, and what there is to say.

    With `key_file`, the deployment key in it is sent and the answer must be variants: a JSON object
    that is not empty. Raises InputMistake for a URL or a file that cannot be used.
    """
    headers = {} if key_file is None else {"Authorization": f"Api-Key {_key(key_file)}"}
    if not url.startswith(("http://", "https://")):
        raise InputMistake("expected a URL that begins with http:// or https://")
    try:
        status, body = _ask(_direct(), Request(url, headers=headers), seconds)  # noqa: S310  checked
    except (URLError, OSError, ValueError) as error:
        return False, f"no answer: {getattr(error, 'reason', None) or type(error).__name__}"
    if status != 200:
        return False, f"answered {status}: {_line(body)}"
    if key_file is None:
        return True, "ok"
    variants = _variants(body)
    return bool(variants), f"ok, {len(variants)} variants" if variants else "answered no variants"


def _direct() -> OpenerDirector:
    """Return a client that no environment variable sends elsewhere."""
    return build_opener(ProxyHandler({}))


def _ask(client: OpenerDirector, request: Request, seconds: float) -> tuple[int, bytes]:
    try:
        with client.open(request, timeout=seconds) as answer:
            return answer.status, answer.read(MOST_BYTES)
    except HTTPError as refusal:
        with refusal:
            return refusal.code, refusal.read(MOST_BYTES)


def _key(name: str) -> str:
    try:
        key = Path(name).read_text(encoding="ascii").strip()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a key"
        raise InputMistake(f"the key file cannot be used: {reason}") from None
    if not key or not key.isprintable() or " " in key:
        raise InputMistake("the key file cannot be used: not a key")
    return key


def _variants(body: bytes) -> dict[str, object]:
    try:
        return msgspec.json.decode(body, type=dict[str, object])
    except (msgspec.MsgspecError, RecursionError):
        return {}


def _line(body: bytes) -> str:
    return " ".join(body.decode(errors="replace").split())[:500]
