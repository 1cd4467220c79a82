"""TLS that renews itself: certificates are read again when their files change."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

from cryptography import x509

from proxy import logs
from proxy.settings.tls import Tls, TlsError, server_context

if TYPE_CHECKING:
    from proxy.metrics import Metrics

LOOK_SECONDS: Final = 5.0


@final
class RenewingTls:
    """Gives new connections the newest certificate that could be read; those open keep theirs."""

    def __init__(self, tls: Tls, metrics: Metrics, look_seconds: float = LOOK_SECONDS) -> None:
        """Read the files; raises TlsError."""
        self._tls = tls
        self._metrics = metrics
        self._look_seconds = look_seconds
        self._seen = self._state_of_files()
        self._trouble = ""
        self._newest, self._expires = _read(tls)
        self._metrics.tls_expiry.set(self._expires)
        self.context = server_context(tls)
        self.context.sni_callback = self._hand_newest
        self._log = logs.get("api")

    async def watch(self) -> None:
        """Look for ever whether the files have changed."""
        while True:
            await asyncio.sleep(self._look_seconds)
            await self.look()

    async def look(self) -> bool:
        """Read the files anew if they changed; return whether the certificate is another now."""
        state = await asyncio.to_thread(self._state_of_files)
        if state == self._seen:
            return False
        try:
            newest, expires = await asyncio.to_thread(_read, self._tls)
        except TlsError as error:
            # Certificate and key are often written one after the other: look again.
            self._take_trouble(f"{error.field}: {error}")
            return False
        self._seen, self._newest, self._expires = state, newest, expires
        self._trouble = ""
        self._metrics.tls_expiry.set(expires)
        self._metrics.tls_reloads.labels("done").inc()
        self._log.info("TLS certificate read anew", expires_at=self._expires)
        return True

    def status(self) -> dict[str, Any]:
        """Return until when the certificate is valid, and what is wrong with newer files."""
        return {
            "expires_at": self._expires,
            "client_certificates": self._tls.client_ca_file is not None,
            "trouble": self._trouble,
        }

    def _hand_newest(
        self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext
    ) -> None:
        connection.context = self._newest

    def _take_trouble(self, reason: str) -> None:
        self._metrics.tls_reloads.labels("failed").inc()
        if reason != self._trouble:
            self._trouble = reason
            self._log.error("TLS files cannot be used, the last good ones are", reason=reason)

    def _state_of_files(self) -> tuple[tuple[int, int, int] | None, ...]:
        return tuple(_state(name) for name in self._tls.files)


def _read(tls: Tls) -> tuple[ssl.SSLContext, float]:
    """Return what the files hold now, and when the certificate expires, in seconds since 1970."""
    context = server_context(tls)
    assert tls.cert_file is not None
    try:
        chain = x509.load_pem_x509_certificates(Path(tls.cert_file).read_bytes())
    except (OSError, ValueError):
        raise TlsError("certFile", "expected a PEM certificate chain, leaf first") from None
    return context, chain[0].not_valid_after_utc.timestamp()


def _state(name: str) -> tuple[int, int, int] | None:
    try:
        found = Path(name).stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size
