"""A document that is made when somebody asks for it for the first time."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING, Final, NamedTuple, final

from proxy.openapi.conditions import in_force
from proxy.openapi.document import document_of

if TYPE_CHECKING:
    from proxy.openapi.document import Port
    from proxy.settings.schema import Settings

PATH: Final = "/openapi.json"
TAG_BYTES: Final = 12


class Document(NamedTuple):
    """JSON, and what stands for it in an entity tag."""

    body: bytes
    tag: str


@final
class Description:
    """What one port says of itself; `made` is None until somebody has asked."""

    def __init__(self, port: Port, settings: Settings) -> None:
        self.made: Document | None = None
        self._port = port
        self._settings = settings
        self._making = asyncio.Lock()

    def take(self, settings: Settings) -> None:
        """Fit other settings from now on."""
        if in_force(settings) != in_force(self._settings):
            self.made = None
        self._settings = settings

    async def make(self) -> Document:
        """Return the document; a thread makes it, once."""
        async with self._making:
            while self.made is None:
                settings = self._settings
                body = await asyncio.to_thread(document_of, self._port, settings)
                if settings is self._settings:
                    tag = hashlib.blake2b(body, digest_size=TAG_BYTES).hexdigest()
                    self.made = Document(body, tag)
            return self.made
