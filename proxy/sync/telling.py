"""What is told of a deployment's flags in the log: each thing when it begins, and when it ends."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import final

from proxy import logs
from proxy.evaluation.cohorts import Target
from proxy.evaluation.deployment import CompiledDeployment
from proxy.snapshots.board import Slot
from proxy.sync.holding import Waiting
from proxy.sync.needs import cohort_name

MOST_LINES_LOGGED = 20

log = logs.get("sync")


@final
class Teller:
    """Tells of one deployment; what was told already for the same reason is not told again."""

    def __init__(self, slot: Slot) -> None:
        self._slot = slot
        self._problems: frozenset[tuple[str, str]] = frozenset()
        self._missing: Mapping[Target, str] = {}

    def in_force(self, confirmed_age: float | None = None) -> None:
        """Tell that flags came into force; `confirmed_age` in seconds is for restored ones."""
        snapshot = self._slot.snapshot
        assert snapshot is not None
        age = {} if confirmed_age is None else {"confirmed_seconds_ago": round(confirmed_age, 1)}
        log.info(
            "flags in force",
            deployment=self._label,
            source=snapshot.source,
            version=snapshot.compiled.version,
            flags=len(snapshot.compiled.flags),
            left_out=len(snapshot.compiled.problems),
            **age,
        )
        if not snapshot.compiled.flags:
            log.warning("deployment has no flags any more", deployment=self._label)

    def waiting(self, waiting: Waiting) -> None:
        """Tell that flags wait for cohorts."""
        targets = frozenset[Target]().union(*waiting.values())
        log.info(
            "flags wait for cohorts",
            deployment=self._label,
            flags=sorted(waiting)[:MOST_LINES_LOGGED],
            count=len(waiting),
            cohorts=sorted(map(cohort_name, targets))[:MOST_LINES_LOGGED],
        )

    def problems(self, compiled: CompiledDeployment) -> None:
        """Tell what cannot be used."""
        found = [("flag cannot be used as it came", one) for one in compiled.problems]
        found += [("pattern of a flag matches nothing", one) for one in compiled.broken_patterns]
        told = self._problems
        new = [(what, one) for what, one in found if (one.flag_key, one.reason) not in told]
        self._problems = frozenset((one.flag_key, one.reason) for _, one in found)
        for what, one in new[:MOST_LINES_LOGGED]:
            log.warning(
                what, deployment=self._label, flag=one.flag_key, why=one.reason, in_force=one.kept
            )
        self._more("more flags cannot be used", len(new))

    def missing(self, missing: Mapping[Target, str]) -> None:
        """Tell which targeted cohorts are not here, and which are here again."""
        before, self._missing = self._missing, missing
        new = [target for target in missing if target not in before]
        for target in new[:MOST_LINES_LOGGED]:
            log.warning(
                "cohort missing: flags are evaluated as if it were empty",
                deployment=self._label,
                cohort=cohort_name(target),
                why=missing[target],
            )
        self._more("more cohorts missing", len(new))
        gone = [target for target in before if target not in missing]
        if gone:
            names = sorted(map(cohort_name, gone))[:MOST_LINES_LOGGED]
            log.info("cohorts not missing any more", deployment=self._label, cohorts=names)

    @property
    def told_missing(self) -> AbstractSet[Target]:
        """The cohorts that were last told to be missing."""
        return self._missing.keys()

    @property
    def _label(self) -> str:
        return self._slot.deployment.label

    def _more(self, what: str, count: int) -> None:
        if count > MOST_LINES_LOGGED:
            log.warning(what, deployment=self._label, count=count - MOST_LINES_LOGGED)
