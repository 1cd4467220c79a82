"""Secrets that stand in files of their own, as secret stores mount them."""

from __future__ import annotations

from typing import Any

from proxy.settings.reading import printable, read_bytes

LONGEST_SECRET_BYTES = 65_536


def read_secret(file: Any) -> str:
    """Return the file's text without the white space around it; raises ValueError, saying why.

    The reason names the file, unless the name may be the secret itself, and never the content.
    """
    name = _shown_name(file)
    if not isinstance(file, str) or not file.strip():
        raise ValueError(f"expected the name of a file, got {name}")
    try:
        text = read_bytes(file.strip(), LONGEST_SECRET_BYTES).decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        raise ValueError(f"{name} is not UTF-8") from None
    except ValueError as error:
        raise ValueError(f"{name} {error}") from None
    if not text:
        raise ValueError(f"{name} is empty")
    return text


def _shown_name(file: Any) -> str:
    if isinstance(file, str) and "/" in file and "://" not in file:
        return printable(file.strip())
    return "a value that is not shown, in case it is the secret itself,"
