"""Mistakes: collected all, said at once; each has its place, what is there, what was expected."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Any

from proxy.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterable

# A key that has another form may be a secret that lost its place: letters, then few digits at most.
SHOWABLE_KEY = re.compile(r"<<|(?!server-|client-)[A-Za-z_-]{1,48}[0-9]{0,3}")
# A long run with letters and digits may be a key that was put under another name; what follows
# these signs in a URL may be one too, and what stands before `@` a password.
KEY_LIKE = re.compile(r"server-|client-|[@?#]|(?=[A-Za-z]*[0-9])[A-Za-z0-9]{20,}")
LONGEST_SHOWN = 100
# More than a person reads: a file with so many mistakes is some other file.
MOST_SENTENCES = 500


class Mistakes:
    """All mistakes found so far."""

    def __init__(self) -> None:
        self.sentences: list[str] = []

    def add(self, where: str, what: str) -> None:
        """Remember one mistake; neither part may hold a secret."""
        self.sentences.append(f"{where}: {what}")

    def unknown_key(self, where: str, key: str, known: Iterable[str]) -> None:
        """Remember that nobody reads `key`, and name the known one that it resembles most."""
        if key == "<<":
            self.add(where, "merge keys (`<<`) are not supported; write the keys out")
            return
        nearest = nearest_of(key, known)
        hint = f"; did you mean `{nearest}`?" if nearest else f"; known are {', '.join(known)}"
        self.add(where, f"unknown key{hint}")

    def raise_if_any(self) -> None:
        """Raise a SettingsError that carries all mistakes, if there is one."""
        distinct = list(dict.fromkeys(self.sentences))
        if len(distinct) > MOST_SENTENCES:
            rest = len(distinct) - MOST_SENTENCES
            distinct[MOST_SENTENCES:] = [f"and {rest} more mistakes"]
        if distinct:
            raise SettingsError(distinct)


def nearest_of(name: str, known: Iterable[str], likeness: float = 0.6) -> str | None:
    """Return the known name that resembles `name` most, or None when none does."""
    by_lower = {own.replace("_", "").lower(): own for own in known}
    plain = re.sub(r"[_\-\s]", "", name).lower()[:LONGEST_SHOWN]
    found = difflib.get_close_matches(plain, by_lower, n=1, cutoff=likeness)
    return by_lower[found[0]] if found else None


def shown_key(key: str) -> str:
    """Return a document's key if it cannot be a secret, else a placeholder."""
    return key if SHOWABLE_KEY.fullmatch(key) else "(a key that is not shown)"


def shown(value: Any) -> str:
    """Return a value as a mistake may show it: short, printable, no key and no password."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, bool):
        return str(value).lower()
    text = str(value)
    if not text.strip():
        return "a blank text"
    if KEY_LIKE.search(text[:LONGEST_SHOWN]):
        return "a value that is not shown, as it resembles a key"
    return repr(text if len(text) <= LONGEST_SHOWN else text[:LONGEST_SHOWN] + "...")
