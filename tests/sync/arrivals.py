"""The cohorts of a project where a test says which are here: they come, or are given up."""

from __future__ import annotations

import asyncio
from collections.abc import Set as AbstractSet

from proxy.evaluation.cohorts import Target
from proxy.secret import Secret


class Arrivals:
    """Stands where the cohorts of a project stand for who takes in flags."""

    def __init__(self) -> None:
        self.needed: dict[Secret, frozenset[Target]] = {}
        self.here: set[Target] = set()
        self.given_up: set[Target] = set()
        self.saved: frozenset[Target] = frozenset()
        self.waited_for: list[frozenset[Target]] = []
        self._news = asyncio.Event()

    def need(self, deployment: Secret, targets: frozenset[Target]) -> None:
        self.needed[deployment] = targets

    def pending(self, targets: frozenset[Target]) -> frozenset[Target]:
        return targets - self.here - self.given_up

    def rebuilding(self, targets: frozenset[Target]) -> frozenset[Target]:
        return self.pending(targets) & self.saved

    async def settled(self, targets: frozenset[Target]) -> None:
        self.waited_for.append(targets)
        while self.pending(targets):
            await self._news.wait()

    def missing(self, targets: frozenset[Target]) -> dict[Target, str]:
        return dict.fromkeys(targets - self.here, "not asked for")

    async def moved(self, targets: frozenset[Target], missing: AbstractSet[Target]) -> None:
        while self.missing(targets).keys() == missing:
            await self._news.wait()

    def come(self, *cohort_ids: str) -> None:
        """Let cohorts of users be here."""
        self.here |= users(*cohort_ids)
        self._tell()

    def go(self, *cohort_ids: str) -> None:
        """Let cohorts of users be here no longer."""
        self.here -= users(*cohort_ids)
        self._tell()

    def give_up(self, *cohort_ids: str) -> None:
        """Let cohorts of users not be worth waiting for."""
        self.given_up |= users(*cohort_ids)
        self._tell()

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()


def users(*cohort_ids: str) -> frozenset[Target]:
    """Targets that are cohorts of users."""
    return frozenset(Target("User", cohort_id) for cohort_id in cohort_ids)
