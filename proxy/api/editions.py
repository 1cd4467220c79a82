"""All that decides an answer beside the request, and the tags of answers that follow from it."""

from __future__ import annotations

import itertools
import platform
from binascii import hexlify
from collections.abc import Callable
from hashlib import blake2b
from typing import TYPE_CHECKING, Final, Protocol, final

import mmh3

from proxy import __version__

if TYPE_CHECKING:
    from proxy.snapshots.board import Board
    from proxy.snapshots.snapshot import Snapshot

HEADER, BODY, HEADER_V1, BODY_V1, QUERY_V1 = "header", "body", "header v1", "body v1", "query v1"
"""How a user came, and in which version of the API the answer is."""
OF_SOME: Final = ", of some flags"
PREFIX_BYTES: Final = 32
SOME: Final = 16

Key = tuple[int, str, str, str | bytes]
"""What is asked: of which edition by its number, in which form, for which flags, for whom.

The last two are texts as they came; of the flags it is empty when all are asked for.
"""

_numbers = itertools.count(1)


class Holding(Protocol):
    """All cohorts of a project at one moment, another object after each change."""

    @property
    def content(self) -> int:
        """What stands for who is in which cohort, the same in every process."""


class Holdings(Protocol):
    """The cohorts that users and groups are looked up in."""

    @property
    def changes(self) -> int:
        """A number that is another one after each change of any cohort."""

    def holding(self, project_index: int) -> Holding:
        """Return the cohorts of a project as they are now."""


@final
class Edition:
    """What decides the answers of a deployment for a while: its flags, its cohorts, our ways.

    `number` tells it from all others of this process. `is_live` until flags or cohorts change;
    `changes` is when that was looked for last, `kept` counts the answers of it that are kept.
    """

    __slots__ = (
        "_ground",
        "_prefixes",
        "changes",
        "compiled",
        "deployment",
        "holding",
        "is_live",
        "kept",
        "number",
    )

    def __init__(
        self, snapshot: Snapshot, holding: Holding | None, ways: str, *, is_live: bool
    ) -> None:
        self.number = next(_numbers)
        self.compiled = snapshot.compiled
        self.deployment = snapshot.deployment
        self.holding = holding
        self.is_live = is_live
        self.changes = -1
        self.kept = 0
        content = "none" if holding is None else f"{holding.content:x}"
        self._ground = f"{ways}\n{self.compiled.digest}\n{content}\n"
        self._prefixes: dict[str, bytes] = {}

    def tag(self, key: Key) -> bytes:
        """Return what stands for the answer to a request, in hex; empty when nothing can.

        Where two tags are the same, so are the answers: in any process, at any time. Somebody may
        arrange for two requests of his own to have the same one, which deceives nobody else.
        """
        _, form, wanted, user = key
        try:
            raw = user if isinstance(user, bytes) else user.encode()
            if wanted:
                form += OF_SOME
                raw = f"{len(wanted)}\n{wanted}".encode() + raw
        except UnicodeEncodeError:  # of bytes that are no UTF-8; no answer comes of that
            return b""
        prefix = self._prefixes.get(form) or self._prefix(form)
        return hexlify(mmh3.mmh3_x64_128_digest(prefix + raw))

    def _prefix(self, form: str) -> bytes:
        ground = (self._ground + form).encode()
        prefix = self._prefixes[form] = blake2b(ground, digest_size=PREFIX_BYTES).digest()
        return prefix


class Editions:
    """Finds the edition that a snapshot belongs to; at most one of a deployment is live.

    `on_retired` hears of each that is not live any more.
    """

    def __init__(
        self,
        board: Board,
        holdings: Holdings | None,
        on_retired: Callable[[Edition], None],
        *,
        trusts_claims: bool,
    ) -> None:
        self._board = board
        self._holdings = holdings
        self._on_retired = on_retired
        self._ways = f"1 {__version__} {platform.python_version()} {trusts_claims}"
        self._live: dict[int, Edition] = {}
        self._latest: dict[str, Edition] = {}
        self._most = SOME

    def of(self, snapshot: Snapshot) -> Edition | None:
        """Return the edition of a snapshot; None when nobody tells which cohorts there are.

        When it is a new one, the one before is retired.
        """
        known = self._live.get(id(snapshot.compiled))
        if (
            known is not None
            and known.deployment is snapshot.deployment
            and (known.holding is None or known.changes == self._holdings.changes)  # type: ignore[union-attr]
        ):
            return known
        return self._look(snapshot, known)

    def _look(self, snapshot: Snapshot, known: Edition | None) -> Edition | None:
        holding, holdings, project = None, self._holdings, snapshot.deployment.project_index
        if snapshot.compiled.targeted_types:
            if holdings is None:
                return None
            holding = holdings.holding(project)
        if (
            known is None
            or known.holding is not holding
            or known.deployment.project_index != project
        ):
            known = self._begin(snapshot, holding)
        known.deployment = snapshot.deployment
        known.changes = holdings.changes if holdings is not None else 0
        return known

    def _begin(self, snapshot: Snapshot, holding: Holding | None) -> Edition:
        """Make an edition; it is live only if the snapshot is still in force."""
        key = snapshot.deployment.key.reveal()
        slot = self._board.find(key)
        in_force = None if slot is None else slot.snapshot
        is_live = in_force is not None and in_force.compiled is snapshot.compiled
        edition = Edition(snapshot, holding, self._ways, is_live=is_live)
        if is_live:
            self._retire(key)
            self._latest[key] = self._live[id(snapshot.compiled)] = edition
            if len(self._latest) > self._most:
                self._retire_revoked()
        return edition

    def _retire(self, key: str) -> None:
        edition = self._latest.pop(key, None)
        if edition is not None:
            self._live.pop(id(edition.compiled), None)
            edition.is_live = False
            self._on_retired(edition)

    def _retire_revoked(self) -> None:
        for key in [key for key in self._latest if self._board.find(key) is None]:
            self._retire(key)
        self._most = 2 * len(self._latest) + SOME
