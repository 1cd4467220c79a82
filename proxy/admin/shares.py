"""Which part of a segment's users each variant gets, as the bucketing really deals it. Pure.

A hash h is one of 2^32. Its place is h modulo 100, which allocations look at; its position is
floor(h / 100), which distributions look at. The last position has hashes for its first places
only. Where ranges overlap the earlier one wins; places that a first allocation leaves undecided
go on to the next that holds them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Final

from proxy.evaluation.model import Allocation, Bucket, Distribution

HASHES: Final = 1 << 32
PLACES: Final = 100
LAST_POSITION: Final = (HASHES - 1) // PLACES
PLACES_OF_LAST: Final = HASHES - LAST_POSITION * PLACES
MOST_RANGES: Final = 20_000
"""More ranges than that (places told apart times distributions) are not added up."""

Gap = tuple[int, int]


def shares(bucket: Bucket) -> dict[str, int] | None:
    """Return for each variant how many of the 2^32 hashes choose it; None for too many ranges.

    What is missing to 2^32 chooses no variant of the bucket.
    """
    dealt: dict[str, int] = {}
    ranges = 0
    for first, end, distributions in _stripes(bucket.allocations):
        ranges += len(distributions)
        if ranges > MOST_RANGES:
            return None
        for variant, positions in _positions(distributions):
            hashes = _hashes(first, end, positions)
            if hashes:
                dealt[variant] = dealt.get(variant, 0) + hashes
    return dealt


def percent(hashes: int) -> float:
    """Return the percentage with two decimals; only none is 0, and only all is 100."""
    if hashes in (0, HASHES):
        return 100.0 if hashes else 0.0
    return min(max(round(hashes * 100 / HASHES, 2), 0.01), 99.99)


def percents(dealt: Mapping[str, int]) -> dict[str, float]:
    """Return each variant's percentage."""
    return {variant: percent(hashes) for variant, hashes in dealt.items()}


def _stripes(
    allocations: Sequence[Allocation],
) -> Iterator[tuple[int, int, Sequence[Distribution]]]:
    """Cut the places where an allocation begins or ends; give each stripe's distributions."""
    edges = {0, PLACES}
    for one in allocations:
        edges |= {min(max(one.start, 0), PLACES), min(max(one.end, 0), PLACES)}
    for first, end in pairwise(sorted(edges)):
        holding = [one for one in allocations if one.start <= first < one.end]
        if holding:
            yield first, end, [each for one in holding for each in one.distributions]


def _positions(distributions: Sequence[Distribution]) -> Iterator[tuple[str, Gap]]:
    """Give the positions that each distribution decides: those that no earlier one did."""
    free: list[Gap] = [(0, LAST_POSITION + 1)]
    for one in distributions:
        left: list[Gap] = []
        for start, end in free:
            low, high = max(start, one.start), min(end, one.end)
            if low >= high:
                left.append((start, end))
                continue
            yield one.variant, (low, high)
            left += [gap for gap in ((start, low), (high, end)) if gap[0] < gap[1]]
        free = left
        if not free:
            return


def _hashes(first: int, end: int, positions: Gap) -> int:
    """Count the hashes with these places and positions."""
    count = (end - first) * (positions[1] - positions[0])
    if positions[1] > LAST_POSITION:
        count -= max(end - max(first, PLACES_OF_LAST), 0)
    return count
