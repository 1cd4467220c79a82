"""Versions as the reference engine reads and orders them: nearly semantic versions."""

from __future__ import annotations

import re
from typing import NamedTuple

_INT_MAX = 2_147_483_647
_VERSION = re.compile(
    r"([0-9]++)\.([0-9]++)"
    r"(?:\.([0-9]++)"
    r"(?:-([0-9A-Za-z-]++(?:\.[0-9A-Za-z-]++)*+))?+"
    r"(?:\+[0-9A-Za-z-]++(?:\.[0-9A-Za-z-]++)*+)?+)?+"
)
_PADDED_NUMBER = re.compile(r"(?:\A|\.)0[0-9]++(?=\.|\Z)")


class Version(NamedTuple):
    """A version whose tuple order is the order of versions; a prerelease is below its release."""

    major: int
    minor: int
    patch: int
    released: bool
    prerelease: str


def parse_version(text: str) -> Version | None:
    """Read `major.minor[.patch[-prerelease][+build]]`; None when the whole text is not that."""
    found = _VERSION.fullmatch(text)
    if found is None:
        return None
    prerelease = found[4]
    if prerelease is not None and _PADDED_NUMBER.search(prerelease):
        return None
    major, minor = _number(found[1]), _number(found[2])
    if major is None or minor is None:
        return None
    patch = _number(found[3] or "0") or 0
    return Version(major, minor, patch, prerelease is None, prerelease or "")


def _number(digits: str) -> int | None:
    """Read a 32-bit number; None when it is larger."""
    significant = digits.lstrip("0")
    if len(significant) > 10:
        return None
    number = int(significant or "0")
    return number if number <= _INT_MAX else None
