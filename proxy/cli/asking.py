"""Asks a running proxy over HTTP: one way for every command that does."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, OpenerDirector, ProxyHandler, Request, build_opener

from proxy.cli.evaluate import InputMistake

if TYPE_CHECKING:
    from proxy.settings.schema import OperatorsPort

ANY_ADDRESS: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  compared, not listened on
MOST_BYTES: Final = 1_048_576
NOBODY: Final[Mapping[str, str]] = {}


class NoAnswer(Exception):
    """Nobody answered; the text is the reason."""


def own_base(port: OperatorsPort) -> str:
    """Return the URL of the operators' port of these settings, on this machine."""
    host = ANY_ADDRESS.get(port.host, port.host)
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{port.port}"


def own_login(port: OperatorsPort) -> Mapping[str, str]:
    """Return the header that opens the operators' port of these settings; none if it is open."""
    if port.bearer_token is not None:
        return bearer(port.bearer_token.reveal())
    if port.basic_user is not None and port.basic_password is not None:
        return basic(port.basic_user, port.basic_password.reveal())
    return NOBODY


def bearer(token: str) -> Mapping[str, str]:
    """Return the header of a token."""
    return {"Authorization": f"Bearer {token}"}


def basic(user: str, password: str) -> Mapping[str, str]:
    """Return the header of a user name and a password."""
    pair = base64.b64encode(f"{user}:{password}".encode("utf-8", "surrogateescape")).decode()
    return {"Authorization": f"Basic {pair}"}


def secret_of(name: str, what: str) -> str:
    """Return the one word that a file holds; raises InputMistake, which never shows it.

    `what` is the word's role, as in "key".
    """
    try:
        word = Path(name).read_text(encoding="ascii").strip()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or f"not a {what}"
        raise InputMistake(f"the {what} file cannot be used: {reason}") from None
    if not word or not word.isprintable() or " " in word:
        raise InputMistake(f"the {what} file cannot be used: not a {what}")
    return word


def checked(url: str) -> str:
    """Return a URL that may be asked; raises InputMistake."""
    if not url.startswith(("http://", "https://")):
        raise InputMistake("expected a URL that begins with http:// or https://")
    try:
        host = urlsplit(url).netloc
    except ValueError:
        host = ""
    if not host or not url.isascii() or not url.isprintable() or " " in url:
        raise InputMistake("the URL cannot be used")
    if "@" in host:
        # It would be shown, and stay in the history of the shell.
        raise InputMistake("a URL cannot hold the credential; give a file that does")
    return url


def ask(
    url: str, seconds: float, headers: Mapping[str, str] = NOBODY, most: int = MOST_BYTES
) -> tuple[int, bytes]:
    """GET a URL once; return the status and the first `most` bytes. Raises NoAnswer."""
    try:
        return _ask(_direct(), Request(url, headers=dict(headers)), seconds, most)  # noqa: S310  checked
    except (URLError, OSError, ValueError, HTTPException) as error:
        raise NoAnswer(str(getattr(error, "reason", "") or type(error).__name__)) from None


class _Stay(HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Follow no redirection: the credential is for who was asked alone."""


def _direct() -> OpenerDirector:
    """Return a client that neither an environment variable nor an answer sends elsewhere."""
    return build_opener(ProxyHandler({}), _Stay)


def _ask(client: OpenerDirector, request: Request, seconds: float, most: int) -> tuple[int, bytes]:
    try:
        with client.open(request, timeout=seconds) as answer:
            return answer.status, answer.read(most)
    except HTTPError as refusal:
        with refusal:
            return refusal.code, refusal.read(most)
