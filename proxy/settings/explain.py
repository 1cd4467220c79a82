"""The settings in force as a JSON-able value, fit to be shown."""

from __future__ import annotations

from typing import Any

import msgspec

from proxy.secret import Secret
from proxy.settings.schema import Settings

DERIVED = ("projects", "urls", "notices")


def explain(settings: Settings) -> dict[str, Any]:
    """Return the settings in force, named as in the file; of each secret only its short hash."""
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(settings, enc_hook=_label))
    derived = {name: plain.pop(name) for name in DERIVED}
    return {"configuration": plain, **derived}


def _label(value: Any) -> str:
    assert isinstance(value, Secret), "nothing else needs help"
    return value.label
