"""One attempt to get a cohort: download, build, publish."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from pathlib import Path
from typing import final

from proxy import logs, tasks
from proxy.cohorts.index import Index
from proxy.cohorts.jobs import Built, Job, Progress
from proxy.cohorts.shelf import Cohort
from proxy.errors import CohortError, NoRoom, UpstreamError
from proxy.sync.cohort_records import CohortRecords
from proxy.sync.cohort_verdicts import (
    FAILURES,
    NO_PLACE,
    Result,
    lost_most,
    too_large,
    weigh,
)
from proxy.sync.cohort_wanted import Load, Saved, Wanted
from proxy.sync.cohort_workshop import Workshop
from proxy.upstream.cohorts import Credentials, download

log = logs.get("sync")


@final
class Loader:
    """Makes single attempts for one project; files that do not come into use are removed."""

    def __init__(
        self,
        label: str,
        index: int,
        credentials: Credentials,
        records: CohortRecords,
        workshop: Workshop,
    ) -> None:
        self._label = label
        self._index = index
        self._credentials = credentials
        self._records = records
        self._workshop = workshop
        self._bytes = workshop.metrics.cohort_bytes.labels(label)

    def use(self, credentials: Credentials) -> bool:
        """Ask with these keys from the next time on; return whether they are others."""
        before, self._credentials = self._credentials, credentials
        return before != credentials

    async def attempt(self, wanted: Wanted, load: Load) -> Result:
        """Ask upstream once, and put a newer version in use."""
        folder = self._workshop.store.workspace
        if folder is None:
            return NO_PLACE
        counters = self._workshop.metrics.official
        counters["cohort_download"].inc()
        try:
            result = await self._ask(wanted, load, folder)
        except (UpstreamError, CohortError) as error:
            result = self._failed(error, folder)
        if result.outcome in FAILURES:
            counters["cohort_download_failure"].inc()
        return result

    async def rebuild(self, wanted: Wanted, saved: Saved, load: Load) -> Result:
        """Build the index anew from the packed body that was kept."""
        folder = self._workshop.store.workspace
        if folder is None:
            return NO_PLACE
        body = str(saved.body)
        job = Job(body=body, gzip=True, folder=str(folder), cohort_id=wanted.cohort_id)
        try:
            result = await self._build(wanted, load, job, saved.confirmed_at)
        except CohortError as error:
            return self._failed(error, folder)
        return Result(outcome="rebuilt") if result.outcome == "changed" else result

    def _failed(self, error: UpstreamError | CohortError, folder: Path) -> Result:
        if isinstance(error, NoRoom):
            self._workshop.store.refused(folder)
        return Result.of(error)

    async def _ask(self, wanted: Wanted, load: Load, folder: Path) -> Result:
        await _look_after(wanted)
        asked_at = self._workshop.clock()
        max_size = self._workshop.max_size
        body = _name_download(folder)
        load.enter("downloading", _now())

        def on_bytes(received: int, total: int | None) -> None:
            self._bytes.inc(received - load.bytes)
            load.bytes, load.total_bytes = received, total

        got = await download(
            self._workshop.client,
            self._credentials,
            wanted.cohort_id,
            max_size=max_size,
            last_modified=wanted.asked_version,
            to=body,
            on_bytes=on_bytes,
        )
        if got.status == "too_large":
            return too_large(max_size, got.retry_after)
        if got.status == "preparing":
            detail = "upstream is preparing it"
            return Result(outcome="preparing", detail=detail, retry_after=got.retry_after)
        if got.status == "unchanged":
            return self._unchanged(wanted, asked_at)
        job = Job(body=str(body), gzip=got.gzip, folder=str(folder), cohort_id=wanted.cohort_id)
        try:
            return await self._build(wanted, load, job, asked_at)
        finally:
            await tasks.in_thread(_remove, body)

    def _unchanged(self, wanted: Wanted, asked_at: float) -> Result:
        """Take a 204, which speaks of the version that was asked about."""
        if wanted.asked_version == wanted.refused_version is not None:
            return too_large(self._workshop.max_size)
        self._confirm(wanted, asked_at)
        return Result(outcome="unchanged")

    def _confirm(self, wanted: Wanted, at: float) -> None:
        assert wanted.here is not None
        wanted.confirmed_at = at
        self._records.note(wanted.here, at)

    async def _build(self, wanted: Wanted, load: Load, job: Job, as_of: float) -> Result:
        """Build, weigh what came of it, and publish it if it is to be used.

        `as_of` is when upstream spoke of it, in seconds since 1970.
        """

        def on_progress(progress: Progress) -> None:
            if load.stage == "waiting":
                load.enter("building", _now())
            load.members = progress.members

        # The builder takes one after another, and speaks of the one that it works on.
        load.enter("waiting", _now())
        built = await self._workshop.builder.build(job, on_progress)
        folder = Path(job.folder)
        in_use = False
        try:
            result = weigh(
                built, wanted.here, sound=not wanted.unsound, max_size=self._workshop.max_size
            )
            if result.outcome == "changed":
                await self._publish(wanted, built, folder, as_of)
                in_use = True
                assert load.began is not None
                self._workshop.metrics.cohort_load_seconds.observe(_now() - load.began)
        finally:
            if not in_use:
                made = folder / built.index.name, folder / built.packed.name
                await tasks.in_thread(_remove, *made)
        if result.outcome == "too_large":
            wanted.refused_version = built.last_modified
        if result.outcome == "unchanged":
            self._confirm(wanted, as_of)
        return result

    async def _publish(self, wanted: Wanted, built: Built, folder: Path, as_of: float) -> None:
        try:
            index = await tasks.in_thread(Index.open, folder / built.index.name)
        except OSError as error:
            raise NoRoom(f"the index cannot be mapped: {error.strerror}") from None
        before = wanted.here
        cohort = Cohort(
            cohort_id=built.cohort_id,
            group_type=built.group_type,
            last_modified=built.last_modified,
            size=built.size,
            index=index,
            packed=folder / built.packed.name,
            packed_bytes=built.packed.size,
            plain_bytes=built.plain_bytes,
            checksum=built.index.sha256,
        )
        self._workshop.shelf.put(self._index, cohort)
        wanted.put(cohort, built.index.size, as_of)
        self._records.keep(cohort, as_of, built, folder)
        self._tell(cohort, before)

    def _tell(self, cohort: Cohort, before: Cohort | None) -> None:
        told = log.bind(project=self._label, cohort=cohort.cohort_id)
        told.info("cohort in use", members=cohort.size, group_type=cohort.group_type)
        if before is None:
            return
        if cohort.group_type != before.group_type:
            told.warning("cohort has another group type than before", before=before.group_type)
        if before.size and not cohort.size:
            told.warning("cohort has no members any more", before=before.size)
        elif lost_most(before.size, cohort.size):
            told.warning("cohort lost most of its members", before=before.size, members=cohort.size)


def _now() -> float:
    return asyncio.get_running_loop().time()


async def _look_after(wanted: Wanted) -> None:
    """Ask for the whole body again when somebody removed the one on the disk."""
    if wanted.here is not None and not await tasks.in_thread(_is_there, wanted.here.packed):
        wanted.unsound = True


def _is_there(path: Path) -> bool:
    with contextlib.suppress(OSError):
        return path.exists()
    return False


def _name_download(folder: Path) -> Path:
    return folder / f"{secrets.token_hex(16)}.download"


def _remove(*paths: Path) -> None:
    # What cannot be removed is left to whoever cleans up the workspace.
    for path in paths:
        with contextlib.suppress(OSError):
            path.unlink()
