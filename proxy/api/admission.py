"""Who is answered and who is told to come back: rates, load and strangers, in one place."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, final

from proxy.api.addresses import LOCAL, Addresses
from proxy.api.complaints import Complaints
from proxy.api.doorman import Doorman, Tier, Visitor
from proxy.api.messages import Response, failure
from proxy.api.overload import Overload
from proxy.api.rates import Rates
from proxy.snapshots.snapshot import Snapshot

if TYPE_CHECKING:
    from proxy.metrics import Metrics
    from proxy.settings.admission import Admission as Given
    from proxy.snapshots.snapshot import Deployment

Told = tuple[Response, ...]
"""One refusal, with each of the times to come back after."""

MINUTE: Final = 60.0
NOT_TRUSTED: Final = "it forwards for others, but admission.trustedProxies does not hold it"
BUSY: Final[tuple[Tier, str]] = ("process", "queue_delay")
OF_ADDRESS: Final[tuple[Tier, str]] = ("address", "rate")
OF_DEPLOYMENT: Final[tuple[Tier, str]] = ("deployment", "rate")


def told(status: int, reason: str, least: int, most: int, *, closes: bool = False) -> Told:
    """Return a refusal with every `Retry-After` from `least` to `most` seconds."""
    once = failure(status, reason)
    return tuple(
        Response(
            status,
            once.body,
            once.content_type,
            (("Retry-After", str(seconds)),),
            closes=closes,
        )
        for seconds in range(least, most + 1)
    )


# Who was told to come back after a second or more is not listened to for the first one.
TOO_MANY_OF_ADDRESS: Final = told(429, "Too many requests from this address", 1, 4)
TOO_MANY_OF_DEPLOYMENT: Final = told(429, "Too many requests with this deployment key", 1, 4)
# Analytics SDKs read more out of a 429 than there is to say here; a 503 they just repeat.
TOO_MANY_UPLOADS: Final = told(503, "Too many uploads from this address", 1, 4)
TOO_BUSY: Final = told(503, "Too much to do at the moment", 2, 9)
NO_SEAT: Final = told(503, "Too many connections", 2, 9, closes=True)


@final
class Admission:
    """Turns requests away beyond the bounds; while it only logs, it turns away nobody.

    While it is not `is_on`, nobody need ask. `clock` gives seconds that never go back; `draw` gives
    numbers from 0 to 1.
    """

    def __init__(
        self,
        given: Given,
        metrics: Metrics,
        clock: Callable[[], float] = time.monotonic,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self.overload = Overload(0.0, metrics, draw)
        self._clock = clock
        self._draw = draw
        self._metrics = metrics
        self._rates: dict[str, tuple[tuple[float, float], Rates | None]] = {}
        self._put_in_force(given)
        self.doorman = Doorman(given.in_force, self._addresses, self.turn_away)
        metrics.admission_addresses.set_function(self.addresses_known)

    def apply(self, given: Given) -> None:
        """Put other bounds in force; what was counted for a bound that stays goes on counting."""
        self._put_in_force(given)
        self.doorman.apply(given.in_force, self._addresses)

    def _put_in_force(self, given: Given) -> None:
        bounds = given.in_force
        self.is_on = bool(bounds)
        self.overload.aim(bounds.queue_delay_millis / 1000)
        self._log_only = given.log_only
        self._header = given.forwarded_header
        self._addresses = Addresses(given.trusted_proxies, given.forwarded_header)
        self._by_address = self._rates_of(
            "address", bounds.requests_per_address, bounds.burst_per_address
        )
        self._by_deployment = self._rates_of(
            "deployment", bounds.requests_per_deployment, bounds.burst_per_deployment
        )
        unknown = bounds.unknown_keys_per_address
        self._unknown = self._rates_of("unknown", unknown / MINUTE, unknown)
        metrics = self._metrics
        self._counter = (
            metrics.admission_would_refuse if given.log_only else metrics.admission_refused
        )
        self._counts: dict[tuple[Tier, str], Callable[[], None]] = {}
        self._complaints: dict[tuple[Tier, str], Complaints] = {}

    def _rates_of(self, what: str, per_second: float, burst: float) -> Rates | None:
        bound = (per_second, burst)
        if what not in self._rates or self._rates[what][0] != bound:
            self._rates[what] = bound, Rates(per_second, burst) if per_second else None
        return self._rates[what][1]

    def check(
        self, admitted: Snapshot | Response, headers: Mapping[str, str], visitor: Visitor
    ) -> Snapshot | Response:
        """Return what the gate has said, or a refusal in its place."""
        if isinstance(admitted, Snapshot):
            return self.refusal(visitor, headers, admitted.deployment) or admitted
        if visitor.surplus:
            return self._one_of(NO_SEAT)
        if admitted.status == 401:
            self.stranger(visitor, headers)
        return admitted

    def refusal(
        self,
        visitor: Visitor,
        headers: Mapping[str, str],
        deployment: Deployment | None = None,
        *,
        too_many: Told = TOO_MANY_OF_ADDRESS,
    ) -> Response | None:
        """Return what a request is told that is one too many, None if it is not.

        Who holds a server key counts for its deployment, not for the address that it shares.
        """
        if visitor.surplus:
            return self._one_of(NO_SEAT)
        address = self._address(visitor, headers)
        beyond = self._beyond(address, deployment)
        if beyond is None:
            return None
        forwards = beyond == OF_ADDRESS and not visitor.is_proxy and self._header in headers
        if not self.turn_away(*beyond, address, NOT_TRUSTED if forwards else ""):
            return None
        visitor.slow_down(self._draw())
        if beyond == BUSY:
            return self._one_of(TOO_BUSY)
        return self._one_of(too_many if beyond == OF_ADDRESS else TOO_MANY_OF_DEPLOYMENT)

    def stranger(self, visitor: Visitor, headers: Mapping[str, str]) -> None:
        """Take note of a key that is not ours; from too many of them on, the client is slowed.

        The answer stays 401: it is final for an SDK, which would repeat a 429 up to eight times.
        """
        if self._unknown is None:
            return
        address = self._address(visitor, headers)
        if address == LOCAL or not self._unknown.take(address, self._clock()):
            return
        if self.turn_away("address", "unknown_key", address):
            visitor.slow_down(self._draw())

    def turn_away(self, tier: Tier, reason: str, address: str, hint: str = "") -> bool:
        """Count and tell of somebody who is one too many; return whether that has consequences."""
        key = tier, reason
        if key not in self._counts:
            self._counts[key] = self._counter.labels(tier, reason).inc
            event = "would be turned away" if self._log_only else "turned away"
            self._complaints[key] = Complaints(event, self._clock)
        self._counts[key]()
        more = {"hint": hint} if hint else {}
        self._complaints[key].tell(tier=tier, reason=reason, address=address, **more)
        return not self._log_only

    def addresses_known(self) -> int:
        """Return how many addresses are remembered."""
        return sum(len(each) for each in (self._by_address, self._unknown) if each is not None)

    def status(self) -> dict[str, Any]:
        """Return the state, without any key or address."""
        return {
            "on": self.is_on,
            "log_only": self._log_only,
            "shed_share": round(self.overload.share, 2),
            "addresses_known": self.addresses_known(),
        }

    def _beyond(self, address: str, deployment: Deployment | None) -> tuple[Tier, str] | None:
        """Return which bound one more request is beyond, None when it is within all."""
        if self.overload.refuses():
            return BUSY
        now = self._clock()
        is_servers = deployment is not None and deployment.type == "server"
        by_address = None if is_servers or address == LOCAL else self._by_address
        if by_address is not None and by_address.take(address, now):
            return OF_ADDRESS
        if deployment is None or self._by_deployment is None:
            return None
        is_one_too_many = self._by_deployment.take(deployment.key.reveal(), now)
        return OF_DEPLOYMENT if is_one_too_many else None

    def _one_of(self, what: Told) -> Response:
        return what[int(self._draw() * len(what))]

    def _address(self, visitor: Visitor, headers: Mapping[str, str]) -> str:
        if not visitor.is_proxy:
            return visitor.address
        return self._addresses.of_request(visitor.address, headers)
