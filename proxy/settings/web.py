"""The settings of web experiments: flags for pages, previews, and the script they load."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Struct

from proxy.settings.kinds import MEBIBYTE, interval, setting


class WebExperiment(Struct, frozen=True, kw_only=True, rename="camel"):
    """What a page is told that asks for its web flags, and by whom."""

    mode: Annotated[
        Literal["partial", "forward"],
        setting(
            "Resolve web flags here, as far as the user is known, or let Amplitude do it, which"
            " knows the properties it has stored."
        ),
    ] = "partial"
    timeout_millis: Annotated[
        int,
        setting(
            "How long a page may wait for Amplitude before it is answered from here; its script"
            " gives up after a second.",
            ge=10,
            le=60_000,
        ),
    ] = 800
    ttl_millis: Annotated[
        int,
        interval(
            "How long Amplitude's answer to a user is given again, unless a flag changes.", ge=0
        ),
    ] = 10_000
    max_bytes: Annotated[
        int,
        setting("How many bytes of Amplitude's answers are kept; 0 keeps none.", ge=0, le=2**40),
    ] = 32 * MEBIBYTE
    previews: Annotated[
        bool, setting("Pass `/web/v1/configs` on to Amplitude, for previews of experiments.")
    ] = True


class Scripts(Struct, frozen=True, kw_only=True, rename="camel"):
    """The script of web experiments, served from here."""

    enabled: Annotated[
        bool, setting("Serve `/script/{apiKey}.experiment.js` and the relay page beside it.")
    ] = True
