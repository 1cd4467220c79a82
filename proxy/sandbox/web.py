"""Web experiments as Amplitude serves them: flags for one user, the script, previews."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from proxy.evaluation.decode import decode_flag
from proxy.evaluation.delivery import delivered_by_web, for_web
from proxy.evaluation.model import Flag
from proxy.evaluation.partial import partially_evaluate
from proxy.evaluation.patterns.pattern import compile_pattern
from proxy.evaluation.users import parse_user
from proxy.sandbox.remote import decoded, enrich
from proxy.sandbox.world import World

NAME: Final = re.compile(r"([A-Za-z0-9_-]+)\.(experiment\.js|relay\.html)")
SCRIPT: Final = Path(__file__).with_name("experiment.js")
RELAY_PAGE: Final = (
    b"<!doctype html><title>relay</title><script>parent.postMessage('RELAY_READY', '*')</script>"
)


def web_flags(world: World, headers: Mapping[str, str]) -> bytes:
    """Return the web flags resolved with all that is known of a request's user.

    Raises ValueError when the user cannot be read.
    """
    encoded = headers.get("X-Amp-Exp-User")
    user = parse_user(decoded(encoded)) if encoded else {}
    enrich(user, world)
    flags = _delivered(world)
    resolved = partially_evaluate(flags, user, match=_matches)
    return msgspec.json.encode(resolved)


def previews(world: World) -> bytes:
    """Return what a preview shows: web flags as they are."""
    flags = [flag for flag in msgspec.json.decode(world.flags) if _is_web(flag)]
    return msgspec.json.encode({"flags": flags, "pageObjects": {}, "behavioralTargetingRules": {}})


def script(world: World, key: str, integration: str) -> bytes:
    """Return the script of a key: the flags without their rules, and what acts on them."""
    flags = [{**flag, "segments": []} for flag in msgspec.json.decode(world.flags) if _is_web(flag)]
    given = {"apiKey": key, "flags": flags, "integration": integration}
    # Inside a script no text may look like its end.
    written = msgspec.json.encode(given).replace(b"</", b"<\\/")
    return SCRIPT.read_bytes().replace(b"'{{GIVEN}}'", written)


def _delivered(world: World) -> dict[str, Flag]:
    raws = msgspec.json.decode(world.flags, type=list[msgspec.Raw])
    flags = {flag.key: flag for flag in map(decode_flag, map(bytes, raws))}
    return {key: for_web(flags[key], itself=own) for key, own in delivered_by_web(flags).items()}


def _is_web(flag: Mapping[str, Any]) -> bool:
    metadata: dict[str, Any] = flag.get("metadata") or {}
    return metadata.get("deliveryMethod") == "web"


def _matches(pattern: str, text: str) -> bool:
    return compile_pattern(pattern).matches(text)
