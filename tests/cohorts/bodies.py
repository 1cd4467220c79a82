"""Bodies as upstream sends them, and what is made of them."""

import gzip
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from proxy.cohorts.building import build
from proxy.cohorts.index import Index
from proxy.cohorts.jobs import Built, Job, Order, Progress
from proxy.cohorts.names import digest
from proxy.cohorts.reading import Body

ID = "c1"


def fields(members: Sequence[str], **changes: Any) -> dict[str, Any]:
    """Return a body's fields; a change to None leaves the field out."""
    given = {
        "cohortId": ID,
        "groupType": "User",
        "lastModified": 1_700_000_000_000,
        "size": len(set(members)),
        "memberIds": list(members),
    } | changes
    return {name: value for name, value in given.items() if value is not None}


def text_of(members: Sequence[str], **changes: Any) -> bytes:
    return json.dumps(fields(members, **changes)).encode()


class Pieces:
    """A text that comes in pieces of at most `most` bytes."""

    def __init__(self, text: bytes, most: int) -> None:
        self._text = text
        self._most = most

    def read(self, most: int, /) -> bytes:
        most = min(most, self._most)
        piece, self._text = self._text[:most], self._text[most:]
        return piece


def read(text: bytes, piece: int = 1 << 20) -> tuple[list[str], Body]:
    """Return the members that are found, and the body with its other fields."""
    body = Body(Pieces(text, piece), piece)
    members = [name.decode("utf-8", "surrogatepass") for names in body.members() for name in names]
    return members, body


def order(folder: Path, data: bytes, *, packed: bool = True, cohort_id: str = ID) -> Order:
    """Write a body file; return the order to build of it."""
    body = folder / "body"
    body.write_bytes(data)
    job = Job(body=str(body), gzip=packed, folder=str(folder), cohort_id=cohort_id)
    return Order(job=job, index="made-index", packed="made-packed")


def make(folder: Path, data: bytes, *, packed: bool = True) -> Built:
    """Build of a body in this process."""
    return build(order(folder, data, packed=packed), lambda _: None)


def make_of(folder: Path, members: Sequence[str], **changes: Any) -> Built:
    return make(folder, gzip.compress(text_of(members, **changes)))


def held(folder: Path, built: Built, names: Iterable[str]) -> list[str]:
    """Return those names that the built index holds."""
    index = Index.open(folder / built.index.name)
    found = [name for name in names if index.holds(digest(name))]
    index.close()
    return found


def served(folder: Path, built: Built) -> dict[str, Any]:
    """Return the packed body, read as an SDK reads it; its figures are checked on the way."""
    data = (folder / built.packed.name).read_bytes()
    text = gzip.decompress(data)
    assert len(data) == built.packed.size
    assert len(text) == built.plain_bytes
    found: dict[str, Any] = json.loads(text)
    return found


class Told:
    """Collects what is told of progress."""

    def __init__(self) -> None:
        self.all: list[Progress] = []

    def __call__(self, progress: Progress) -> None:
        self.all.append(progress)
