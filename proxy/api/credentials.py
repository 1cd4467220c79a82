"""Whom a request speaks for, a deployment or a project, and what it hears when for nobody."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING

from proxy.api.complaints import Complaints
from proxy.api.messages import TEXT, Response, unavailable
from proxy.api.requests import decode_base64
from proxy.secret import Secret

if TYPE_CHECKING:
    from prometheus_client import Counter

    from proxy.settings.schema import Project
    from proxy.snapshots.board import Board
    from proxy.snapshots.snapshot import Snapshot
    from proxy.tasks import Clock

API_KEY, BASIC, BEARER = "api-key", "basic", "bearer"
INVALID = Response(401, b"Invalid deployment", TEXT)
INVALID_PROJECT = Response(401, b"Invalid api or secret key", TEXT)


def credentials(headers: Mapping[str, str], scheme: str) -> str:
    """Return what follows `scheme` in `Authorization`; empty when it is another or none."""
    given, _, rest = headers.get("authorization", "").strip().partition(" ")
    return rest.strip() if given.lower() == scheme else ""


def deployment_key(headers: Mapping[str, str]) -> str:
    """Return the key of `Authorization: Api-Key <key>`; empty when there is none."""
    return credentials(headers, API_KEY)


def openfeature_key(headers: Mapping[str, str]) -> str:
    """Return the key as OpenFeature's providers give it: as a bearer's, or in `X-API-Key`."""
    return credentials(headers, BEARER) or headers.get("x-api-key", "").strip()


def any_key(headers: Mapping[str, str]) -> str:
    """Return the key of the deployment that a request speaks for; empty when it names none.

    What the SDKs send comes first; all else in `Authorization` leaves `X-API-Key` to say it.
    """
    return deployment_key(headers) or openfeature_key(headers)


def project_keys(headers: Mapping[str, str]) -> tuple[str, str]:
    """Return api key and secret key of `Authorization: Basic <base64>`; empty when it is broken.

    The first colon divides them; a secret key may hold more of them.
    """
    try:
        text = decode_base64(credentials(headers, BASIC)).decode()
    except ValueError:
        return "", ""
    api_key, _, secret_key = text.partition(":")
    return api_key, secret_key


class Gate:
    """Lets in requests that carry a deployment's key, with the snapshot they are answered from."""

    def __init__(
        self,
        board: Board,
        *,
        rejected: Counter,
        clock: Clock,
    ) -> None:
        self._board = board
        self._unknown = rejected.labels("unknown_deployment")
        self._pending = rejected.labels("pending")
        self._complaints = Complaints("unknown deployment key refused", clock)

    def admit(self, headers: Mapping[str, str]) -> Snapshot | Response:
        """Return the snapshot in force, or why there is none: 401 unknown, 503 not synced yet."""
        key = any_key(headers)
        slot = self._board.find(key)
        if slot is not None:
            if slot.snapshot is not None:
                return slot.snapshot
            self._pending.inc()
            return unavailable("The flags of this deployment are not here yet")
        if key and self._board.pending:
            # It may well be a key that upstream would have listed: 401 would be final for an SDK.
            self._pending.inc()
            return unavailable("The deployments are not known yet")
        self._unknown.inc()
        self._complaints.tell(key=Secret(key).label if key else "none")
        return INVALID


class ProjectGate:
    """Lets in requests that carry both keys of a project."""

    def __init__(self, *, rejected: Counter, clock: Clock) -> None:
        self._known: dict[Secret, tuple[int | None, Secret]] = {}
        # An unknown api key is compared too, so that it takes no less time than a wrong secret.
        self._nobody = (None, Secret(secrets.token_hex(16)))
        self._unknown = rejected.labels("unknown_project")
        self._complaints = Complaints("unknown api or secret key refused", clock)

    def know(self, projects: Mapping[int, Project]) -> None:
        """Know the projects in force from now on, each by its index."""
        self._known = {}
        for index, project in projects.items():
            self._known.setdefault(project.api_key, (index, project.secret_key))

    def admit(self, headers: Mapping[str, str]) -> int | Response:
        """Return the project's index, or the 401 that tells nothing of what was wrong."""
        api_key, secret_key = project_keys(headers)
        index, secret = self._known.get(Secret(api_key), self._nobody)
        if secret.matches(secret_key) and index is not None:
            return index
        self._unknown.inc()
        self._complaints.tell(key=Secret(api_key).label if api_key else "none")
        return INVALID_PROJECT
