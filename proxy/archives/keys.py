"""Keys that sign archives: Ed25519 in PEM files, as OpenSSL writes them."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import Final, final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)

from proxy.archives.refusals import BAD_SIGNATURE, UNKNOWN_SIGNER, UNREADABLE
from proxy.errors import ArchiveError

LONGEST_FILE: Final = 65_536
SIGNATURE_BYTES: Final = 64
PUBLIC: Final = re.compile(rb"-----BEGIN PUBLIC KEY-----.*?-----END PUBLIC KEY-----", re.DOTALL)
PEM: Final = serialization.Encoding.PEM


@final
class Signer:
    """Signs with a private key; its repr shows the fingerprint only."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.fingerprint = fingerprint(key.public_key())

    def sign(self, data: bytes) -> bytes:
        """Return the signature, 64 bytes."""
        return self._key.sign(data)

    def __repr__(self) -> str:
        return f"Signer({self.fingerprint})"


@final
class Trusted:
    """The public keys that are trusted, each enough by itself."""

    def __init__(self, keys: list[Ed25519PublicKey]) -> None:
        self._keys = {fingerprint(key): key for key in keys}

    @property
    def fingerprints(self) -> list[str]:
        """The fingerprints of all of them."""
        return list(self._keys)

    def check(self, signer: str, signature: bytes, data: bytes) -> None:
        """Return if the signer is trusted and signed exactly this; raise `ArchiveError` if not."""
        key = self._keys.get(signer)
        if key is None:
            known = ", ".join(self._keys)
            raise ArchiveError(
                UNKNOWN_SIGNER, f"it is signed by {signer}, and only {known} is trusted"
            )
        try:
            key.verify(signature, data)
        except InvalidSignature:
            text = f"the signature of {signer} does not fit: it was changed, or never signed"
            raise ArchiveError(BAD_SIGNATURE, text) from None


def fingerprint(key: Ed25519PublicKey) -> str:
    """Return 16 hex digits by which people and files name a public key."""
    raw = key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return hashlib.sha256(raw).hexdigest()[:16]


def make_pair(private: Path, public: Path) -> str:
    """Write a new pair of keys, the private one for its owner only; return the fingerprint.

    Raises `OSError`; what is there already is never written over.
    """
    key = Ed25519PrivateKey.generate()
    secret = key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    shown = key.public_key().public_bytes(PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    _write_new(public, shown, 0o644)
    try:
        _write_new(private, secret, 0o600)
    except BaseException:
        public.unlink()
        raise
    return fingerprint(key.public_key())


def read_signer(path: Path) -> Signer:
    """Return the private key of a file; raise `ArchiveError`, which quotes nothing of it."""
    try:
        key = serialization.load_pem_private_key(_read(path), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        text = f"{path} holds no private key in PEM without a password"
        raise ArchiveError(UNREADABLE, text) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise ArchiveError(UNREADABLE, f"{path} holds a key that is not Ed25519")
    return Signer(key)


def read_trusted(path: Path) -> Trusted:
    """Return all public keys of a file; raise `ArchiveError` unless each is Ed25519."""
    keys = []
    for block in PUBLIC.findall(_read(path)):
        try:
            key = serialization.load_pem_public_key(block)
        except (ValueError, UnsupportedAlgorithm):
            raise ArchiveError(UNREADABLE, f"{path} holds a public key that is broken") from None
        if not isinstance(key, Ed25519PublicKey):
            raise ArchiveError(UNREADABLE, f"{path} holds a public key that is not Ed25519")
        keys.append(key)
    if not keys:
        raise ArchiveError(UNREADABLE, f"{path} holds no public key in PEM")
    return Trusted(keys)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(LONGEST_FILE)
    except OSError as error:
        raise ArchiveError(UNREADABLE, f"cannot read {path}: {error.strerror}") from None


def _write_new(path: Path, data: bytes, mode: int) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    with os.fdopen(fd, "wb") as file:
        file.write(data)
