"""The kinds of value that settings take, and how a setting says what it means."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta

LONGEST_MILLIS = 2_147_483_647
MEBIBYTE = 1_048_576

Url = Annotated[str, Meta(pattern=r"^[Hh][Tt][Tt][Pp][Ss]?://[!-~]+$")]
Host = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._:%-]+$")]
PathPart = Annotated[str, Meta(pattern=r"^/?[A-Za-z0-9._~-]+(/[A-Za-z0-9._~-]+)*/?$")]
UserName = Annotated[str, Meta(pattern=r"^[^:]+$")]
Level = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]
Port = Annotated[int, Meta(ge=0, le=65_535)]
Capacity = Annotated[int, Meta(ge=0, le=2**27)]
Threshold = Annotated[int, Meta(ge=1, le=LONGEST_MILLIS)]

HOST_FORM = "an IP address or a host name"
REDIS_URI_FORM: dict[str, Any] = {
    "pattern": r"^redis[a-z+-]*://[!-~]+$",
    "expected": "a Redis URI such as redis://host:6379",
    "blank_is_unset": True,
}


# Why some settings are without effect.
LOGGED_ANYWAY = "failures are logged when they begin and end, whatever it says"
EXPOSURES_ALONGSIDE = "exposures travel with assignments, as `assignment.useBatchMode` says"
NO_REDIS = "this version keeps everything in its own process, and across restarts in `dataDir`"


def setting(meaning: str, *, ge: int | None = None, le: int | None = None, **extra: Any) -> Meta:
    """Say what a setting means, its least and greatest value, and what its type cannot say.

    `extra` knows: `environment` (a name that the rule does not yield), `expected` (the form, in
    words), `default` (in words), `aliases` (other spellings of a choice), `pattern` (of a secret),
    `blank_is_unset`, and `unused` (why this version does nothing with it).
    """
    return Meta(description=meaning, ge=ge, le=le, extra=extra)


def interval(meaning: str, *, ge: int = 100, **extra: Any) -> Meta:
    """Describe a span of time in milliseconds."""
    return setting(meaning, ge=ge, le=LONGEST_MILLIS, **extra)
