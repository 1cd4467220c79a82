"""Who may be connected: bounds on the number of connections, and those that are one too many."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Literal, final

from proxy.api.addresses import LOCAL

if TYPE_CHECKING:
    from proxy.api.addresses import Addresses
    from proxy.settings.admission import Bounds

Tier = Literal["address", "deployment", "process"]
TurnAway = Callable[[Tier, str, str], bool]

HOLD_SECONDS: Final = 1.0
"""So long, at most, a client is not listened to that was told to come back later."""
LEAST_HOLD_SECONDS: Final = 0.5
MOST_SURPLUS: Final = 256
MOST_SURPLUS_OF_ADDRESS: Final = 8
FULL_ENOUGH: Final = 0.5
LEAST_PATIENCE: Final = 0.02


def _hold_nobody(_seconds: float) -> None:
    """Do nothing."""


@final
class Visitor:
    """One connection's client: the name by which it is counted, and how it is to be treated.

    `surplus` tells that it is one too many: it is answered once, probes apart with a refusal, and
    seen off. `is_out` tells that there is no room even for that.
    """

    __slots__ = ("_hold", "address", "is_out", "is_proxy", "surplus")

    def __init__(self, address: str, hold: Callable[[float], None], *, is_proxy: bool) -> None:
        self.address = address
        self.is_proxy = is_proxy
        self.surplus = False
        self.is_out = False
        self._hold = hold

    def slow_down(self, drawn: float) -> None:
        """Do not listen to the client for a moment; who shares its connection must not wait.

        `drawn`, from 0 to 1, spreads those who are slowed down together.
        """
        if not self.is_proxy and self.address != LOCAL:
            self._hold(LEAST_HOLD_SECONDS + drawn * (HOLD_SECONDS - LEAST_HOLD_SECONDS))

    def settle(self) -> None:
        """Take note that nothing will be read from the client any more."""
        self._hold = _hold_nobody


@final
class Doorman:
    """Counts connections, all together and by address; a bound of 0 is none."""

    def __init__(self, bounds: Bounds, addresses: Addresses, turn_away: TurnAway) -> None:
        self.apply(bounds, addresses)
        self._turn_away = turn_away
        self._inside: dict[str, int] = {}
        self._open = 0
        self._surplus = 0

    def apply(self, bounds: Bounds, addresses: Addresses) -> None:
        """Put other bounds in force, for connections that come from now on."""
        self._most = bounds.connections
        self._most_of_address = bounds.connections_per_address
        self._addresses = addresses

    def enter(self, peer: Any, hold: Callable[[float], None]) -> Visitor:
        """Take note of a connection; `peer` is its other end, `hold` stops reading from it."""
        address, is_proxy = self._addresses.of_peer(peer)
        visitor = Visitor(address, hold, is_proxy=is_proxy)
        self._open += 1
        held = self._inside[address] = self._inside.get(address, 0) + 1
        is_many = is_proxy or address == LOCAL
        tier = self._tier_beyond(0 if is_many else held)
        if tier is not None and self._turn_away(tier, "connections", address):
            visitor.surplus = True
            self._surplus += 1
            crowd = held > self._most_of_address + MOST_SURPLUS_OF_ADDRESS and tier == "address"
            visitor.is_out = self._surplus > MOST_SURPLUS or crowd
        return visitor

    def leave(self, visitor: Visitor) -> None:
        """Take note that a connection has ended."""
        self._open -= 1
        self._surplus -= visitor.surplus
        left = self._inside[visitor.address] - 1
        if left:
            self._inside[visitor.address] = left
        else:
            del self._inside[visitor.address]

    @property
    def patience(self) -> float:
        """By what part idle clients are waited for: the fuller the house, the less."""
        if not self._most:
            return 1.0
        room = 1.0 - self._open / self._most
        return max(LEAST_PATIENCE, min(1.0, room / (1.0 - FULL_ENOUGH)))

    def _tier_beyond(self, held: int) -> Tier | None:
        if self._most_of_address and held > self._most_of_address:
            return "address"
        if self._most and self._open > self._most:
            return "process"
        return None
