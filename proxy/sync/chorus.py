"""What is told of many journals whose troubles come and go together: a few by name, then counts."""

from __future__ import annotations

from collections import Counter
from typing import Final, final

from proxy import logs
from proxy.sync.journal import PLAIN

MOST_NAMED: Final = 5

log = logs.get("sync")


@final
class Chorus:
    """The voice of one project's cohorts; `label` is the project's.

    When many speak at once, a few are named, and the others counted at each `tell`, until there
    was a pause with none to count.
    """

    def __init__(self, label: str, most_named: int = MOST_NAMED) -> None:
        self._label = label
        self._most_named = most_named
        self._named = {"trouble": 0, "well": 0}
        self._unnamed = {"trouble": Counter[str](), "well": Counter[str]()}

    def trouble(self, of: str, what: str, outcome: str, why: str) -> None:
        """Warn of one by name, or count it."""
        if self._may_name("trouble", outcome):
            PLAIN.trouble(of, what, outcome, why)

    def well(self, of: str, what: str, outcome: str) -> None:
        """Say of one by name that it goes well, or count it."""
        if self._may_name("well", outcome):
            PLAIN.well(of, what, outcome)

    def tell(self) -> None:
        """Tell how many were counted since the last time."""
        for kind, unnamed in self._unnamed.items():
            if not unnamed:
                self._named[kind] = 0
                continue
            line = log.warning if kind == "trouble" else log.info
            event = "sync has more trouble" if kind == "trouble" else "sync goes well with more"
            line(event, project=self._label, count=unnamed.total(), outcomes=dict(unnamed))
            unnamed.clear()

    def _may_name(self, kind: str, outcome: str) -> bool:
        if self._named[kind] < self._most_named:
            self._named[kind] += 1
            return True
        self._unnamed[kind][outcome] += 1
        return False
