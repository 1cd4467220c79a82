"""TLS on the clients' port: its settings, and what they come to."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Struct

from proxy.settings.kinds import setting

VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


class Tls(Struct, frozen=True, kw_only=True, rename="camel"):
    """The certificate that the clients' port shows, and whether clients must show one."""

    cert_file: Annotated[
        str | None,
        setting(
            "A PEM file with the certificate chain of the clients' port; with it, the port speaks"
            " TLS only. The file is looked at again every few seconds.",
            default="none: plain HTTP",
        ),
    ] = None
    key_file: Annotated[
        str | None,
        setting("The PEM file of the certificate's private key, not encrypted.", default="none"),
    ] = None
    client_ca_file: Annotated[
        str | None,
        setting(
            "A PEM file of authorities: only clients with a certificate of theirs are let in.",
            default="none",
        ),
    ] = None
    minimum_version: Annotated[
        Literal["1.2", "1.3"], setting("The least TLS version that is spoken.")
    ] = "1.2"

    @property
    def is_on(self) -> bool:
        """Whether the clients' port speaks TLS."""
        return self.cert_file is not None

    @property
    def files(self) -> tuple[str, ...]:
        """The files that it is made of."""
        return tuple(name for name in (self.cert_file, self.key_file, self.client_ca_file) if name)


class TlsError(Exception):
    """The files cannot be used; `field` is the setting at fault."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(reason)
        self.field = field


def server_context(tls: Tls) -> ssl.SSLContext:
    """Return what a server needs to speak TLS; raises TlsError with the setting at fault."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = VERSIONS[tls.minimum_version]
    context.set_alpn_protocols(["http/1.1"])
    if tls.cert_file is None or tls.key_file is None:
        missing, given = ("certFile", "keyFile") if tls.key_file else ("keyFile", "certFile")
        raise TlsError(missing, f"expected a PEM file, as `{given}` is set, got none")
    for field, name in (("certFile", tls.cert_file), ("keyFile", tls.key_file)):
        _check_readable(field, name)
    try:
        # Without a password OpenSSL would ask the terminal for one.
        context.load_cert_chain(tls.cert_file, tls.key_file, password=b"")
    except (ssl.SSLError, ValueError, OSError) as error:
        raise TlsError("certFile", _reason(error, tls)) from None
    if tls.client_ca_file is not None:
        _demand_certificates(context, tls.client_ca_file)
    return context


def _demand_certificates(context: ssl.SSLContext, authorities: str) -> None:
    _check_readable("clientCaFile", authorities)
    try:
        context.load_verify_locations(authorities)
    except (ssl.SSLError, ValueError, OSError):
        raise TlsError("clientCaFile", "expected PEM certificates of authorities") from None
    context.verify_mode = ssl.CERT_REQUIRED
    # Who resumes a session is not asked for a certificate again, whatever has become of it.
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0


def _check_readable(field: str, name: str) -> None:
    try:
        Path(name).read_bytes()
    except OSError as error:
        raise TlsError(field, f"cannot be read: {error.strerror}") from None
    except ValueError:
        raise TlsError(field, "cannot be read: not a file name") from None


def _reason(error: Exception, tls: Tls) -> str:
    reason = getattr(error, "reason", None) or ""
    if reason == "KEY_VALUES_MISMATCH":
        return "expected the certificate of the key in `keyFile`, got another's"
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(tls.cert_file)
    except (ssl.SSLError, ValueError, OSError):
        return "expected a PEM certificate chain, leaf first"
    return "expected it to fit an unencrypted PEM key in `keyFile`"
