"""Flag configs as the engine reads them: frozen, complete, checked."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


class Condition(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One test of one selected value; `values` has no repeats and keeps the config's order.

    `repeated` is what the config wrote where it had repeats; only a trace shows it.
    """

    selector: tuple[str, ...]
    op: str
    values: tuple[str, ...]
    repeated: tuple[str, ...] = ()


class Distribution(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The variant for floor(hash / 100) in [start, end)."""

    variant: str
    start: int
    end: int


class Allocation(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The distributions for hash modulo 100 in [start, end)."""

    start: int
    end: int
    distributions: tuple[Distribution, ...]


class Bucket(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """How a hash of the selected value chooses a variant."""

    selector: tuple[str, ...]
    salt: str
    allocations: tuple[Allocation, ...]


class Segment(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Whom it takes in (any inner list of conditions whose all hold) and which variant they get.

    `conditions` None takes in everybody, an empty tuple nobody.
    """

    conditions: tuple[tuple[Condition, ...], ...] | None = None
    bucket: Bucket | None = None
    variant: str | None = None
    metadata: Mapping[str, msgspec.Raw] = {}


class Variant(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a client is given; JSON that is the customer's stays the text that came."""

    key: str
    value: msgspec.Raw | None = None
    payload: msgspec.Raw | None = None
    metadata: Mapping[str, msgspec.Raw] = {}


class Flag(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One flag config; `variants` is keyed by the config's map key, not by `Variant.key`."""

    key: str
    variants: Mapping[str, Variant]
    segments: tuple[Segment, ...]
    dependencies: tuple[str, ...] = ()
    metadata: Mapping[str, msgspec.Raw] = {}


class Problem(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Why a flag config could not be used; `kept` tells that its last good version stays."""

    flag_key: str
    reason: str
    kept: bool = False
