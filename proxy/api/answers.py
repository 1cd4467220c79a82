"""Answers that are kept, ready to be sent again to who asks the same again.

An answer follows from the request and the edition alone, so it never grows old; when flags or
cohorts change there is another edition. Kept is what is asked for a second time: most of those who
come once never come again.

To look for an answer that is not kept costs a tenth of working it out. Hits pay for that, and a
little is free each second; when all is spent on requests that never came before, nothing is looked
for during the next. So a crowd of strangers costs one hundredth of a processor at most, and once
it has gone, those who come again are soon known.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, final

import msgspec

if TYPE_CHECKING:
    from proxy.api.editions import Edition, Key
    from proxy.api.reports import Retelling
    from proxy.evaluation.outcomes import Outcome
    from proxy.metrics import Metrics

ANSWER_BYTES: Final = 1024
"""What an answer costs beside its body: its place in the table, and what reporting needs."""
OUTCOME_BYTES: Final = 8
SHARE: Final = 16
"""One answer takes at most this part of the whole."""
FREE: Final = 1000
PAUSE_SECONDS: Final = 1.0
WORTH: Final = 4
"""What a hit pays for, in look-ups in vain."""
PRICE: Final = 2
"""What it costs to keep an answer, in the same."""
MOST_SAVED: Final = 4000
AT_FIRST: Final = 50_000
GUEST_BYTES: Final = 64
"""The guest book has one place for so many bytes of answers ..."""
GUESTS: Final = 32
"""... and a page has room for one in so many places, so that guests rarely meet by accident."""
PAGES: Final = 255
CHANCES: Final = 8
"""So many answers that are in use are passed over, before one goes that is."""
SWEPT: Final = 4
"""So many kept answers are looked at for each that is not, as long as some are out of force."""

Fresh = tuple["Key", "Edition", bytes, int, dict[str, Any], list["Outcome"], list[str]]
"""An answer that was just worked out: to what, of which edition, the body; and for reporting,
the project's index, the user, the outcomes and the flags asked for."""

RetellingOf = Callable[[Fresh], "Retelling"]
"""Give what reports an answer when it is given again."""


# There may be tens of thousands of them: the garbage collector has no business with them.
class Answer(msgspec.Struct, gc=False, eq=False):
    """One answer: its body, plain and, once somebody took it so, packed; what reporting needs.

    `size` is what it counts for in bytes.
    """

    key: Key
    tag: bytes
    edition: Edition
    body: bytes
    retelling: Retelling
    size: int
    packed: bytes = b""
    is_used: bool = False


@final
class GuestBook:
    """Knows roughly who came lately, in one byte for each of many places; it never grows.

    A place holds the number of the page on which a name that falls on it was written last. After
    `room` names a new page begins, and who came on the last but one is forgotten.
    """

    __slots__ = ("_left", "_mask", "_page", "_places", "room")

    def __init__(self, most_bytes: int) -> None:
        places = 1 << max(most_bytes // GUEST_BYTES, GUESTS).bit_length() - 1
        self._places = bytearray(places)
        self._mask = places - 1
        self._page = 1
        self.widen()

    def widen(self) -> None:
        """Let pages be as long as they can be."""
        self.room = self._left = len(self._places) // GUESTS

    def narrow(self, room: int) -> None:
        """Let pages be shorter, this one too."""
        self.room = max(room, 1)
        self._left = min(self._left, self.room)

    def knows(self, name: int) -> bool:
        """Tell whether a name, a hash, was written on this page or the last; write it down."""
        if self._left <= 0:
            self._left = self.room
            self._page = self._page % PAGES + 1
        self._left -= 1
        place = name & self._mask
        seen, page = self._places[place], self._page
        self._places[place] = page
        return seen in (page, (page - 2) % PAGES + 1)


@final
class Answers:
    """Answers by what was asked, within a bound of bytes; none are kept when that is 0.

    The oldest gives way that nobody asked for since it got its last chance. `credit` is how many
    may yet be looked for in vain. Who looks up himself, in `kept`, tells of it afterwards.
    """

    def __init__(self, most_bytes: int, metrics: Metrics, retelling_of: RetellingOf) -> None:
        self.most_bytes = most_bytes
        self.size = 0
        self.credit = AT_FIRST
        self.kept: OrderedDict[Key, Answer] = OrderedDict()
        self._retelling_of = retelling_of
        self._hits = metrics.answer_hits
        self._misses = metrics.answer_misses
        self._evictions = metrics.answer_evictions
        self._guests = GuestBook(most_bytes)
        self._stale = 0
        metrics.answers.set_function(lambda: len(self.kept))
        metrics.answers_bytes.set_function(lambda: self.size)

    def found(self, answer: Answer) -> None:
        """Take note that an answer was of use."""
        answer.is_used = True
        self._hits.value += 1
        if self.credit < MOST_SAVED:
            self.credit += WORTH

    def missed(self, key: Key) -> bool:
        """Take note that no answer was found; tell whether it was asked for before, too."""
        self._misses.value += 1
        self._spend(1)
        if self._stale:
            self._sweep()
        # Who is known stays known when the edition changes.
        return self._guests.knows(hash(key[1:]))

    def keep(self, fresh: Fresh) -> None:
        """Keep an answer that is not kept yet, unless it is too large or out of force."""
        key, edition, body, _, _, outcomes, _ = fresh
        size = ANSWER_BYTES + len(body) + len(key[3]) + OUTCOME_BYTES * len(outcomes)
        if not edition.is_live or size * SHARE > self.most_bytes:
            return
        self._spend(PRICE)
        self.kept[key] = Answer(
            key, edition.tag(key), edition, body, self._retelling_of(fresh), size
        )
        edition.kept += 1
        self.size += size
        self._make_room()

    def keep_packed(self, answer: Answer, packed: bytes) -> None:
        """Keep an answer's packed form, too."""
        if not answer.packed and self.kept.get(answer.key) is answer:
            answer.packed = packed
            answer.size += len(packed)
            self.size += len(packed)
            self._make_room()

    def retire(self, edition: Edition) -> None:
        """Let go of an edition's answers: of some with each new one, so that nobody waits long."""
        self._stale += edition.kept
        self.credit += edition.kept * (1 + PRICE)
        self._guests.widen()

    def status(self) -> dict[str, Any]:
        """Return how many answers are kept, and how many requests one was there for."""
        return {
            "answers": len(self.kept),
            "bytes": self.size,
            "max_bytes": self.most_bytes,
            "hits": self._hits.value,
            "misses": self._misses.value,
            "evictions": self._evictions.value,
        }

    def _spend(self, price: int) -> None:
        had = self.credit
        self.credit = had - price
        if self.credit <= 0 < had:
            asyncio.get_running_loop().call_later(PAUSE_SECONDS, self._regain)

    def _regain(self) -> None:
        self.credit = max(self.credit, FREE)

    def _make_room(self) -> None:
        kept, chances = self.kept, CHANCES
        while self.size > self.most_bytes:
            key, answer = kept.popitem(last=False)
            if chances and answer.is_used and answer.edition.is_live:
                answer.is_used = False
                kept[key] = answer
                chances -= 1
                continue
            self._let_go(answer)
            self._evictions.inc()
            # Who comes back later than all that is kept would always find that he had to go.
            self._guests.narrow(len(kept) // 2)

    def _sweep(self) -> None:
        kept = self.kept
        for _ in range(min(SWEPT, len(kept))):
            key, answer = kept.popitem(last=False)
            if answer.edition.is_live:
                kept[key] = answer
            else:
                self._let_go(answer)

    def _let_go(self, answer: Answer) -> None:
        self.size -= answer.size
        answer.edition.kept -= 1
        if not answer.edition.is_live:
            self._stale -= 1
