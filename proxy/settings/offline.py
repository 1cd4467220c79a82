"""Serving without Amplitude: from a data directory, a snapshot file, or a file of flags."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Annotated, Final, Literal

from msgspec import Struct

from proxy.settings.kinds import interval, setting

Kind = Literal["directory", "snapshot", "flags"]
FLAG_FILES: Final = (".json", ".yaml", ".yml")
FOLDER: Final = "offline"
"""Where in `dataDir` a snapshot is unpacked."""


class Offline(Struct, frozen=True, kw_only=True, rename="camel"):
    """What is served instead of asking Amplitude, and what becomes of events meanwhile."""

    path: Annotated[
        str | None,
        setting(
            "A data directory, a snapshot file, or a file of flags (`.json`, `.yaml`): it is"
            " served, looked at again and again, and Amplitude is never asked.",
            default="none: Amplitude is asked",
        ),
    ] = None
    verify_key_file: Annotated[
        str | None,
        setting(
            "A PEM file of the public keys whose snapshots are taken.",
            default="required for a snapshot file without `unsigned`",
        ),
    ] = None
    unsigned: Annotated[bool, setting("Take snapshots whoever signed them.")] = False
    allow_older: Annotated[
        bool, setting("Let a snapshot replace what is newer than it, to go back.")
    ] = False
    max_bytes: Annotated[
        int, setting("The most bytes that a snapshot may unpack to.", ge=1024, le=2**50)
    ] = 2**36
    poll_millis: Annotated[int, interval("The pause between looks whether it changed.")] = 1000
    events: Annotated[
        Literal["drop", "keep"],
        setting(
            "What becomes of events: they are not taken, and counted; or they wait in `dataDir`"
            " for a start that is not offline."
        ),
    ] = "drop"

    @property
    def is_on(self) -> bool:
        """Whether Amplitude is not to be asked."""
        return self.path is not None


class OfflineError(Exception):
    """It cannot be served like this; `field` is the setting at fault."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(reason)
        self.field = field


def kind_of(path: str) -> Kind:
    """Return what lies at a path, by what it is and how it is called."""
    if Path(path).is_dir():
        return "directory"
    return "flags" if path.lower().endswith(FLAG_FILES) else "snapshot"


def check_offline(offline: Offline, data_dir: str | None) -> None:
    """Return if it can be tried; raises OfflineError with the setting at fault."""
    if offline.path is None:
        return
    if not _can_be_served(offline.path, data_dir):
        raise OfflineError("path", "there is nothing at this path")
    if offline.events == "keep" and data_dir is None:
        raise OfflineError("events", "expected `dataDir`, where events can wait, got none")
    if kind_of(offline.path) != "snapshot" or offline.unsigned:
        return
    if offline.verify_key_file is None:
        what = "a snapshot file needs `offline.verifyKeyFile` (or `offline.unsigned: true`)"
        raise OfflineError("path", what)
    try:
        Path(offline.verify_key_file).read_bytes()
    except OSError as error:
        raise OfflineError("verifyKeyFile", f"cannot be read: {error.strerror}") from None


def _can_be_served(path: str, data_dir: str | None) -> bool:
    """Tell whether something is there, or was and is unpacked still."""
    unpacked = None if data_dir is None else Path(data_dir, FOLDER)
    with suppress(OSError):
        if Path(path).exists():
            return True
        return unpacked is not None and kind_of(path) == "snapshot" and unpacked.is_dir()
    return False
