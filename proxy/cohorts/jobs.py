"""What is said between the proxy and its building process."""

from __future__ import annotations

import msgspec


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """Make an index and a packed body of the file `body`, in `folder` (both are paths).

    `gzip` tells how the body came; `cohort_id` is the cohort it must be of. The file stays the
    caller's, to be removed and never written again: the packed body may be the same file.
    """

    body: str
    gzip: bool
    folder: str
    cohort_id: str


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """A job and the names that its files will have."""

    job: Job
    index: str
    packed: str


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a job is: bytes read of the file as it came, members found."""

    read_bytes: int
    members: int


class FileMade(msgspec.Struct, frozen=True, kw_only=True):
    """A file in the job's folder: its name, size in bytes and SHA-256 in hex."""

    name: str
    size: int
    sha256: str


class Built(msgspec.Struct, frozen=True, kw_only=True):
    """A cohort made of a body; `size` counts distinct members, `last_modified` milliseconds.

    `packed` is the whole body as gzip, with all five fields; `plain_bytes` is its text's length.
    """

    cohort_id: str
    group_type: str
    last_modified: int
    size: int
    index: FileMade
    packed: FileMade
    plain_bytes: int


class Trouble(msgspec.Struct, frozen=True, kw_only=True):
    """Why a job failed; `error` is "broken", "no room" or "died"."""

    error: str
    reason: str


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the building process: exactly one of these."""

    progress: Progress | None = None
    built: Built | None = None
    trouble: Trouble | None = None
