"""Bucketing: a hash of a salt and a value chooses a variant."""

from __future__ import annotations

import mmh3

from proxy.evaluation.model import Bucket


def bucket_hash(salt: str, value: str) -> int:
    """Give the unsigned 32-bit MurmurHash3 (x86, seed 0) of `salt/value` as UTF-8.

    A lone surrogate counts as `?`.
    """
    return mmh3.hash(f"{salt}/{value}".encode(errors="replace"), seed=0, signed=False)


def choose(bucket: Bucket, value: str | None, default: str | None) -> str | None:
    """Give the variant key that the bucket's ranges hold for a value's text form.

    No value, an empty one, or one that no range holds gives the segment's default.
    """
    if not value:
        return default
    hashed = bucket_hash(bucket.salt, value)
    position, place = hashed // 100, hashed % 100
    for allocation in bucket.allocations:
        if allocation.start <= place < allocation.end:
            for distribution in allocation.distributions:
                if distribution.start <= position < distribution.end:
                    return distribution.variant
    return default
