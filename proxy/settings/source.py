"""Where the settings come from: read at the start, looked at for changes, read again."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from proxy.errors import SettingsError
from proxy.settings.explain import explain
from proxy.settings.load import DEFAULT_PATH, config_file, load
from proxy.settings.reading import LARGEST_FILE_BYTES, printable, read_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from proxy.secret import Secret
    from proxy.settings.schema import Settings

MISSING: Final = "missing"
ODD: Final = "no regular file"
ATTEMPTS: Final = 3
HASH_LENGTH: Final = 12
UNSETTLED: Final = "the files change while they are read"

Digests = dict[str, str]
"""What each file holds, as a hash; or why that cannot be told."""


class Source:
    """The environment and the files that the settings are made of; any thread may ask it.

    `file` is the configuration file; `read` is what the files held when they were read last,
    whether that went well or not.
    """

    def __init__(
        self,
        environ: Mapping[str, str],
        config_path: str | None = None,
        *,
        default_path: str = DEFAULT_PATH,
    ) -> None:
        self.file = config_file(environ, config_path, default_path)
        self.read: Digests = {}
        self._environ = environ
        self._config_path = config_path
        self._default_path = default_path
        # What is in force was made of these.
        self._files: set[str] = {self.file}
        self._is_there = False

    def load(self) -> Settings:
        """Return the settings as they are written now; raises SettingsError with every mistake."""
        before = self.look()
        files: set[str] = set()
        try:
            return self._load(files)
        finally:
            self._files |= files
            self.read = self.look() | before
            self._is_there = self.read[self.file] != MISSING

    def load_again(self) -> Settings:
        """Do the same while settings are in force: what was there and is gone is a mistake.

        What is returned was the content of all files at one moment.
        """
        for _ in range(ATTEMPTS):
            before = self.look()
            files: set[str] = set()
            self._refuse(before)
            try:
                settings = self._load(files)
            except SettingsError:
                self.read = before | digests(files - before.keys())
                raise
            after = digests({self.file, *files})
            if all(before.get(file) == digest for file, digest in after.items()):
                self.read = after
                self._files = set(after)
                self._is_there = after[self.file] != MISSING
                return settings
            self._files |= files
        # Whatever they hold once they rest, it was not read.
        self.read = dict.fromkeys(self.look(), UNSETTLED)
        raise SettingsError([f"{printable(self.file)}: {UNSETTLED}"])

    def look(self) -> Digests:
        """Return what the files hold now, those of the settings in force and those named since."""
        return digests({*self._files, *self.read})

    def _refuse(self, found: Digests) -> None:
        mistakes = [
            f"{printable(file)}: is {ODD}, so it cannot be read again"
            for file in sorted(self._files)
            if found[file] == ODD
        ]
        if self._is_there and found[self.file] == MISSING:
            mistakes.append(f"{printable(self.file)}: is gone")
        if mistakes:
            self.read = found
            raise SettingsError(mistakes)

    def _load(self, files: set[str]) -> Settings:
        environ, path = self._environ, self._config_path
        return load(environ, path, default_path=self._default_path, files=files)


def digests(files: Iterable[str]) -> Digests:
    """Return what each file holds, as a hash; or a word for why that cannot be told."""
    return {file: _digest(file) for file in files}


def _digest(file: str) -> str:
    try:
        path = Path(file)
        if not path.exists():
            return MISSING
        # To read a pipe again would wait for ever, or take away what somebody else waits for.
        if not path.is_file():
            return ODD
        return hashlib.sha256(read_bytes(file, LARGEST_FILE_BYTES)).hexdigest()
    except (OSError, ValueError) as error:
        return str(error)


def hash_of(settings: Settings) -> str:
    """Return a short hash that is the same for the same settings, however they are written."""
    told = {name: part for name, part in explain(settings, _digest_of).items() if name != "notices"}
    return hashlib.sha256(msgspec.json.encode(told)).hexdigest()[:HASH_LENGTH]


def _digest_of(secret: Secret) -> str:
    # Not the short hashes that are shown elsewhere: who knew them all but one could guess that.
    return hashlib.sha256(secret.reveal().encode("utf-8", "surrogatepass")).hexdigest()
