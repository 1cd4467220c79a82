"""The body that SDKs get, written anew: compact JSON with all five fields, as gzip."""

from __future__ import annotations

import json  # noqa: TID251  msgspec cannot write half a surrogate pair
import zlib
from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from proxy.cohorts.inflating import GZIP
from proxy.cohorts.output import Output

LEVEL = 3


class Heading(NamedTuple):
    """What a body says of its cohort besides the members."""

    cohort_id: str
    group_type: str
    last_modified: int


def pack(heading: Heading, size: int, members: Iterable[list[bytes]], to: Output) -> int:
    """Write the body of a cohort with `size` distinct members; return its text's length.

    Members that come repeatedly are written repeatedly. Raises OSError and what `members` does.
    """
    squeezer = zlib.compressobj(LEVEL, zlib.DEFLATED, GZIP)
    fields = {
        "cohortId": heading.cohort_id,
        "groupType": heading.group_type,
        "lastModified": heading.last_modified,
        "size": size,
    }
    start = msgspec.json.encode(fields)[:-1] + b',"memberIds":['
    to.write(squeezer.compress(start))
    plain_bytes = len(start)
    comma = b""
    for ids in members:
        text = comma + _texts(ids)
        comma = b","
        plain_bytes += len(text)
        to.write(squeezer.compress(text))
    to.write(squeezer.compress(b"]}") + squeezer.flush())
    return plain_bytes + 2


def _texts(ids: list[bytes]) -> bytes:
    """Return the ids as JSON texts with commas between them."""
    names = [name.decode("utf-8", "surrogatepass") for name in ids]
    try:
        return msgspec.json.encode(names)[1:-1]
    except UnicodeEncodeError:
        return json.dumps(names, separators=(",", ":")).encode()[1:-1]
