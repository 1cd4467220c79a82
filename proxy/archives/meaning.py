"""What the records of an archive mean: only what could be put in force is let in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from proxy.archives.facts import Fact
from proxy.archives.refusals import UNUSABLE
from proxy.cohorts.index import Index
from proxy.errors import ArchiveError, IndexBroken
from proxy.evaluation.deployment import compile_deployment
from proxy.store.records import Key, Record
from proxy.sync.cohort_records import INDEX, KIND, PACKED
from proxy.sync.cohort_records import Kept as KeptCohort
from proxy.sync.content import is_empty
from proxy.sync.kept import BODY, FLAGS, FlagsMeta
from proxy.sync.kept_archive import confirmed_at

ROLES: Final[Mapping[str, frozenset[str]]] = {
    FLAGS: frozenset({BODY}),
    KIND: frozenset({INDEX, PACKED}),
}
"""What a record of each kind must hold."""
LARGEST_BODY: Final = 1 << 28
_HASH: Final = re.compile("[0-9a-f]{12}")


def as_of(records: Mapping[Key, Record]) -> float:
    """Return when upstream last confirmed something of what a data directory holds."""
    ours = (one for (kind, _), one in records.items() if kind in ROLES)
    return max(map(confirmed_at, ours), default=0.0)


def check_shape(fact: Fact) -> None:
    """Return if a record is one that this version keeps; raise `ArchiveError` if not."""
    if fact.files.keys() != ROLES[fact.kind]:
        raise _unusable(fact, "has other files than such a record has")
    try:
        if fact.kind == FLAGS:
            msgspec.json.decode(fact.meta, type=FlagsMeta)
            named = _HASH.fullmatch(fact.id) is not None
            named &= fact.files[BODY].plain_size <= LARGEST_BODY
        else:
            kept = msgspec.json.decode(fact.meta, type=KeptCohort)
            named = fact.id == f"{kept.project}/{kept.cohort_id}"
    except (ValueError, RecursionError):
        named = False
    if not named:
        raise _unusable(fact, "is described as no such record is")


def check_content(fact: Fact, paths: Mapping[str, Path]) -> int:
    """Return how many flags cannot be used; raise `ArchiveError` when a record is of no use."""
    if fact.kind == FLAGS:
        return _check_flags(fact, paths[BODY])
    try:
        index = Index.open(paths[INDEX])
    except IndexBroken as broken:
        raise _unusable(fact, str(broken)) from None
    count = index.count
    index.close()
    if count != msgspec.json.decode(fact.meta, type=KeptCohort).size:
        raise _unusable(fact, "has another number of members than it says")
    return 0


def _check_flags(fact: Fact, path: Path) -> int:
    body = path.read_bytes()
    try:
        compiled = compile_deployment(body)
    except ValueError:
        raise _unusable(fact, "is no JSON array") from None
    if not compiled.flags and not is_empty(body):
        raise _unusable(fact, "holds no flag that can be used")
    return len(compiled.problems)


def _unusable(fact: Fact, why: str) -> ArchiveError:
    return ArchiveError(UNUSABLE, f"{fact.kind} {fact.id[:80]!r} {why}")
