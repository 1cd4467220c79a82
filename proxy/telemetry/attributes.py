"""Everything that a span may say: one table, and the two ways to fill it in."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

Value = str | int | bool
Attributes = Mapping[str, Value]

LONGEST_TEXT: Final = 256
METHODS: Final = frozenset(
    {"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"}
)
OTHER_METHOD: Final = "_OTHER"


class Attribute(NamedTuple):
    """One attribute: of which spans, the type of its values, and what it says."""

    spans: str
    type: type[Value]
    meaning: str


BOTH, REQUESTS, CALLS = "both", "requests", "calls"
TABLE: Final[Mapping[str, Attribute]] = MappingProxyType(
    {
        "http.request.method": Attribute(BOTH, str, "The method; `_OTHER` for unusual ones."),
        "http.response.status_code": Attribute(BOTH, int, "The status of the answer."),
        "error.type": Attribute(
            BOTH, str, "The status, or the kind of the exception, when it failed."
        ),
        "url.scheme": Attribute(BOTH, str, "`http` or `https`."),
        "server.port": Attribute(BOTH, int, "The clients' port, or the port that was called."),
        "server.address": Attribute(CALLS, str, "The host that was called, as it is configured."),
        "http.route": Attribute(REQUESTS, str, "The path as the route table has it."),
        "amplitude_proxy.deployment": Attribute(
            REQUESTS, str, "The deployment's label, as in metrics; never its key."
        ),
        "amplitude_proxy.source": Attribute(
            REQUESTS, str, "Where its flags came from, such as `stream` or `poll`."
        ),
        "amplitude_proxy.flags": Attribute(REQUESTS, int, "How many flags it has."),
        "amplitude_proxy.cache_hit": Attribute(
            REQUESTS, bool, "Whether the answer had been kept; not there if none could be."
        ),
        "amplitude_proxy.upstream": Attribute(
            CALLS,
            str,
            "What was asked for: `deployments`, `flags`, `flag_stream`, `cohort`, `events`,"
            " `evaluation`, `web_flags`, `previews`, `script` or `other`.",
        ),
    }
)


def allowed(attributes: Attributes) -> list[tuple[str, Value]]:
    """Return what of `attributes` the table knows, texts cut to a length that is bounded."""
    kept: list[tuple[str, Value]] = []
    for name, value in attributes.items():
        known = TABLE.get(name)
        if known is not None and type(value) is known.type:
            kept.append((name, value[:LONGEST_TEXT] if isinstance(value, str) else value))
    return kept


def method_name(method: str) -> str:
    """Return a method if it is a usual one."""
    return method if method in METHODS else OTHER_METHOD
