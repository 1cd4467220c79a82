"""TLS on the clients' port: real handshakes, renewal without a restart, client certificates."""

import asyncio
import io
import ssl
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import aiohttp
import pytest
import trustme

from proxy.api.tls import RenewingTls
from proxy.metrics import Metrics
from proxy.settings.schema import Limits
from proxy.settings.tls import Tls, TlsError, server_context
from tests import builders
from tests.builders import KEY, flag
from tests.serving import Served, read_answer, serving


class Files:
    """The files of a server's certificate, written as an operator's tool would."""

    def __init__(self, directory: Path) -> None:
        self.cert, self.key, self.ca = (directory / name for name in ("cert", "key", "ca"))

    def write(
        self, authority: trustme.CA, expires: datetime | None = None, host: str = "localhost"
    ) -> None:
        issued = authority.issue_cert(host, not_after=expires)
        self.key.write_bytes(issued.private_key_pem.bytes())
        self.cert.write_bytes(b"".join(one.bytes() for one in issued.cert_chain_pems))
        self.ca.write_bytes(authority.cert_pem.bytes())

    def break_off(self, which: str) -> None:
        Path(getattr(self, which)).write_bytes(b"half of a fi")

    def tls(self, *, client_certificates: bool = False, **changes: str) -> Tls:
        return Tls(
            cert_file=str(self.cert),
            key_file=str(self.key),
            client_ca_file=str(self.ca) if client_certificates else None,
            **changes,  # type: ignore[arg-type]
        )


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def another() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def files(tmp_path: Path, authority: trustme.CA) -> Files:
    written = Files(tmp_path)
    written.write(authority)
    return written


def trusting(authority: trustme.CA, certificate: trustme.LeafCert | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    if certificate is not None:
        certificate.configure_cert(context)
    return context


@asynccontextmanager
async def speaking(tls: Tls) -> AsyncIterator[tuple[Served, RenewingTls]]:
    renewing = RenewingTls(tls, Metrics())
    async with serving(tls=renewing.context) as served:
        yield served, renewing


async def status_of(served: Served, context: ssl.SSLContext) -> int:
    """Ask over a connection of its own."""
    url = f"https://localhost:{served.port}/status"
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as client,
        client.get(url, ssl=context) as answer,
    ):
        assert await answer.read() == b"OK"
        return answer.status


async def test_it_answers_over_tls_and_not_without(files: Files, authority: trustme.CA) -> None:
    async with speaking(files.tls()) as (served, _):
        assert await status_of(served, trusting(authority)) == 200
        async with aiohttp.ClientSession() as client:
            with pytest.raises(aiohttp.ClientError):
                await client.get(f"http://localhost:{served.port}/status")


async def test_a_stranger_to_the_authority_is_not_fooled(files: Files, another: trustme.CA) -> None:
    async with speaking(files.tls()) as (served, _):
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await status_of(served, trusting(another))


async def test_old_versions_are_refused(files: Files, authority: trustme.CA) -> None:
    old = trusting(authority)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    async with speaking(files.tls(minimum_version="1.3")) as (served, _):
        with pytest.raises(aiohttp.ClientConnectorError):
            await status_of(served, old)
        assert await status_of(served, trusting(authority)) == 200


async def test_a_new_certificate_is_shown_without_a_restart(
    files: Files, authority: trustme.CA, another: trustme.CA
) -> None:
    later = datetime(2199, 1, 1, tzinfo=UTC)
    async with speaking(files.tls()) as (served, renewing):
        async with aiohttp.ClientSession() as kept:
            url = f"https://localhost:{served.port}/status"
            async with kept.get(url, ssl=trusting(authority)) as answer:
                assert answer.status == 200
            files.write(another, later)

            assert await renewing.look()
            assert await renewing.look() is False

            assert await status_of(served, trusting(another)) == 200
            with pytest.raises(aiohttp.ClientConnectorCertificateError):
                await status_of(served, trusting(authority))
            # Who was connected stays so.
            assert served.server.connections_open() == 1
        assert renewing.status()["expires_at"] == later.timestamp()


@pytest.mark.parametrize("broken", ["cert", "key"])
async def test_files_that_do_not_fit_leave_the_last_good_ones(
    files: Files,
    authority: trustme.CA,
    another: trustme.CA,
    broken: str,
    log_lines: io.StringIO,
) -> None:
    async with speaking(files.tls()) as (served, renewing):
        files.break_off(broken)
        for _ in range(3):
            assert await renewing.look() is False
        assert "certFile" in renewing.status()["trouble"]
        assert log_lines.getvalue().count("cannot be used") == 1
        assert await status_of(served, trusting(authority)) == 200

        files.write(another)

        assert await renewing.look()
        assert renewing.status()["trouble"] == ""
        assert await status_of(served, trusting(another)) == 200


async def test_the_files_are_looked_at_again_and_again(files: Files, another: trustme.CA) -> None:
    renewing = RenewingTls(files.tls(), Metrics(), look_seconds=0.001)
    before = renewing.status()["expires_at"]
    watching = asyncio.ensure_future(renewing.watch())
    files.write(another, datetime(2199, 1, 1, tzinfo=UTC))

    async with asyncio.timeout(30):
        while renewing.status()["expires_at"] == before:
            await asyncio.sleep(0)

    watching.cancel()


async def test_only_clients_with_a_certificate_of_the_authority_are_let_in(
    files: Files, authority: trustme.CA, another: trustme.CA
) -> None:
    ours = trusting(authority, authority.issue_cert("client.example"))
    foreign = trusting(authority, another.issue_cert("client.example"))
    async with speaking(files.tls(client_certificates=True)) as (served, renewing):
        assert await status_of(served, ours) == 200
        for stranger in (foreign, trusting(authority)):
            with pytest.raises((aiohttp.ClientError, ssl.SSLError, ConnectionError)):
                await status_of(served, stranger)

        # Another authority for clients; the one of the server stays.
        files.ca.write_bytes(another.cert_pem.bytes())
        assert await renewing.look()

        assert await status_of(served, foreign) == 200
        with pytest.raises((aiohttp.ClientError, ssl.SSLError, ConnectionError)):
            await status_of(served, ours)


def test_mistakes_name_the_setting(files: Files, another: trustme.CA, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign"
    foreign.write_bytes(another.issue_cert("localhost").private_key_pem.bytes())
    no_pem = tmp_path / "none"
    no_pem.write_text("hello")
    cert, key = str(files.cert), str(files.key)
    for tls, field, reason in (
        (Tls(cert_file=cert), "keyFile", "`certFile` is set"),
        (Tls(key_file=key), "certFile", "`keyFile` is set"),
        (Tls(cert_file=cert + "?", key_file=key), "certFile", "cannot be read: No such file"),
        (Tls(cert_file=cert, key_file=str(tmp_path)), "keyFile", "cannot be read: Is a dir"),
        (Tls(cert_file=str(no_pem), key_file=key), "certFile", "PEM certificate chain"),
        (Tls(cert_file=cert, key_file=str(no_pem)), "certFile", "PEM key in `keyFile`"),
        (Tls(cert_file=cert, key_file=str(foreign)), "certFile", "got another's"),
        (
            Tls(cert_file=cert, key_file=key, client_ca_file=str(no_pem)),
            "clientCaFile",
            "expected PEM certificates",
        ),
    ):
        with pytest.raises(TlsError, match=reason) as caught:
            server_context(tls)
        assert caught.value.field == field


async def test_who_does_not_read_is_cut_off_and_holds_little(
    files: Files, authority: trustme.CA
) -> None:
    flags = [flag(f"flag-{n}", payload="x" * 10_000) for n in range(1000)]
    chosen = builders.settings(limits=Limits(request_timeout_millis=1000))
    context = RenewingTls(files.tls(), Metrics()).context
    async with serving(flags, chosen, tls=context) as served:
        raw = f"GET /sdk/v2/flags HTTP/1.1\r\nHost: p\r\nAuthorization: Api-Key {KEY}\r\n\r\n"
        reader, writer = await asyncio.open_connection(
            "localhost", served.port, ssl=trusting(authority), limit=2**24
        )
        writer.write(raw.encode())
        assert (await read_answer(reader)).status == 200

        cast("asyncio.Transport", writer.transport).pause_reading()
        tracemalloc.start()
        try:
            writer.write(raw.encode())
            async with asyncio.timeout(30):
                while served.server.connections_open():
                    await asyncio.sleep(0)
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        writer.transport.abort()

    assert most < 4 * 2**20
