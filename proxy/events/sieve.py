"""What requests offer, and what of it is new: the request itself pays for one append only.

The work is done a few answers at a time. Done in the midst of each request it takes three times as
long: the processor has forgotten by then what it knew of this code and of the table.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from operator import attrgetter
from typing import Any, Final, NamedTuple

import msgspec

from proxy import logs
from proxy.evaluation.outcomes import Outcome
from proxy.events.canonical import LONGEST_TEXT
from proxy.events.dedupe import Dedupe
from proxy.events.event import EXPOSURE
from proxy.events.sameness import answer_key, exposure_key
from proxy.events.sender import Sender
from proxy.events.subject import Subject, group_names, id_text
from proxy.events.tally import Offers, Tally

MOST_OFFERS: Final = 64

log = logs.get("events")

by_flag_key = attrgetter("flag_key")


class Memo(msgspec.Struct, gc=False, eq=False):
    """Until when it is sure that an answer, given again and again, was told; see `Dedupe.term`.

    `known` is the filter that remembers it, None before it does; `forgotten` is what that had
    forgotten by then, `offers` what the answer is counted in.
    """

    known: Dedupe | None = None
    offers: Offers | None = None
    at: float = 0.0
    last: int = 0
    forgotten: int = 0

    def is_told(self, waiting: int, at: float) -> bool:
        """Tell whether the answer surely counts as told, behind so many offers; then count it."""
        known, offers = self.known, self.offers
        if (
            known is None
            or offers is None
            # What waits may yet push it out of the filter.
            or known.added + waiting >= self.last
            or known.forgotten != self.forgotten
            or abs(at - self.at) >= known.life
        ):
            return False
        offers.offered += 1
        offers.filtered += 1
        return True


Offer = tuple[str, int, Any, Any, Any, Sequence[Outcome], Collection[str], float, Memo | None]
"""Kind, place of the project, the user's ids and groups as they came, the rest as in `Fresh`."""


class Project(NamedTuple):
    """What belongs to one project; its place among the projects tells it apart in filters."""

    label: str
    origin: str
    place: int
    tally: Tally
    sender: Sender

    def lose_to(self, error: Exception, kind: str) -> None:
        """Count an event that cannot be made; of the first one, say why."""
        if not self.tally.counts()["dropped"].get("error"):
            log.error("an event cannot be made; more are only counted", exc_info=error)
        self.tally.drop("error", 1, kind)


class Fresh(NamedTuple):
    """An answer whose events are not encoded yet; outcomes in the order of their flag keys.

    `asked` are the flags that were asked for, empty for all.
    """

    project: Project
    kind: str
    subject: Subject
    outcomes: list[Outcome]
    asked: Collection[str]
    at: float
    key: int


class Sieve:
    """Lets through what was not told within a day; `news` is set when there is something to sift.

    An offer may be `waiting` for that until `sift` is called, or until there are `MOST_OFFERS`.
    """

    def __init__(
        self,
        projects: Sequence[Project],
        capacities: Mapping[str, int],
        let_through: Callable[[Fresh], None],
    ) -> None:
        self.news = asyncio.Event()
        self._projects = projects
        self._filters = {kind: Dedupe(capacity) for kind, capacity in capacities.items()}
        self._let_through = let_through
        self.waiting: list[Offer] = []

    def offer(
        self,
        kind: str,
        place: int,
        user: Mapping[str, Any],
        outcomes: Sequence[Outcome],
        at: float,
        *,
        asked: Collection[str] = (),
    ) -> None:
        """Take note of an answer to a user of the project at a place; never raises."""
        try:
            get = user.get
            ids = get("user_id"), get("device_id"), get("groups")
            self.take((kind, place, *ids, outcomes, asked, at, None))
        except Exception as error:  # noqa: BLE001  the answer goes out whatever happens here
            self._lose_to(error, kind, place)

    def take(self, offer: Offer) -> None:
        """Take note of an answer; never raises."""
        waiting = self.waiting
        waiting.append(offer)
        if len(waiting) == 1:
            self.news.set()
        elif len(waiting) >= MOST_OFFERS:
            self.sift()

    def sift(self) -> None:
        """Count what was offered, and let through what is new."""
        waiting, self.waiting = self.waiting, []
        for offer in waiting:
            try:
                fresh = self._fresh(offer)
                if fresh is not None:
                    self._let_through(fresh)
            except Exception as error:  # noqa: BLE001  one event's defect is not another's
                self._lose_to(error, offer[0], offer[1])

    def forget(self, kind: str, key: int) -> None:
        """Let the same through again: it was lost for good."""
        if kind in self._filters:
            self._filters[kind].forget(key)

    def _lose_to(self, error: Exception, kind: str, place: int) -> None:
        if 0 <= place < len(self._projects):
            self._projects[place].lose_to(error, kind)

    def _fresh(self, offer: Offer) -> Fresh | None:
        kind, place, user_id, device_id, groups, outcomes, asked, at, memo = offer
        project = self._projects[place]
        offers = project.tally.of[kind]
        offers.offered += 1
        if type(user_id) is not str:
            user_id = id_text(user_id)
        if type(device_id) is not str:
            device_id = id_text(device_id)
        if not outcomes or not (user_id or device_id):
            offers.skipped += 1
            return None
        key = answer_key(place, user_id, device_id, outcomes)
        if kind == EXPOSURE:
            key = exposure_key(key, outcomes, asked)
        known = self._filters[kind]
        is_first = known.first(key, at)
        if memo is not None:
            self._note(memo, known, key, offers)
        if not is_first:
            offers.filtered += 1
            return None
        if len(user_id or "") > LONGEST_TEXT or len(device_id or "") > LONGEST_TEXT:
            project.tally.drop("long_id", 1, kind)
            return None
        subject = Subject(user_id, device_id, group_names(groups) if groups else {})
        return Fresh(project, kind, subject, sorted(outcomes, key=by_flag_key), asked, at, key)

    def _note(self, memo: Memo, known: Dedupe, key: int, offers: Offers) -> None:
        term = known.term(key)
        if term is not None:
            memo.at, memo.last = term
            memo.forgotten = known.forgotten
            memo.known, memo.offers = known, offers
