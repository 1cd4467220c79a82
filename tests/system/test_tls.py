"""The real program with TLS and a Unix socket, asked by curl and by Python's own client."""

import json
import shutil
import ssl
import subprocess
import urllib.request
from pathlib import Path

import pytest
import trustme

from proxy.sandbox.server import SERVER_KEY
from tests.system.programs import Pair, get_json, wait_for

pytestmark = pytest.mark.system
FLAGS = "flags:\n  f: {serve: on}\n"


def write_certificate(directory: Path, authority: trustme.CA) -> None:
    issued = authority.issue_cert("localhost")
    (directory / "key").write_bytes(issued.private_key_pem.bytes())
    (directory / "cert").write_bytes(b"".join(one.bytes() for one in issued.cert_chain_pems))


def status_over_tls(port: int, authority: trustme.CA) -> int:
    """Ask over a connection of its own; 0 when the certificate is not trusted."""
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    try:
        with urllib.request.urlopen(f"https://localhost:{port}/status", context=trusting) as found:
            return int(found.status)
    except urllib.error.URLError:
        return 0


@pytest.mark.needs("curl")
def test_tls_and_a_unix_socket_side_by_side(tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("needs curl")
    first, second = trustme.CA(), trustme.CA()
    write_certificate(tmp_path, first)
    pair = Pair(tmp_path, FLAGS)
    config = pair.config()
    config["configuration"] |= {
        "unixSocket": str(tmp_path / "proxy.sock"),
        "tls": {"certFile": str(tmp_path / "cert"), "keyFile": str(tmp_path / "key")},
    }
    pair.config_file.write_text(json.dumps(config))
    with pair.sandbox(), pair.serve() as program:
        assert status_over_tls(pair.port, first) == 200
        assert status_over_tls(pair.port, second) == 0
        asked = ["curl", "-sS", "--unix-socket", str(tmp_path / "proxy.sock")]
        asked += ["-H", f"Authorization: Api-Key {SERVER_KEY}", "http://proxy/sdk/v2/vardata"]
        found = subprocess.run(asked, capture_output=True, check=True, timeout=30)
        assert json.loads(found.stdout)["f"]["key"] == "on"

        write_certificate(tmp_path, second)

        wait_for(lambda: status_over_tls(pair.port, second) == 200, "new certificate")
        assert status_over_tls(pair.port, first) == 0
        assert get_json(f"{pair.operators}/status")["edge"]["tls"]["trouble"] == ""
        assert program.stop() == 0
        assert not (tmp_path / "proxy.sock").exists()
        assert "BEGIN" not in program.said()


def test_a_start_with_unfit_files_says_which(tmp_path: Path) -> None:
    write_certificate(tmp_path, trustme.CA())
    (tmp_path / "key").write_text("no key")
    pair = Pair(tmp_path, FLAGS)
    config = pair.config()
    config["configuration"]["tls"] = {
        "certFile": str(tmp_path / "cert"),
        "keyFile": str(tmp_path / "key"),
    }
    pair.config_file.write_text(json.dumps(config))
    with (
        pytest.raises(AssertionError, match=r"configuration\.tls\.certFile: expected it to fit"),
        pair.serve(),
    ):
        pass
