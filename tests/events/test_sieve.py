"""What requests offer waits for company, and is looked at in its order."""

from typing import Any

from proxy.events.destinations import Destination, Way
from proxy.events.event import ASSIGNMENT, EXPOSURE
from proxy.events.sender import Sender
from proxy.events.sieve import MOST_OFFERS, Fresh, Project, Sieve
from proxy.events.tally import Tally
from proxy.metrics import Metrics
from proxy.upstream.analytics import Limits
from tests.events.builders import NOW, Upstream, clock, outcome, spool_in

OUTCOMES = [outcome("b"), outcome("a")]
USER = {"user_id": "u"}


class Sieving:
    """A sieve for two projects, and what it let through."""

    def __init__(self, capacity: int = 100) -> None:
        self.fresh: list[Fresh] = []
        metrics = Metrics()
        self.tallies = [Tally(label, metrics) for label in "pq"]
        projects: list[Project] = []
        capacities = {ASSIGNMENT: capacity, EXPOSURE: capacity}
        self.sieve = Sieve(projects, capacities, self.fresh.append)
        spool = spool_in(None)
        for place, (label, tally) in enumerate(zip("pq", self.tallies, strict=True)):
            there = Destination(label, label, Way(limits=Limits(events=9, size=999)), Upstream())
            sender = Sender(
                there, spool, tally, on_lost=self.sieve.forget, clock=clock, chance=lambda: 1.0
            )
            projects.append(Project(label, label, place, tally, sender))

    def offer(self, count: int, user: Any = USER, kind: str = ASSIGNMENT, place: int = 0) -> None:
        for _ in range(count):
            self.sieve.offer(kind, place, user, OUTCOMES, NOW)

    def counts(self, place: int = 0) -> dict[str, Any]:
        return self.tallies[place].counts()


async def test_offers_wait_for_company() -> None:
    sieving = Sieving()

    sieving.offer(MOST_OFFERS - 1)

    assert sieving.sieve.news.is_set()
    assert sieving.fresh == []
    assert sieving.counts()["offered"] == 0

    sieving.offer(1)

    assert len(sieving.fresh) == 1
    assert sieving.counts()["offered"] == MOST_OFFERS
    assert sieving.counts()["filtered"] == MOST_OFFERS - 1


async def test_who_cannot_wait_sifts() -> None:
    sieving = Sieving()

    sieving.offer(2)
    sieving.sieve.sift()
    sieving.sieve.sift()

    [fresh] = sieving.fresh
    assert fresh.project.label == "p"
    assert [one.flag_key for one in fresh.outcomes] == ["a", "b"]
    assert sieving.counts()["offered"] == 2


async def test_projects_and_kinds_do_not_hide_each_other() -> None:
    sieving = Sieving()

    for place in (0, 1):
        for kind in (ASSIGNMENT, EXPOSURE):
            sieving.offer(2, kind=kind, place=place)
    sieving.sieve.sift()

    assert len(sieving.fresh) == 4


async def test_what_was_lost_for_good_is_let_through_again() -> None:
    sieving = Sieving()
    sieving.offer(1)
    sieving.sieve.sift()

    sieving.sieve.forget(EXPOSURE, sieving.fresh[0].key)
    sieving.sieve.forget("ingest", sieving.fresh[0].key)
    sieving.offer(1)
    sieving.sieve.sift()
    assert len(sieving.fresh) == 1

    sieving.sieve.forget(ASSIGNMENT, sieving.fresh[0].key)
    sieving.offer(1)
    sieving.sieve.sift()
    assert len(sieving.fresh) == 2


async def test_one_defect_costs_one_event() -> None:
    sieving = Sieving()

    sieving.offer(1, user={"user_id": "u", "groups": {7: "acme"}})
    sieving.offer(1, user={"user_id": "v"})
    sieving.offer(1, user=None)
    sieving.offer(1, place=9)
    sieving.sieve.sift()

    assert [fresh.subject.user_id for fresh in sieving.fresh] == ["v"]
    assert sieving.counts()["dropped"] == {"error": 2}
