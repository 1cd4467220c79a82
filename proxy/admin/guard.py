"""Who may use the operators' port, and which pages of other sites may not make a browser do so."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
import time
from typing import TYPE_CHECKING, Final, Literal, final

import msgspec

from proxy import logs
from proxy.admin.pages import Ask, Page, refusal
from proxy.secret import Secret

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterable, Mapping

    from proxy.metrics import Metrics
    from proxy.settings.schema import OperatorsPort

Reason = Literal["no_credential", "wrong_credential", "foreign_host", "cross_site"]

REASONS: Final[dict[Reason, tuple[int, str]]] = {
    "no_credential": (401, "The operators' port wants a credential"),
    "wrong_credential": (401, "The operators' port does not know this credential"),
    "foreign_host": (
        403,
        "Ask for this port as localhost or by an IP address; with a credential, by any name",
    ),
    "cross_site": (403, "A page of another site asks"),
}
REALM: Final = 'realm="evaluation-proxy operators"'
PROBES: Final = frozenset({"/livez", "/readyz"})
LINE_PAUSE_SECONDS: Final = 60.0
HOST: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]]+)(?::[0-9]*)?")


@final
class Guard:
    """Looks at each request before any page does; whom it refuses is counted, and logged rarely.

    Without a credential everybody is let in who reaches the port. `clock` gives seconds that never
    go back.
    """

    def __init__(
        self, access: OperatorsPort, metrics: Metrics, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.take(access)
        self._is_local = False
        self._clock = clock
        self._counts = {reason: metrics.operators_refused.labels(reason) for reason in REASONS}
        self._unsaid: dict[Reason, int] = dict.fromkeys(REASONS, 0)
        self._next_line: dict[Reason, float] = {}
        self._log = logs.get("admin")

    def take(self, access: OperatorsPort) -> None:
        """Let in who has these credentials from now on."""
        self._token = access.bearer_token
        self._user = None if access.basic_user is None else Secret(access.basic_user)
        self._password = access.basic_password
        self._wants_credential = self._token is not None or self._password is not None

    def stand_at(self, bound: Iterable[socket.socket]) -> None:
        """Learn where the port listens, and say in the log to whom it is open.

        On this machine alone, names of other machines are refused.
        """
        self._is_local = all(is_loopback(each.getsockname()[0]) for each in bound)
        if self._wants_credential:
            told = {"open_to": "who has the credential"}
        elif self._is_local:
            told = {"open_to": "this machine", "hint": "metrics.host opens it to others"}
        else:
            hint = "metrics.bearerToken or metrics.basicUser close it"
            told = {"open_to": "everybody who reaches it", "hint": hint}
        self._log.info("operators' port", **told)

    def __call__(self, ask: Ask) -> Ask | Page:
        """Let a request pass, or answer it; probes pass, not known if they would be refused."""
        reason = self._reason(ask)
        if reason is None:
            return ask
        is_probe = ask.path in PROBES and ask.method in ("GET", "HEAD")
        if not (is_probe and reason == "no_credential"):
            self._note(reason, ask.address)
        if is_probe:
            return msgspec.structs.replace(ask, is_known=False)
        status, error = REASONS[reason]
        refused = refusal(status, error)
        if status != 401:
            return refused
        return msgspec.structs.replace(refused, headers=self._invitation())

    def _reason(self, ask: Ask) -> Reason | None:
        headers = ask.headers
        if headers.get("Sec-Fetch-Site") == "cross-site" and not _opens_the_page(ask):
            return "cross_site"
        # Browsers tell their site to hosts they trust alone, and their origin with every POST.
        if ask.method == "POST" and "Origin" in headers and not _is_json(headers):
            return "cross_site"
        if not self._wants_credential:
            # Who asks for another name may be a page whose own name was made to lead here.
            foreign = self._is_local and not is_own_name(headers.get("Host", "localhost"))
            return "foreign_host" if foreign else None
        given = headers.get("Authorization")
        if given is None:
            return "no_credential"
        return None if self._knows(given) else "wrong_credential"

    def _knows(self, given: str) -> bool:
        scheme, _, credential = given.partition(" ")
        match scheme.lower():
            case "bearer":
                return self._token is not None and self._token.matches(credential.strip())
            case "basic":
                return self._knows_user(credential)
        return False

    def _knows_user(self, credential: str) -> bool:
        if self._user is None or self._password is None:
            return False
        try:
            pair = base64.b64decode(credential.strip(), validate=True)
        except (binascii.Error, ValueError):
            return False
        user, _, password = pair.decode("utf-8", "surrogateescape").partition(":")
        # Both are compared, whatever the first says: time tells nothing of either.
        return self._user.matches(user) & self._password.matches(password)

    def _invitation(self) -> tuple[tuple[str, str], ...]:
        basic = f'Basic {REALM}, charset="UTF-8"' if self._password is not None else ""
        bearer = f"Bearer {REALM}" if self._token is not None else ""
        return (("WWW-Authenticate", ", ".join(filter(None, (basic, bearer)))),)

    def _note(self, reason: Reason, address: str | None) -> None:
        self._counts[reason].inc()
        self._unsaid[reason] += 1
        now = self._clock()
        if now >= self._next_line.get(reason, now):
            told = {"reason": reason, "address": address, "refused": self._unsaid[reason]}
            self._log.warning("operators' port refused a request", **told)
            self._next_line[reason] = now + LINE_PAUSE_SECONDS
            self._unsaid[reason] = 0


def _opens_the_page(ask: Ask) -> bool:
    """Tell whether somebody follows a link to the status page, which shows nothing to the link."""
    return (
        ask.path == "/"
        and ask.method in ("GET", "HEAD")
        and ask.headers.get("Sec-Fetch-Mode") == "navigate"
        and ask.headers.get("Sec-Fetch-Dest") == "document"
    )


def _is_json(headers: Mapping[str, str]) -> bool:
    """Tell whether a body is JSON: no page of another origin can say so without being let."""
    kind = headers.get("Content-Type", "").partition(";")[0]
    return kind.strip().lower() == "application/json"


def is_own_name(host: str) -> bool:
    """Tell whether a `Host` header is an IP address or localhost: names that nobody can move."""
    found = HOST.fullmatch(host.strip())
    if found is None:
        return False
    name = found[1].strip("[]").lower().removesuffix(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def is_loopback(address: str) -> bool:
    """Tell whether only this machine reaches an address that is listened on."""
    try:
        return ipaddress.ip_address(address.partition("%")[0]).is_loopback
    except ValueError:
        return False
