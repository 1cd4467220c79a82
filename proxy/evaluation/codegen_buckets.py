"""Buckets as comparisons of the hash itself.

With h the hash, floor(h / 100) lies in [s, e) just when h lies in [100 s, 100 e), and h modulo 100
is only worth computing for an allocation that leaves somebody out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Generic, TypeVar

import msgspec

from proxy.evaluation.model import Allocation, Bucket

HASHES: Final = 1 << 32
SHARES: Final = 100

T = TypeVar("T")


class Step(msgspec.Struct, Generic[T], frozen=True, eq=False, gc=False):
    """One answer of a bucket: what is given where all four bounds hold; None is no bound."""

    share_from: int | None
    share_to: int | None
    hash_from: int | None
    hash_to: int | None
    outcome: T | None

    @property
    def always(self) -> bool:
        """Whether it has no bound."""
        return (
            self.share_from is None
            and self.share_to is None
            and self.hash_from is None
            and self.hash_to is None
        )


def steps(bucket: Bucket, outcomes: Mapping[str | None, T], default: T | None) -> list[Step[T]]:
    """Return the answers in the order in which they are to be tried; the last has no bound.

    An outcome of None says that the segment gives nothing.
    """
    found: list[Step[T]] = []
    for allocation in bucket.allocations:
        found += _of_allocation(allocation, outcomes)
        if found and found[-1].always:
            break
    else:
        found.append(Step(None, None, None, None, default))
    while len(found) > 1 and found[-2].outcome is found[-1].outcome:
        del found[-2]
    return found


def _of_allocation(allocation: Allocation, outcomes: Mapping[str | None, T]) -> list[Step[T]]:
    start, end = max(allocation.start, 0), min(allocation.end, SHARES)
    if start >= end:
        return []
    share_from = start or None
    share_to = end if end < SHARES else None
    found: list[Step[T]] = []
    covered = 0  # hashes below this have been answered
    for distribution in allocation.distributions:
        low = max(distribution.start * SHARES, 0)
        high = min(distribution.end * SHARES, HASHES)
        if low >= high or high <= covered:
            continue
        hash_from = low if low > covered else None
        hash_to = high if high < HASHES else None
        outcome = outcomes.get(distribution.variant)
        found.append(Step(share_from, share_to, hash_from, hash_to, outcome))
        if hash_from is None:
            covered = high
        if covered == HASHES:
            break
    return found


def chooser(found: Sequence[Step[T]]) -> Callable[[int], T | None]:
    """Return a function of the hash that tries the steps; for buckets with very many of them."""
    bounds = [
        (
            step.share_from or 0,
            SHARES if step.share_to is None else step.share_to,
            step.hash_from or 0,
            HASHES if step.hash_to is None else step.hash_to,
            step.outcome,
        )
        for step in found
    ]

    def choose(hashed: int) -> T | None:
        share = hashed % SHARES
        for share_from, share_to, hash_from, hash_to, outcome in bounds:
            if share_from <= share < share_to and hash_from <= hashed < hash_to:
                return outcome
        raise AssertionError("the last step has no bound")

    return choose
