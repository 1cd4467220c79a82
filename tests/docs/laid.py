"""The files that a configuration of a page names: secrets, certificates."""

import re
from pathlib import Path

import trustme

from proxy.sandbox.server import API_KEY, CLIENT_KEY, MANAGEMENT_KEY, SECRET_KEY, SERVER_KEY

FILES = {
    "apiKeyFile": API_KEY,
    "secretKeyFile": SECRET_KEY,
    "managementKeyFile": MANAGEMENT_KEY,
    "deploymentKeysFile": f"{SERVER_KEY}\n{CLIENT_KEY}\n",
    "bearerTokenFile": "a-token-of-the-operators",
    "basicPasswordFile": "a-password-of-the-operators",
    "headersFile": "api-key=the-collectors",
}


def below(place: Path) -> str:
    """Return the pattern of a path below a folder, in a configuration."""
    return rf"[\"']?({re.escape(str(place))}/[^\s\"',}}]+)"


def lay_files(config: str, place: Path) -> None:
    """Lay out the files with secrets and certificates that a configuration names below `place`."""
    for name, path in re.findall(rf"(\w+File): *{below(place)}", config):
        file = Path(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        if not file.exists():
            file.write_text(FILES.get(name, "a-secret"))
    if "certFile" in config:
        lay_certificates(config, place)


def lay_certificates(config: str, place: Path) -> None:
    """Put a certificate, its key and its authority where a configuration looks for them."""
    authority = trustme.CA()
    issued = authority.issue_cert("localhost", "127.0.0.1")
    for name, source in (
        ("certFile", b"".join(each.bytes() for each in issued.cert_chain_pems)),
        ("keyFile", issued.private_key_pem.bytes()),
        ("clientCaFile", authority.cert_pem.bytes()),
    ):
        for path in re.findall(rf"\b{name}: *{below(place)}", config):
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).write_bytes(source)
