"""A body becomes an index and a packed body."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from proxy.cohorts.index import MOST_MEMBERS, bits_for, footer
from proxy.cohorts.inflating import READ_BYTES, Text
from proxy.cohorts.jobs import Built, FileMade, Job, Order, Progress
from proxy.cohorts.names import digest_of_bytes
from proxy.cohorts.output import OWNER_ONLY, Output, sync
from proxy.cohorts.packing import Heading, pack
from proxy.cohorts.reading import KNOWN, Body
from proxy.cohorts.sorting import Digests
from proxy.errors import BodyBroken

USERS = "User"
LONGEST_TYPE = 1024
Tell = Callable[[Progress], None]


def build(order: Order, tell: Tell) -> Built:
    """Do what `order` asks, telling how far it is; raises BodyBroken, OSError.

    When it returns, the disk has the files; when it raises, they are gone.
    """
    folder = Path(order.job.folder)
    try:
        with Path(order.job.body).open("rb", buffering=0) as file:
            built = _build(order, folder, file, tell)
        sync(folder)
    except BaseException:
        for name in (order.index, order.packed):
            with contextlib.suppress(OSError):
                (folder / name).unlink()
        raise
    return built


def _build(order: Order, folder: Path, file: BinaryIO, tell: Tell) -> Built:
    text = Text(file, gzip=order.job.gzip)
    body = Body(text)
    with contextlib.closing(Digests(folder)) as digests:
        for ids in body.members():
            digests.add(b"".join(map(digest_of_bytes, ids)))
            tell(Progress(read_bytes=text.read_bytes, members=digests.count))
        heading = _heading(body.fields, order.job.cohort_id, empty=not digests.count)
        done = Progress(read_bytes=text.read_bytes, members=digests.count)
        size, index = write_index(folder / order.index, digests, lambda: tell(done))
    if _fit_to_serve(text, body, size):
        packed = _kept(Path(order.job.body), folder / order.packed, text)
        plain_bytes = text.plain_bytes
    else:
        with Output(folder / order.packed) as to:
            again = _again(order.job, file, lambda: tell(done))
            plain_bytes = pack(heading, size, again, to)
            packed = to.finish()
    return Built(
        **heading._asdict(), size=size, index=index, packed=packed, plain_bytes=plain_bytes
    )


def write_index(path: Path, digests: Digests, tick: Callable[[], None]) -> tuple[int, FileMade]:
    """Write the index of `digests`; return how many distinct ones there are, and the file.

    Raises BodyBroken when they are too many, OSError.
    """
    if digests.count > MOST_MEMBERS:
        raise BodyBroken("the body lists more members than an index can hold")
    bits = bits_for(digests.count)
    starts = np.zeros(2**bits + 1, dtype="<u4")
    size = 0
    with Output(path) as to:
        for words in digests.ascending():
            tick()
            to.write(words)
            size += len(words)
            if bits and len(words):
                buckets = (words[:, 0] >> np.uint64(64 - bits)).astype(np.int64)
                held = np.bincount(buckets - buckets[0])
                starts[buckets[0] + 1 :][: len(held)] += held.astype("<u4")
        np.cumsum(starts, out=starts)
        starts[-1] = size
        to.write(starts)
        to.write(footer(size, bits))
        return size, to.finish()


def _heading(fields: dict[str, object], cohort_id: str, *, empty: bool) -> Heading:
    """Return what the body says of itself; raises BodyBroken unless it is of `cohort_id`.

    An empty cohort need not say whose it is: then it is one of users.
    """
    if fields.get("cohortId") != cohort_id:
        raise BodyBroken("the body is not of the cohort that was asked for")
    group_type = fields.get("groupType")
    if group_type is None and empty:
        group_type = USERS
    if not isinstance(group_type, str) or not 0 < len(group_type) <= LONGEST_TYPE:
        raise BodyBroken("the body has no usable groupType")
    if not group_type.isascii() and any("\ud800" <= letter <= "\udfff" for letter in group_type):
        raise BodyBroken("the body has no usable groupType")
    last_modified = fields.get("lastModified")
    # True is an int, and not meant.
    if type(last_modified) is not int or not 0 <= last_modified < 2**63:
        raise BodyBroken("the body has no usable lastModified")
    return Heading(cohort_id, group_type, last_modified)


def _fit_to_serve(text: Text, body: Body, size: int) -> bool:
    """Tell whether SDKs may get the body as it came: one gzip stream, five right fields."""
    fields = body.fields
    whole = body.listed and not body.repeated and fields.keys() == KNOWN
    own_size = fields.get("size")
    typed = isinstance(fields.get("groupType"), str) and type(own_size) is int
    return text.streams == 1 and whole and typed and own_size == size


def _kept(body: Path, packed: Path, text: Text) -> FileMade:
    """Give the body itself a second name, or a copy where that cannot be."""
    try:
        os.link(body, packed)
    except OSError:
        with body.open("rb", buffering=0) as file, Output(packed) as to:
            while data := file.read(READ_BYTES):
                to.write(data)
            return to.finish()
    packed.chmod(OWNER_ONLY)
    sync(packed)
    return FileMade(name=packed.name, size=text.read_bytes, sha256=text.sha256.hexdigest())


def _again(job: Job, file: BinaryIO, tick: Callable[[], None]) -> Iterator[list[bytes]]:
    file.seek(0)
    for ids in Body(Text(file, gzip=job.gzip)).members():
        tick()
        yield ids
