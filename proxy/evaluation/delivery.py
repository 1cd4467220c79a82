"""Which flags a web page is given, and in what form."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec.structs import replace

from proxy.evaluation.model import Flag, Variant

LOCAL = msgspec.Raw(b'"local"')


def delivered_by_web(flags: Mapping[str, Flag]) -> dict[str, bool]:
    """Return the keys of the flags that the web delivers, and of all that these depend on.

    They come in the flags' order, with whether the web delivers the flag itself.
    """
    wanted = {key for key, flag in flags.items() if is_for_web(flag)}
    needed = set(wanted)
    open_keys = list(wanted)
    while open_keys:
        for key in flags[open_keys.pop()].dependencies:
            if key in flags and key not in needed:
                needed.add(key)
                open_keys.append(key)
    return {key: key in wanted for key in flags if key in needed}


def is_for_web(flag: Flag) -> bool:
    """Tell whether a flag's metadata says that the web delivers it."""
    method = bytes(flag.metadata.get("deliveryMethod", b""))
    return method[:1] == b'"' and msgspec.json.decode(method) == "web"


def for_web(flag: Flag, *, itself: bool) -> Flag:
    """Return a flag as a page evaluates it: marked for local evaluation, or the page ignores it.

    One that the web does not deliver itself is there for its results only, and so is given
    without payloads, which no condition can see.
    """
    variants = flag.variants
    if not itself:
        variants = {key: _bare(variant) for key, variant in variants.items()}
    return replace(flag, variants=variants, metadata={**flag.metadata, "evaluationMode": LOCAL})


def _bare(variant: Variant) -> Variant:
    return replace(variant, payload=None)
