"""`probe`: asks a running proxy how it is, for containers that hold no other HTTP client."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from proxy.cli.asking import NOBODY, NoAnswer, ask, checked, own_base, secret_of
from proxy.cli.terminal import harmless

if TYPE_CHECKING:
    from proxy.settings.schema import OperatorsPort


def own_url(port: OperatorsPort, *, only_live: bool) -> str:
    """Return where the proxy of these settings, on this machine, says how it is."""
    return f"{own_base(port)}/{'livez' if only_live else 'readyz'}"


def probe(
    url: str, seconds: float, key_file: str | None = None, login: Mapping[str, str] = NOBODY
) -> tuple[bool, str]:
    """Ask a URL once; return whether it answered 200, and what there is to say.

    With `key_file`, the deployment key in it is sent and the answer must be variants: a JSON object
    that is not empty. Raises InputMistake for a URL or a file that cannot be used.
    """
    key = None if key_file is None else secret_of(key_file, "key")
    headers = login if key is None else {"Authorization": f"Api-Key {key}"}
    try:
        status, body = ask(checked(url), seconds, headers)
    except NoAnswer as reason:
        return False, f"no answer: {reason}"
    if status != 200:
        return False, f"answered {status}: {_line(body)}"
    if key_file is None:
        return True, "ok"
    variants = _variants(body)
    return bool(variants), f"ok, {len(variants)} variants" if variants else "answered no variants"


def _variants(body: bytes) -> dict[str, object]:
    try:
        return msgspec.json.decode(body, type=dict[str, object])
    except (msgspec.MsgspecError, RecursionError):
        return {}


def _line(body: bytes) -> str:
    return harmless(" ".join(body.decode(errors="replace").split())[:500])
