"""The settings of events: which are reported, how they are sent, where they wait."""

from __future__ import annotations

from typing import Annotated

from msgspec import Struct

from proxy.settings.kinds import (
    EXPOSURES_ALONGSIDE,
    MEBIBYTE,
    Capacity,
    Threshold,
    interval,
    setting,
)


class Assignment(Struct, frozen=True, kw_only=True, rename="camel"):
    """Which assignments are reported, and how."""

    enabled: Annotated[bool, setting("Report assignments to Amplitude.")] = True
    filter_capacity: Annotated[
        Capacity,
        setting("How many assignments are remembered for 24 hours, to report each only once."),
    ] = 1_048_576
    event_upload_threshold: Annotated[
        Threshold, setting("Send as soon as this many events wait.")
    ] = 100
    event_upload_period_millis: Annotated[
        int, interval("Send after this time even if fewer events wait.", ge=1)
    ] = 10_000
    use_batch_mode: Annotated[
        bool,
        setting(
            "Post to `/batch`; `false` posts to `/2/httpapi`."
            " An `analyticsServerUrl` that names either is used as it is."
        ),
    ] = True
    user_properties: Annotated[
        bool,
        setting("Let events set and unset the `[Experiment] ...` properties of users."),
    ] = True
    max_pending_bytes: Annotated[
        int,
        setting(
            "How many bytes of a project's events may wait in memory; the oldest give way and are"
            " counted. An eighth of it again holds events that are on disk, too.",
            ge=65_536,
            le=2**40,
        ),
    ] = 64 * MEBIBYTE


class Exposure(Struct, frozen=True, kw_only=True, rename="camel"):
    """How exposures are reported."""

    filter_capacity: Annotated[
        Capacity,
        setting("How many exposures are remembered for 24 hours, to report each only once."),
    ] = 1_048_576
    event_upload_threshold: Annotated[
        Threshold, setting("Send as soon as this many exposures wait.")
    ] = 100
    event_upload_period_millis: Annotated[
        int,
        interval("Send after this time even if fewer exposures wait.", ge=1),
    ] = 10_000
    use_batch_mode: Annotated[
        bool,
        setting("Post to `/batch`; `false` posts to `/2/httpapi`.", unused=EXPOSURES_ALONGSIDE),
    ] = True


class Events(Struct, frozen=True, kw_only=True, rename="camel"):
    """Where events wait until Amplitude has them, and within which bounds."""

    commit_millis: Annotated[
        int,
        setting(
            "How long an event may wait before it is safe on disk, together with others;"
            " 0 makes it safe before the answer is sent.",
            ge=0,
            le=60_000,
        ),
    ] = 50
    max_bytes: Annotated[
        int,
        setting(
            "How many bytes of events may wait on disk; the oldest give way and are counted.",
            ge=MEBIBYTE,
            le=2**46,
        ),
    ] = 1024 * MEBIBYTE
    max_age_millis: Annotated[
        int,
        setting(
            "How long an event may wait; Amplitude recognises a repeated one for seven days.",
            ge=60_000,
            le=604_800_000,
        ),
    ] = 259_200_000
