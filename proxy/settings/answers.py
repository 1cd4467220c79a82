"""The settings of the answer cache: how much memory answers may take that are given again."""

from __future__ import annotations

from typing import Annotated

from msgspec import Struct

from proxy.settings.kinds import MEBIBYTE, setting


class AnswerCache(Struct, frozen=True, kw_only=True, rename="camel"):
    """Answers to evaluation requests, kept until flags or cohorts change."""

    max_bytes: Annotated[
        int,
        setting(
            "How many bytes of answers are kept for whoever asks the same again; 0 keeps none.",
            ge=0,
            le=2**40,
        ),
    ] = 64 * MEBIBYTE
