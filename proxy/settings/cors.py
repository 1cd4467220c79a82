"""The settings of CORS: which web pages may call the clients' port."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Struct

from proxy.settings.kinds import setting

HOST = r"(?:\[[0-9A-Fa-f:.]+\]|(?:\*\.)?[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*)"
ORIGIN = rf"(?:\*|null|none|[A-Za-z][A-Za-z0-9+.-]*://{HOST}(?::(?:[0-9]{{1,5}}|\*))?)"
ORIGINS: dict[str, Any] = {
    "pattern": f"^{ORIGIN}$",
    "expected": "an origin such as https://shop.example, https://*.example.com or *",
}
RULES: dict[str, Any] = {
    "pattern": rf"^[^=\s][^=]*=\s*{ORIGIN}(?:\s+{ORIGIN})*$",
    "expected": "a deployment, `=`, and origins divided by blanks",
}
HEADERS: dict[str, Any] = {
    "pattern": r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$",
    "expected": "the name of a header",
}


class Cors(Struct, frozen=True, kw_only=True, rename="camel"):
    """Which pages' scripts may call, and what they may send."""

    origins: Annotated[
        tuple[str, ...],
        setting(
            "The origins whose pages may call: exact ones, `https://*.example.com` for every"
            " subdomain, `http://localhost:*` for every port, `*` for any page; `none`, or an empty"
            " list, for no page.",
            **ORIGINS,
        ),
    ] = ("*",)
    deployments: Annotated[
        tuple[str, ...],
        setting(
            "Deployments with origins of their own, instead of those above: `web = https://a.example"
            " https://b.example`. A deployment is named as `/status` shows it, or by the"
            " hash of its key that is shown there.",
            **RULES,
        ),
    ] = ()
    allow_headers: Annotated[
        tuple[str, ...],
        setting("Headers that pages may send beyond those of the SDKs.", **HEADERS),
    ] = ()
