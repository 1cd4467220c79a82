"""Whole cohorts, for SDKs that evaluate by themselves: `/sdk/v1/cohort/{cohortId}`."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec

from proxy.api.editions import Holdings
from proxy.api.messages import JSON, TEXT, Request, Response, StoredBody, unavailable
from proxy.api.requests import decoded, query_fields
from proxy.api.settling import MembershipsOf, no_memberships

if TYPE_CHECKING:
    from prometheus_client import Counter

    from proxy.api.credentials import ProjectGate
    from proxy.cohorts.shelf import Cohort

FindCohort = Callable[[int, str], "Cohort | Literal['loading', 'unknown']"]
"""Find a project's cohort by project index and cohort id.

`loading` as long as it may still come: it is targeted and not here, or nobody knows yet what is
targeted. `unknown` is final for the SDK that asks: nobody targets it, or upstream knows none.
"""

OnDamaged = Callable[[int, "Cohort"], None]
"""Hears which cohort of a project, by its index, cannot be sent as it lies on the disk."""

DEFAULT_MOST_MEMBERS = 2**31 - 1
WHOLE_NUMBER = re.compile(r"[+-]?[0-9]{1,19}", re.ASCII)
LEAVES_ANSWERS_UNREAD = "experiment-python-server"

UNKNOWN = Response(404, b"Cohort not found", TEXT)
TOO_LARGE = Response(413, b"Cohort larger than maxCohortSize", TEXT)
UNCHANGED = Response(204)


def no_cohort(_project_index: int, _cohort_id: str) -> Literal["unknown"]:
    """Know of no cohort."""
    return "unknown"


def take_no_note(_project_index: int, _cohort: Cohort) -> None:
    """Do nothing about a damaged cohort."""


class Library(NamedTuple):
    """Where cohorts and their members are found, and who hears of those that are damaged.

    Without `holdings`, no answer that may depend on cohorts is kept.
    """

    find: FindCohort = no_cohort
    on_damaged: OnDamaged = take_no_note
    memberships_of: MembershipsOf = no_memberships
    holdings: Holdings | None = None


NO_LIBRARY = Library()


class Cohorts:
    """Serves the cohorts of a project as they lie on disk; never reads one itself."""

    def __init__(self, gate: ProjectGate, library: Library, rejected: Counter) -> None:
        self._admit = gate.admit
        self._find = library.find
        self._on_damaged = library.on_damaged
        self._pending = rejected.labels("pending")

    def download(self, request: Request) -> Response:
        """Answer the cohort, 204 to the holder of this very version, 413 if it is too large."""
        answer = self._answer(request)
        library = request.headers.get("x-amp-exp-library", "").strip().lower()
        if library.partition("/")[0] != LEAVES_ANSWERS_UNREAD:
            return answer
        # This SDK lends the connection to its next thread before the answer is read: what that
        # thread sends fails, and ends the download of the first.
        return msgspec.structs.replace(answer, closes=True)

    def _answer(self, request: Request) -> Response:
        project_index = self._admit(request.headers)
        if isinstance(project_index, Response):
            return project_index
        cohort = self._found(project_index, decoded(request.rest))
        if isinstance(cohort, Response):
            return cohort
        fields = query_fields(request.query)
        most_members = whole_number(fields.get("maxCohortSize", ""))
        if cohort.size > (DEFAULT_MOST_MEMBERS if most_members is None else most_members):
            return TOO_LARGE
        # A client that holds a newer version gets this one: it may have been to another proxy.
        if whole_number(fields.get("lastModified", "")) == cohort.last_modified:
            return UNCHANGED
        stored = StoredBody(
            cohort.packed,
            cohort.packed_bytes,
            cohort.plain_bytes,
            f"cohort {cohort.cohort_id}",
            partial(self._on_damaged, project_index, cohort),
        )
        return Response(200, b"", JSON, stored=stored)

    def _found(self, project_index: int, cohort_id: str) -> Cohort | Response:
        cohort = self._find(project_index, cohort_id) if cohort_id else UNKNOWN
        if cohort == "loading":
            self._pending.inc()
            return unavailable("This cohort is not here yet")
        return UNKNOWN if cohort == "unknown" else cohort


def whole_number(text: str) -> int | None:
    """Return the number that `text` is, None if it is none or too long to be meant."""
    return int(text) if WHOLE_NUMBER.fullmatch(text) else None
