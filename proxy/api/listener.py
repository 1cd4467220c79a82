"""What accepts connections, and what they share."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from aiohttp import web

from proxy.api.outbox import Outbox
from proxy.api.parsing import request_of

if sys.version_info >= (3, 12):
    from typing import override
else:  # aiohttp brings it along
    from typing_extensions import override

if TYPE_CHECKING:
    from proxy.api.connection import Connection
    from proxy.api.doorman import Doorman


class Listener(web.Server):
    """aiohttp's server, with connections of our kind."""

    def __init__(
        self,
        handle: Callable[..., object],
        make: Callable[..., Connection],
        doorman: Doorman | None = None,
    ) -> None:
        super().__init__(handle, request_factory=request_of)  # type: ignore[arg-type]
        self.outbox = Outbox()
        self.doorman = doorman
        self._make = make

    @override
    def __call__(self) -> Connection:
        return self._make(self)
