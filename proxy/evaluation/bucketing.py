"""Bucketing: a hash of a salt and a value chooses a variant."""

from __future__ import annotations

from typing import Any

import mmh3

from proxy.evaluation.model import Allocation, Bucket


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


def bucket_trace(bucket: Bucket, value: str | None) -> dict[str, Any]:
    """Tell where a value's text form falls, as plain JSON; without a value there is no hash.

    `allocation` is the one that decides, or the first that has the place `bucket`; null if none
    has. `distributions` are its own, which look at `point`.
    """
    told: dict[str, Any] = {
        "selector": list(bucket.selector),
        "value": value or None,
        "salt": bucket.salt,
        "allocations": [[one.start, one.end] for one in bucket.allocations],
    }
    if not value:
        return told
    hashed = bucket_hash(bucket.salt, value)
    found = _allocation(bucket, hashed)
    return told | {
        "hash": hashed,
        "bucket": hashed % 100,
        "point": hashed // 100,
        "allocation": None if found is None else [found.start, found.end],
        "distributions": []
        if found is None
        else [
            {"variant": one.variant, "range": [one.start, one.end]} for one in found.distributions
        ],
    }


def _allocation(bucket: Bucket, hashed: int) -> Allocation | None:
    position, place = hashed // 100, hashed % 100
    holding = [one for one in bucket.allocations if one.start <= place < one.end]
    for allocation in holding:
        if any(one.start <= position < one.end for one in allocation.distributions):
            return allocation
    return holding[0] if holding else None
