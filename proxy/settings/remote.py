"""The settings of remote evaluation: whether Amplitude is asked for variants, and its bounds."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Struct

from proxy.settings.kinds import MEBIBYTE, Url, interval, setting


class RemoteEvaluation(Struct, frozen=True, kw_only=True, rename="camel"):
    """When Amplitude evaluates in our place, and what that may cost."""

    mode: Annotated[
        Literal["off", "fallback", "merge"],
        setting(
            "Ask Amplitude for variants: never, only for what cannot be evaluated here, or also"
            " for the flags whose evaluation mode is remote.",
            # What YAML of old makes of `off` on its way through a chart.
            aliases={"false": "off"},
        ),
    ] = "off"
    server_url: Annotated[
        Url | None, setting("Where users are evaluated remotely.", default="the zone's")
    ] = None
    timeout_millis: Annotated[
        int,
        setting(
            "How long an answer may wait for Amplitude's; Go and JVM clients wait for 500 ms.",
            ge=10,
            le=60_000,
        ),
    ] = 400
    ttl_millis: Annotated[
        int,
        interval(
            "How long Amplitude's answers are given again, unless a flag of their deployment"
            " changes.",
            ge=0,
        ),
    ] = 3_600_000
    max_bytes: Annotated[
        int,
        setting("How many bytes of answers are kept; 0 keeps none.", ge=0, le=2**40),
    ] = 64 * MEBIBYTE
    max_calls: Annotated[
        int,
        setting("How many calls may be under way at once; others wait their turn.", ge=1, le=4096),
    ] = 64
