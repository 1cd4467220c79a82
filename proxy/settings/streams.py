"""The settings of streams: what clients are told as it changes, and within which bounds."""

from __future__ import annotations

from typing import Annotated

from msgspec import Struct

from proxy.settings.kinds import LONGEST_MILLIS, MEBIBYTE, setting


class Streams(Struct, frozen=True, kw_only=True, rename="camel"):
    """Streams of flag configs, and of variants, to clients."""

    enabled: Annotated[
        bool,
        setting("Push changed flag configs to SDKs that stream; `false` tells them to poll (501)."),
    ] = True
    variants: Annotated[
        bool, setting("Push changed variants of a user, too: `/sdk/stream/v1/vardata`.")
    ] = False
    keep_alive_millis: Annotated[
        int,
        setting(
            "The longest silence on a stream; SDKs give up after 17 seconds.", ge=100, le=16_000
        ),
    ] = 15_000
    renew_millis: Annotated[
        int,
        setting(
            "After this time, and up to a quarter more, a stream is ended, so that clients spread"
            " anew over all instances.",
            ge=900_000,
            le=LONGEST_MILLIS,
        ),
    ] = 3_600_000
    max_connections: Annotated[
        int, setting("How many streams may be open; further ones are answered 503.", ge=0, le=2**20)
    ] = 20_000
    max_unread_bytes: Annotated[
        int,
        setting(
            "How many bytes may wait for slow readers, all together; beyond it those that have"
            " read nothing for the longest time are cut off.",
            ge=MEBIBYTE,
            le=2**40,
        ),
    ] = 64 * MEBIBYTE
