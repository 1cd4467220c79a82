"""The settings of OFREP, the protocol of OpenFeature's providers."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Struct

from proxy.settings.kinds import Url, setting


class Ofrep(Struct, frozen=True, kw_only=True, rename="camel"):
    """Whether OpenFeature's providers may ask, and what their words mean."""

    enabled: Annotated[bool, setting("Answer OpenFeature's providers on `/ofrep/v1`.")] = True
    targeting_key: Annotated[
        Literal["user_id", "device_id"], setting("Which of the user's ids a `targetingKey` is.")
    ] = "user_id"
    value: Annotated[
        Literal["payload", "variant"],
        setting(
            "What a flag's value is: the variant's payload, where the flag has payloads at all,"
            " or always the variant itself."
        ),
    ] = "payload"
    public_url: Annotated[
        Url | None,
        setting(
            "The URL at which browsers reach this proxy, where that has a path of its own;"
            " event streams are announced below it.",
            default="the origin that the provider asked",
        ),
    ] = None
