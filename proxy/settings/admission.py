"""The settings of admission: how much one client, one deployment and all of them may ask for."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Struct

from proxy.settings.kinds import setting

NETWORKS: dict[str, Any] = {
    "pattern": r"^(?:unix|[0-9A-Fa-f.:]+(?:/[0-9]{1,3})?)$",
    "expected": "a network such as 10.0.0.0/8, an address, or `unix`",
}
EDGE: Final = {
    "requests_per_address": 100,
    "requests_per_deployment": 10_000,
    "unknown_keys_per_address": 60,
    "connections": 20_000,
    "connections_per_address": 500,
    "queue_delay_millis": 25,
}
"""What `publicEdge` switches on."""
BURST_SECONDS: Final = 5


Bound = Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]
Burst = Annotated[int, msgspec.Meta(ge=1, le=10_000_000)]


def bound(meaning: str, name: str) -> msgspec.Meta:
    """Describe a bound that is off unless it is given or `publicEdge` is on; 0 is off, too."""
    return setting(meaning, default=f"none; {EDGE[name]} with `publicEdge`")


def burst(meaning: str) -> msgspec.Meta:
    """Describe how much may come at once."""
    return setting(meaning, default=f"{BURST_SECONDS} times the rate")


class Admission(Struct, frozen=True, kw_only=True, rename="camel"):
    """Rates, connections and load beyond which requests are answered 429 or 503."""

    public_edge: Annotated[
        bool, setting("Switch on every bound of this section that is not given.")
    ] = False
    log_only: Annotated[bool, setting("Turn nobody away; count and log who would have been.")] = (
        False
    )
    trusted_proxies: Annotated[
        tuple[str, ...],
        setting(
            "Networks of the load balancers in front, whose word on a client's address counts;"
            " `unix` is the Unix socket.",
            **NETWORKS,
        ),
    ] = ()
    forwarded_header: Annotated[
        Literal["X-Forwarded-For", "Forwarded"],
        setting("Where trusted proxies tell a client's address; the other header is not read."),
    ] = "X-Forwarded-For"
    requests_per_address: Annotated[
        Bound | None,
        bound(
            "Requests a second from one address (of IPv6, one /64 network), those with a server"
            " key apart.",
            "requests_per_address",
        ),
    ] = None
    burst_per_address: Annotated[Burst | None, burst("How many of them may come at once.")] = None
    requests_per_deployment: Annotated[
        Bound | None,
        bound("Requests a second with the key of one deployment.", "requests_per_deployment"),
    ] = None
    burst_per_deployment: Annotated[Burst | None, burst("How many of them may come at once.")] = (
        None
    )
    unknown_keys_per_address: Annotated[
        Bound | None,
        bound(
            "Requests a minute from one address with a key that is not ours; further ones are"
            " slowed down.",
            "unknown_keys_per_address",
        ),
    ] = None
    connections: Annotated[Bound | None, bound("Connections at once.", "connections")] = None
    connections_per_address: Annotated[
        Bound | None,
        bound(
            "Connections at once from one address, trusted proxies apart.",
            "connections_per_address",
        ),
    ] = None
    queue_delay_millis: Annotated[
        Bound | None,
        bound(
            "How long work may wait for its turn; while it waits longer, a growing part of the"
            " requests is turned away.",
            "queue_delay_millis",
        ),
    ] = None

    @property
    def in_force(self) -> Bounds:
        """The bounds as they are in force; 0 is none."""
        given = {
            name: value
            for name in EDGE
            if (value := getattr(self, name)) is not None or not self.public_edge
        }
        found = {**EDGE, **{name: value or 0 for name, value in given.items()}}
        return Bounds(
            **found,
            burst_per_address=self.burst_per_address
            or found["requests_per_address"] * BURST_SECONDS,
            burst_per_deployment=self.burst_per_deployment
            or found["requests_per_deployment"] * BURST_SECONDS,
        )


class Bounds(Struct, frozen=True, kw_only=True):
    """What follows from the section: requests a second, unknown keys a minute; 0 is no bound."""

    requests_per_address: int
    burst_per_address: int
    requests_per_deployment: int
    burst_per_deployment: int
    unknown_keys_per_address: int
    connections: int
    connections_per_address: int
    queue_delay_millis: int

    def __bool__(self) -> bool:
        return any(getattr(self, name) for name in EDGE)


def is_network(text: str) -> bool:
    """Tell whether an item of `trustedProxies` can be used."""
    if text == "unix":
        return True
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True
