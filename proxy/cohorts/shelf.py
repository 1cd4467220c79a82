"""The cohorts in use, by project; a cohort is put in force, and replaced, in one step."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from types import MappingProxyType
from typing import Final, final

import msgspec

from proxy.cohorts.index import Index
from proxy.cohorts.names import digest
from proxy.evaluation.memberships import Memberships

CONTENTS: Final = 1 << 128


class Cohort(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """One version of a cohort, never changed.

    `last_modified` is in milliseconds since 1970, `size` the number of distinct members,
    `packed` the gzip file for SDKs with its length and the length of its text in bytes;
    `checksum` stands for the members, where it is known.
    """

    cohort_id: str
    group_type: str
    last_modified: int
    size: int
    index: Index
    packed: Path
    packed_bytes: int
    plain_bytes: int
    checksum: str = ""

    @property
    def content(self) -> int:
        """128 bits that stand for who is in it, the same in every process."""
        told = (self.cohort_id, self.group_type, self.last_modified, self.size, self.checksum)
        return int.from_bytes(blake2b(repr(told).encode(), digest_size=16).digest())


class Holding(msgspec.Struct, frozen=True, eq=False):
    """All cohorts of a project at one moment; `content` stands for who is in which of them.

    It is the same number in every process that holds the same versions.
    """

    cohorts: Mapping[str, Cohort] = MappingProxyType({})
    content: int = 0


NOTHING: Final = Holding()


@final
class Shelf:
    """The cohorts of all projects; owned by one event loop, read without locks.

    `changes` counts those of any cohort.
    """

    def __init__(self) -> None:
        self.changes = 0
        # Never changed in place: who looks up keeps to the one that he found.
        self._projects: dict[int, Holding] = {}

    def put(self, project_index: int, cohort: Cohort) -> None:
        """Put a cohort in force, in the place of its former version."""
        held = self.holding(project_index)
        before = held.cohorts.get(cohort.cohort_id)
        content = held.content - (before.content if before else 0) + cohort.content
        cohorts = {**held.cohorts, cohort.cohort_id: cohort}
        self.changes += 1
        self._projects[project_index] = Holding(cohorts, content % CONTENTS)

    def drop(self, project_index: int, cohort_id: str) -> None:
        """Take a cohort away; one that is not here does not matter."""
        held = self.holding(project_index)
        before = held.cohorts.get(cohort_id)
        if before is not None:
            kept = {name: cohort for name, cohort in held.cohorts.items() if name != cohort_id}
            content = (held.content - before.content) % CONTENTS
            self.changes += 1
            self._projects[project_index] = Holding(kept, content)

    def clear(self, project_index: int) -> None:
        """Take all cohorts of a project away."""
        if self._projects.pop(project_index, None) is not None:
            self.changes += 1

    def holding(self, project_index: int) -> Holding:
        """Return all cohorts of a project as they are now; another object after each change."""
        return self._projects.get(project_index, NOTHING)

    def get(self, project_index: int, cohort_id: str) -> Cohort | None:
        """Return the cohort in force, None when it is not here."""
        return self.holding(project_index).cohorts.get(cohort_id)

    def cohorts(self, project_index: int) -> list[Cohort]:
        """Return the project's cohorts, in the order in which they first came."""
        return list(self.holding(project_index).cohorts.values())

    def memberships(self, project_index: int, group_type: str, name: str) -> Memberships:
        """Return the memberships of a user (of type "User") or of a group, as things are now.

        The name is hashed at the first look-up, and once.
        """
        held = self.holding(project_index).cohorts
        hashed: bytes | None = None

        def holds(cohort_id: str) -> bool:
            nonlocal hashed
            cohort = held.get(cohort_id)
            if cohort is None or cohort.group_type != group_type:
                return False
            if hashed is None:
                hashed = digest(name)
            return cohort.index.holds(hashed)

        return Memberships(holds, held.keys)
