"""Why an archive is refused: a closed set of words, and a sentence each time."""

from __future__ import annotations

from typing import Final

DAMAGED: Final = "damaged"
UNKNOWN_SIGNER: Final = "unknown_signer"
BAD_SIGNATURE: Final = "bad_signature"
NEWER_FORMAT: Final = "newer_format"
TOO_LARGE: Final = "too_large"
OLDER: Final = "older"
EMPTY: Final = "empty"
UNUSABLE: Final = "unusable"
NO_ROOM: Final = "no_room"
UNREADABLE: Final = "unreadable"
REASONS: Final = (
    DAMAGED,
    UNKNOWN_SIGNER,
    BAD_SIGNATURE,
    NEWER_FORMAT,
    TOO_LARGE,
    OLDER,
    EMPTY,
    UNUSABLE,
    NO_ROOM,
    UNREADABLE,
)
"""Not what was written; signed by a key that is not trusted, or not by it; of a format to come;
more than may be unpacked; older than what is there; holds nothing; says what makes no sense; cannot
be written; cannot be read."""
