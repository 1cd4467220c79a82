"""What is served offline, and what a proxy that asks nobody does not do."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from proxy import tasks
from proxy.errors import ArchiveError, SettingsError
from proxy.settings.offline import FOLDER, kind_of
from proxy.store.loading import MANIFEST
from proxy.store.workspace import Workspace
from proxy.sync.offline import Supply

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from proxy.settings.offline import Offline
    from proxy.settings.schema import Project, Settings

    Refresh = Callable[[Path, Path], None]


class OfflineSupply(NamedTuple):
    """What is served, and the end of what was made for it."""

    supply: Supply
    close: Callable[[], None]


def asking_nobody(settings: Settings) -> Settings:
    """Return the settings without whatever would ask Amplitude, if it is not to be asked."""
    if not settings.offline.is_on:
        return settings
    return replace(
        settings,
        stream_updates=False,
        remote_evaluation=replace(settings.remote_evaluation, mode="off"),
        web_experiment=replace(settings.web_experiment, mode="partial", previews=False),
        scripts=replace(settings.scripts, enabled=False),
    )


def offline_supply(settings: Settings, served: Callable[[], Sequence[Project]]) -> OfflineSupply:
    """Return what is `served` to the projects of the moment.

    A snapshot file is unpacked into `dataDir`, or a place of its own. Raises `SettingsError` for
    keys that cannot be used, or when no place takes it.
    """
    offline = settings.offline
    assert offline.path is not None
    path, kind = Path(offline.path).absolute(), kind_of(offline.path)
    pause = offline.poll_millis / 1000
    if kind == "directory":
        supply = Supply(kind, path, path, path / MANIFEST, None, pause)
        return OfflineSupply(supply, lambda: None)
    if not any(project.deployment_keys for project in settings.projects):
        what = "a file names no deployment key, so `projects[].deploymentKeys` has to list them"
        raise SettingsError([f"configuration.offline.path: {what}"])
    private = Workspace()
    # In the data directory the last good one outlives a restart.
    if settings.data_dir is not None and kind == "snapshot":
        directory = Path(settings.data_dir).absolute() / FOLDER
    else:
        private.make()
        if private.path is None:
            raise SettingsError(["configuration.offline.path: no place takes temporary files"])
        directory = private.path / FOLDER
    if kind == "snapshot":
        refresh, signers = _snapshot(offline, served)
    else:
        refresh, signers = _flags(served), None
    again = partial(refresh, path, directory)
    supply = Supply(kind, path, directory, path, again, pause, signers)
    return OfflineSupply(supply, private.remove)


def _snapshot(
    offline: Offline, served: Callable[[], Sequence[Project]]
) -> tuple[Refresh, frozenset[str] | None]:
    # It brings a library that takes a while to load, and few need it.
    from proxy.archives.importing import Terms, import_archive  # noqa: PLC0415
    from proxy.archives.keys import read_trusted  # noqa: PLC0415

    trusted = None
    if not offline.unsigned:
        assert offline.verify_key_file is not None
        try:
            trusted = read_trusted(Path(offline.verify_key_file))
        except ArchiveError as error:
            raise SettingsError([f"configuration.offline.verifyKeyFile: {error}"]) from None
    terms = Terms(trusted, offline.max_bytes, force=offline.allow_older)

    def refresh(path: Path, directory: Path) -> None:
        _check_regular(path)
        wanted = frozenset(key.label for one in served() for key in one.deployment_keys)
        import_archive(path, directory, terms._replace(wanted=wanted), tasks.wall_clock())

    return refresh, None if trusted is None else frozenset(trusted.fingerprints)


def _flags(served: Callable[[], Sequence[Project]]) -> Refresh:
    from proxy.archives.plain import import_flags  # noqa: PLC0415

    def refresh(path: Path, directory: Path) -> None:
        _check_regular(path)
        import_flags(served(), path, directory)

    return refresh


def _check_regular(path: Path) -> None:
    # A pipe would keep its reader, and the end of the process with it, waiting for a writer.
    if not path.is_file():
        raise ArchiveError("unreadable", f"{path} is no file")
