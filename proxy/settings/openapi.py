"""The settings of the document that the clients' port gives of itself."""

from __future__ import annotations

from typing import Annotated

from msgspec import Struct

from proxy.settings.kinds import setting


class OpenApi(Struct, frozen=True, kw_only=True, rename="camel"):
    """Whether clients are told what they may ask."""

    enabled: Annotated[
        bool,
        setting(
            "Serve `/openapi.json` on the clients' port; it tells the version and what is switched"
            " on."
        ),
    ] = True
