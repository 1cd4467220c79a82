"""When sync is ready: pure, but for remembering which projects were ready once."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple, final


class Standing(NamedTuple):
    """How one deployment stands; `hopeless` says that waiting alone does not mend it."""

    project: str
    has_flags: bool
    hopeless: bool


@final
class Readiness:
    """Decides whether each project can be served, as traffic is routed by whole processes.

    At first all deployments of a project must have flags, but for those whose key upstream
    refuses or whose flags are all unusable. A project that was ready once stays so while any of
    its deployments has flags: one that appears later, and gets none, must not take every process
    out of service.
    """

    def __init__(self) -> None:
        self._ready_once: set[str] = set()
        self._excused: set[str] = set()

    def excuse(self, name: str) -> None:
        """Let a project that came later take nobody out of service, ready or not."""
        self._excused.add(name)

    def decide(self, known: Mapping[str, bool], standings: Collection[Standing]) -> bool:
        """Tell whether all projects are ready; `known` says whether their deployments are."""
        ready = [
            self._project(
                name, known=is_known, standings=[s for s in standings if s.project == name]
            )
            for name, is_known in known.items()
            if name not in self._excused
        ]
        return all(ready)

    def _project(self, name: str, *, known: bool, standings: Collection[Standing]) -> bool:
        if not known:
            return False
        if standings and not any(one.has_flags for one in standings):
            return False
        if name not in self._ready_once and not all(s.has_flags or s.hopeless for s in standings):
            return False
        self._ready_once.add(name)
        return True
