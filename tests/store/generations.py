"""A known content that tells a whole state from a torn one, and processes that write it.

As a program: reads jobs as JSON lines, does each in a forked child, says the child's process id
and, when it has ended, its status. The parent of a child that is killed need not be the test.
"""

import asyncio
import os
import signal
import sys
from pathlib import Path

import msgspec

from proxy import logs
from proxy.metrics import Metrics
from proxy.store.disk import Disk
from proxy.store.records import StoredFile
from proxy.store.store import Store
from proxy.store.timing import Pace
from tests.store.rig import LARGE, FaultyDisk, make_file

RECORDS = 4
METRICS = Metrics()


class Job(msgspec.Struct, kw_only=True):
    """What a child does: generations up to `last`, dead at step `crash_at`, as user `user`."""

    directory: str
    diary: str
    place: str = ""
    last: int = 1 << 30
    crash_at: int = 0
    user: int = 0
    umask: int = 0o022


def keep_generation(store: Store, number: int) -> None:
    """Keep all records with one and the same number, none of them like before."""
    for index in range(RECORDS):
        text = b"%d of %d" % (index, number)
        bodies = {"body": text * (number % 3), "number": b"%d" % number}
        files: dict[str, StoredFile] = {}
        if index == 0:
            files = {"large": make_file(store.workspace, text.ljust(LARGE))}
        store.keep("flags", f"r{index}", {"number": number}, bodies=bodies, files=files)
    # One comes and goes.
    if number % 2:
        store.keep("odd", "r", {"number": number})
    else:
        store.forget("odd", "r")


async def found_generation(store: Store) -> int:
    """Return the number that all records found carry, 0 if there are none; each is verified."""
    numbers = set()
    records = [*store.records("flags"), *store.records("odd")]
    for record in records:
        number = msgspec.json.decode(record.meta)["number"]
        numbers.add(number)
        if record.kind == "flags":
            assert await store.read(record, "number") == b"%d" % number
            index = int(record.id[1:])
            text = b"%d of %d" % (index, number)
            assert await store.read(record, "body") == text * (number % 3)
            assert ("large" in record.files) == (index == 0)
            if index == 0:
                path = await store.verified(record, "large")
                assert path.read_bytes().rstrip() == text
    if not records:
        return 0
    (number,) = numbers
    assert len(records) == RECORDS + number % 2
    return int(number)


async def write_generations(store: Store, job: Job) -> None:
    """Commit generation after generation; what is durable goes into the diary."""
    await store.open()
    begun = await found_generation(store)
    diary = os.open(job.diary, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    for number in range(begun + 1, job.last + 1):
        keep_generation(store, number)
        if await store.commit():
            os.write(diary, b"%d\n" % number)
    await store.close()


def child(job: Job) -> None:
    """Do a job; it ends with status 9 at the step at which it is to die."""
    os.umask(job.umask)
    if job.user:
        os.setgroups([])
        os.setgid(job.user)
        os.setuid(job.user)

    def die(step: int, _name: str) -> None:
        if step == job.crash_at:
            os._exit(9)

    disk = FaultyDisk(die) if job.crash_at else Disk()
    directory = Path(job.directory)
    places = [Path(job.place) if job.place else directory.parent]
    pace = Pace(locked_retry=0.05)
    store = Store(directory, METRICS, disk=disk, places=places, pace=pace)
    asyncio.run(write_generations(store, job))


def main() -> None:
    logs.configure(level="critical", style="json")
    for line in sys.stdin:
        job = msgspec.json.decode(line, type=Job)
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            status = 1
            try:
                child(job)
                status = 0
            finally:
                # Nothing of the parent's is to be run at the end of a child.
                os._exit(status)
        print(pid, flush=True)
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
