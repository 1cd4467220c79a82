"""The hash under which members are known."""

from __future__ import annotations

import mmh3

DIGEST_BYTES = 16
digest_of_bytes = mmh3.mmh3_x64_128_digest


def digest(name: str) -> bytes:
    """Return the 16-byte digest of a user id or group name, whatever characters it holds."""
    return digest_of_bytes(name.encode("utf-8", "surrogatepass"))
