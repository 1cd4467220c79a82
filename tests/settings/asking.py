"""Ways to ask for settings, and to see what is wrong with them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from proxy.errors import SettingsError
from proxy.settings.load import load
from proxy.settings.schema import Settings

NOWHERE = "/nonexistent/evaluation-proxy-config.yaml"
KEYS = {
    "AMPLITUDE_API_KEY": "api-key-1",
    "AMPLITUDE_SECRET_KEY": "secret-key-1",
    "AMPLITUDE_EXPERIMENT_MANAGEMENT_API_KEY": "management-key-1",
}
PROJECT = """\
projects:
  - apiKey: api-key-1
    secretKey: secret-key-1
    managementKey: management-key-1
"""


def loaded(environ: Mapping[str, str], path: Path | None = None) -> Settings:
    """Load without ever reading the real default path."""
    return load(environ, str(path) if path else None, default_path=NOWHERE)


def mistakes_of(environ: Mapping[str, str], path: Path | None = None) -> list[str]:
    with pytest.raises(SettingsError) as refused:
        loaded(environ, path)
    return refused.value.mistakes


def configured(folder: Path, lines: str) -> Path:
    """Write a file with one project and the given lines under `configuration:`."""
    indented = "".join(f"  {line}\n" for line in lines.splitlines())
    return written(folder, f"{PROJECT}configuration:\n{indented}")


def written(folder: Path, text: str, name: str = "proxy.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def value_at(settings: Any, attributes: str) -> Any:
    for name in attributes.split("."):
        settings = getattr(settings, name)
    return settings
