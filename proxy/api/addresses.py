"""Whose request it is: addresses of clients, also behind proxies that are trusted. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, final

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

LOCAL: Final = "local"
"""Who comes by the Unix socket."""
UNIX: Final = "unix"
NEIGHBOURS: Final = 64
"""So many bits of an IPv6 address are one client's; the rest it chooses as it likes."""
MOST_HOPS: Final = 16
LONGEST_HOP: Final = 64
MOST_REMEMBERED: Final = 4096
FOR: Final = re.compile(r'(?:^|;)\s*for\s*=\s*"?([^";]*)"?', re.IGNORECASE)
WITH_PORT: Final = re.compile(r"\[([^\]]*)\](?::[0-9]{1,5})?|([0-9.]+)(?::[0-9]{1,5})?")


@final
class Addresses:
    """Finds the address by which a client is counted.

    `trusted` are networks whose word counts; `header` names the one header in which they give it.
    """

    def __init__(self, trusted: Iterable[str], header: str) -> None:
        given = tuple(trusted)
        self._networks = [ipaddress.ip_network(one, strict=False) for one in given if one != UNIX]
        self._trusts_local = UNIX in given
        self._header = header.lower()
        self._in_elements = self._header == "forwarded"
        self._known = lru_cache(MOST_REMEMBERED)(self._look)

    def of_peer(self, peer: Any) -> tuple[str, bool]:
        """Return whom a connection is counted for, and whether it is a trusted proxy's.

        `peer` is the other end's name as the socket gives it.
        """
        if not isinstance(peer, tuple):
            return LOCAL, self._trusts_local
        known = self._known(str(peer[0]))
        return known if known is not None else (LOCAL, False)

    def of_request(self, peer: str, headers: Mapping[str, str]) -> str:
        """Return whom a request is counted for that a trusted proxy, itself `peer`, has passed on.

        Of the hops that the header lists, the last that is not trusted is the client; what stands
        before it anybody can have written. What is no address ends the search at who wrote it.
        """
        found = peer
        for hop in reversed(self._hops(headers)):
            known = self._known(hop) if len(hop) <= LONGEST_HOP else None
            if known is None:
                return found
            found, is_trusted = known
            if not is_trusted:
                return found
        return found

    def _hops(self, headers: Mapping[str, str]) -> Sequence[str]:
        """Return the last hops, the latest at the end."""
        # Each proxy may add a line of its own, and only the last of them is surely its.
        every = getattr(headers, "getall", None)
        lines = every(self._header, ()) if every else filter(None, [headers.get(self._header)])
        hops = [hop.strip() for hop in ",".join(lines).rsplit(",", MOST_HOPS)[-MOST_HOPS:]]
        if self._in_elements:
            return [match[1] if (match := FOR.search(hop)) else "" for hop in hops]
        return hops

    def _look(self, text: str) -> tuple[str, bool] | None:
        """Return by which name an address is counted, and whether it is trusted; None if none."""
        address = parsed(text)
        if address is None:
            return None
        is_trusted = any(address in network for network in self._networks)
        return counted(address), is_trusted


def parsed(text: str) -> Address | None:
    """Return the address that a text is, with a port or not; None if it is none."""
    bracketed = WITH_PORT.fullmatch(text)
    if bracketed:
        text = bracketed[1] or bracketed[2] or ""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def counted(address: Address) -> str:
    """Return the name by which an address is counted: of IPv6, its network."""
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.IPv6Network((address, NEIGHBOURS), strict=False))
    return str(address)
