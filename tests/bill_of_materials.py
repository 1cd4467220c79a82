"""Prints the bill of materials of an image: the locked dependencies, in CycloneDX's JSON."""

import json
import re
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import Any

from packaging.markers import Marker

import proxy

LOCK = Path(__file__).parent.parent / "requirements.lock"
PINNED = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)(?:\s*;\s*([^\\\n]+?))?\s*\\?$")
HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
LINUX = {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix"}


def pinned(lock: str) -> list[tuple[str, str, list[str]]]:
    """Return name, version and the hashes of every artifact, of what Linux installs."""
    found: list[tuple[str, str, list[str]]] = []
    wanted = False
    for line in lock.splitlines():
        if pin := PINNED.match(line):
            wanted = pin[3] is None or Marker(pin[3]).evaluate(LINUX)
            if wanted:
                found.append((pin[1], pin[2], []))
        elif wanted:
            found[-1][2].extend(HASH.findall(line))
    return found


def licence_of(name: str) -> str | None:
    """Return what an installed package says of its licence in one line, None if nothing."""
    try:
        about = metadata(name)
    except PackageNotFoundError:
        return None
    fields = [field for field in ("License-Expression", "License") if field in about]
    said = about[fields[0]] if fields else ""
    return said.strip() if 0 < len(said.strip()) <= 80 else None


def component(name: str, version: str, hashes: list[str]) -> dict[str, Any]:
    url = f"pkg:pypi/{name}@{version}"
    licence = licence_of(name)
    # One package has several artifacts, each with its hash: they stand as a property.
    return {
        "type": "library",
        "bom-ref": url,
        "name": name,
        "version": version,
        "purl": url,
        **({"licenses": [{"license": {"name": licence}}]} if licence else {}),
        "properties": [{"name": "artifact:sha256", "value": each} for each in hashes],
    }


def bill(lock: str) -> dict[str, Any]:
    """Return the bill: the proxy, and what it is locked to."""
    parts = [component(*each) for each in pinned(lock)]
    own = f"pkg:pypi/evaluation-proxy@{proxy.__version__}"
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": own,
                "name": "evaluation-proxy",
                "version": proxy.__version__,
                "licenses": [{"license": {"id": "Apache-2.0"}}],
            }
        },
        "components": parts,
        "dependencies": [{"ref": own, "dependsOn": [part["bom-ref"] for part in parts]}],
    }


if __name__ == "__main__":
    print(json.dumps(bill(LOCK.read_text()), indent=2))
