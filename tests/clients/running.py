"""What drives the official SDKs, and what they answer, in a form that can be compared."""

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
Variants = dict[str, dict[str, Any]]
"""Flag key to what a client holds of its variant."""


def skip_for_lack_of(tool: str) -> None:
    """Skip by name; where everything should be installed, fail."""
    assert not os.environ.get("CI"), f"needs {tool}"
    pytest.skip(f"needs {tool}")


def basic(user: str, password: str) -> str:
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


def need_node() -> None:
    if shutil.which("node") is None:
        skip_for_lack_of("node")
    if not (HERE / "node_modules").is_dir():
        skip_for_lack_of("node modules (make clients)")


def run(command: Sequence[str], job: Any) -> bytes:
    """Run a program in this folder with the job as JSON at its standard input."""
    done = subprocess.run(
        command,
        input=job if isinstance(job, bytes) else json.dumps(job).encode(),
        capture_output=True,
        cwd=HERE,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    return done.stdout


def held(variants: Variants) -> Variants:
    """Keep of each variant what the engine gives; leave out what is null."""
    fields = ("key", "value", "payload", "metadata")
    return {
        key: {field: variant[field] for field in fields if variant.get(field) is not None}
        for key, variant in variants.items()
    }


def of_python(variants: dict[str, Any]) -> Variants:
    return held({key: vars(variant) for key, variant in variants.items()})


def differences(
    users: list[dict[str, Any]], found: list[Variants], expected: list[Variants]
) -> dict[str, list[Any]]:
    """Flag key to the users who have another variant of it than expected."""
    assert len(found) == len(expected) == len(users)
    different: dict[str, list[Any]] = {}
    for user, ours, theirs in zip(users, found, expected, strict=True):
        for key in ours.keys() | theirs.keys():
            if ours.get(key) != theirs.get(key):
                different.setdefault(key, []).append(user)
    return different
