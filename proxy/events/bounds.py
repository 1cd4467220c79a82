"""How long events may wait, and how many."""

from __future__ import annotations

import msgspec


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """How long a commit waits for company, and the most that waits.

    `max_memory` is a project's share of memory while there is no disk, `max_kept` what stays there
    of what is on disk, so that it need not be read again.
    """

    commit_seconds: float = 0.05
    max_bytes: int = 1 << 30
    max_age_seconds: float = 72 * 3600.0
    max_memory: int = 64 * 1_048_576
    max_kept: int = 8 * 1_048_576
