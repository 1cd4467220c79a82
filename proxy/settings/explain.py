"""The settings in force as a JSON-able value, fit to be shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from proxy.secret import Secret
from proxy.settings.schema import Settings

DERIVED = ("projects", "urls", "notices")


def _label(secret: Secret) -> str:
    return secret.label


def explain(settings: Settings, of: Callable[[Secret], str] = _label) -> dict[str, Any]:
    """Return the settings in force, named as in the file; of each secret what `of` tells."""

    def tell(value: Any) -> str:
        assert isinstance(value, Secret), "nothing else needs help"
        return of(value)

    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(settings, enc_hook=tell))
    derived = {name: plain.pop(name) for name in DERIVED}
    return {"configuration": plain, **derived}
