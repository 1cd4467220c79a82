"""The settings of reloading: how a running proxy notices that its configuration has changed."""

from __future__ import annotations

from typing import Annotated

from msgspec import Struct

from proxy.settings.kinds import interval


class Reload(Struct, frozen=True, kw_only=True, rename="camel"):
    """When the files of the configuration are looked at."""

    watch_millis: Annotated[
        int,
        interval(
            "How often the configuration file, and the files with secrets that it names, are"
            " looked at for changes; 0 leaves it to SIGHUP.",
            ge=0,
        ),
    ] = 1000
