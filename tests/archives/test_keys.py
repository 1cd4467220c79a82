"""Keys that sign: what is taken for one, and what is never shown."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from proxy.archives.keys import read_signer, read_trusted
from proxy.errors import ArchiveError
from tests.archives.rig import pair

PEM = serialization.Encoding.PEM
PKCS8 = serialization.PrivateFormat.PKCS8
INFO = serialization.PublicFormat.SubjectPublicKeyInfo


def private(
    key: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey, word: bytes = b""
) -> bytes:
    how = serialization.BestAvailableEncryption(word) if word else serialization.NoEncryption()
    return key.private_bytes(PEM, PKCS8, how)


def test_a_key_that_openssl_made_is_taken(tmp_path: Path) -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    (tmp_path / "key").write_bytes(private(key))
    (tmp_path / "pub").write_bytes(key.public_key().public_bytes(PEM, INFO))

    signer, trusted = read_signer(tmp_path / "key"), read_trusted(tmp_path / "pub")

    trusted.check(signer.fingerprint, signer.sign(b"data"), b"data")
    assert trusted.fingerprints == [signer.fingerprint]


def test_a_private_key_is_not_shown(tmp_path: Path) -> None:
    keys = pair(tmp_path)

    assert repr(keys.signer) == f"Signer({keys.signer.fingerprint})"


@pytest.mark.parametrize("kind", ["another kind", "with a password", "public", "nothing"])
def test_only_an_open_ed25519_key_signs(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "key"
    if kind == "another kind":
        path.write_bytes(private(ec.generate_private_key(ec.SECP256R1())))
    elif kind == "with a password":
        path.write_bytes(private(ed25519.Ed25519PrivateKey.generate(), b"secret"))
    elif kind == "public":
        path.write_bytes(pair(tmp_path).public.read_bytes())
    else:
        path.write_bytes(b"")

    with pytest.raises(ArchiveError) as refused:
        read_signer(path)
    assert refused.value.reason == "unreadable"
    assert "BEGIN" not in str(refused.value)


@pytest.mark.parametrize("kind", ["another kind", "broken", "nothing"])
def test_only_ed25519_keys_are_trusted(tmp_path: Path, kind: str) -> None:
    good = pair(tmp_path).public.read_bytes()
    other = ec.generate_private_key(ec.SECP256R1()).public_key().public_bytes(PEM, INFO)
    broken = b"-----BEGIN PUBLIC KEY-----\nnonsense\n-----END PUBLIC KEY-----\n"
    path = tmp_path / "pub"
    path.write_bytes({"another kind": good + other, "broken": good + broken, "nothing": b""}[kind])

    with pytest.raises(ArchiveError) as refused:
        read_trusted(path)
    assert refused.value.reason == "unreadable"
