"""The cohorts in use, by project; a cohort is put in force, and replaced, in one step."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import final

import msgspec

from proxy.cohorts.index import Index
from proxy.cohorts.names import digest
from proxy.evaluation.memberships import Memberships


class Cohort(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """One version of a cohort, never changed.

    `last_modified` is in milliseconds since 1970, `size` the number of distinct members,
    `packed` the gzip file for SDKs with its length and the length of its text in bytes.
    """

    cohort_id: str
    group_type: str
    last_modified: int
    size: int
    index: Index
    packed: Path
    packed_bytes: int
    plain_bytes: int


NO_COHORTS: Mapping[str, Cohort] = MappingProxyType({})


@final
class Shelf:
    """The cohorts of all projects; owned by one event loop, read without locks."""

    def __init__(self) -> None:
        # Never changed in place: who looks up keeps to the mapping that he found.
        self._projects: dict[int, Mapping[str, Cohort]] = {}

    def put(self, project_index: int, cohort: Cohort) -> None:
        """Put a cohort in force, in the place of its former version."""
        held = self._projects.get(project_index, NO_COHORTS)
        self._projects[project_index] = {**held, cohort.cohort_id: cohort}

    def drop(self, project_index: int, cohort_id: str) -> None:
        """Take a cohort away; one that is not here does not matter."""
        held = self._projects.get(project_index, NO_COHORTS)
        if cohort_id in held:
            kept = {name: cohort for name, cohort in held.items() if name != cohort_id}
            self._projects[project_index] = kept

    def get(self, project_index: int, cohort_id: str) -> Cohort | None:
        """Return the cohort in force, None when it is not here."""
        return self._projects.get(project_index, NO_COHORTS).get(cohort_id)

    def cohorts(self, project_index: int) -> list[Cohort]:
        """Return the project's cohorts, in the order in which they first came."""
        return list(self._projects.get(project_index, NO_COHORTS).values())

    def memberships(self, project_index: int, group_type: str, name: str) -> Memberships:
        """Return the memberships of a user (of type "User") or of a group, as things are now.

        The name is hashed at the first look-up, and once.
        """
        held = self._projects.get(project_index, NO_COHORTS)
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
