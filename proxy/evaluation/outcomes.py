"""Outcomes: what one segment of a flag gives with one variant, ready to be sent.

An outcome is made once, when its flag is compiled, and shared by all requests; what only events or
the rarer endpoints ask for is worked out when it is first asked for.
"""

from __future__ import annotations

import json  # noqa: TID251  msgspec cannot write a lone surrogate, which a flag key may hold
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

import msgspec

from proxy.evaluation.model import Flag, Segment, Variant
from proxy.evaluation.text import text
from proxy.evaluation.users import parse_json

Metadata = Mapping[str, msgspec.Raw]


class Outcome:
    """One variant, chosen by one segment of one flag."""

    def __init__(self, flag: Flag, segment_index: int, variant: Variant) -> None:
        segment = flag.segments[segment_index]
        self.flag_key = flag.key
        self.variant_key = variant.key
        self.segment_index = segment_index
        self.metadata: Metadata = merged(flag, segment, variant)
        self._variant = variant
        self.fragment = b"%b:{%b}" % (_string(flag.key), b",".join(self._members(as_text=True)))
        self.canonical = f"{flag.key.strip()} {variant.key.strip()} "
        self.told: object = None  # a place for what events tell of this outcome, made by them

    def __repr__(self) -> str:
        return f"<Outcome {self.flag_key!r} {self.variant_key!r} segment {self.segment_index}>"

    def _members(self, *, as_text: bool) -> list[bytes]:
        """Return the members of the variant's JSON; `as_text` writes a value that is no string as one."""
        variant = self._variant
        members = [b'"key":' + _string(variant.key)]
        if variant.value is not None:
            value = bytes(variant.value)
            members.append(b'"value":' + (_as_string(value) if as_text else value))
        if variant.payload is not None:
            members.append(b'"payload":' + bytes(variant.payload))
        if self.metadata:
            pairs = (_string(name) + b":" + bytes(value) for name, value in self.metadata.items())
            members.append(b'"metadata":{%b}' % b",".join(pairs))
        return members

    @cached_property
    def result(self) -> bytes:
        """The engine's own result as JSON, its value as it came."""
        return b"{%b}" % b",".join(self._members(as_text=False))

    @cached_property
    def fragment_v1(self) -> bytes:
        """The fragment with `expKey`; b"" for a default variant and for a flag not deployed."""
        if self.is_default or not self.is_deployed:
            return b""
        experiment_key = self._raw("experimentKey")
        if experiment_key in {b"", b"null"}:
            return self.fragment
        return self.fragment[:-1] + b',"expKey":%b}' % experiment_key

    @cached_property
    def view(self) -> dict[str, Any]:
        """What a selector finds under `result` and the flag's key."""
        value = self._variant.value
        return {
            "key": self.variant_key,
            "value": None if value is None else parse_json(value),
            "metadata": {name: parse_json(raw) for name, raw in self.metadata.items()},
        }

    @cached_property
    def is_default(self) -> bool:
        """Whether the metadata says `default`: true."""
        return self._raw("default") == b"true"

    @cached_property
    def is_deployed(self) -> bool:
        """Whether the metadata does not say `deployed`: false."""
        return self._raw("deployed") != b"false"

    @cached_property
    def track_exposure(self) -> bool:
        """Whether the metadata does not say `trackExposure`: false."""
        return self._raw("trackExposure") != b"false"

    @cached_property
    def flag_type(self) -> str | None:
        """The text of `flagType`."""
        return self._text("flagType")

    @cached_property
    def flag_version(self) -> str | None:
        """The text of `flagVersion`."""
        return self._text("flagVersion")

    @cached_property
    def segment_name(self) -> str | None:
        """The text of `segmentName`."""
        return self._text("segmentName")

    @cached_property
    def experiment_key(self) -> str | None:
        """The text of `experimentKey`."""
        return self._text("experimentKey")

    def _raw(self, name: str) -> bytes:
        """Return a metadatum's JSON; b"" where there is none."""
        return bytes(self.metadata.get(name, b""))

    def _text(self, name: str) -> str | None:
        raw = self.metadata.get(name)
        return None if raw is None else text(parse_json(raw))


def merged(flag: Flag, segment: Segment, variant: Variant) -> dict[str, msgspec.Raw]:
    """Merge metadata at the top level: the flag's, then the segment's, then the variant's."""
    return {**flag.metadata, **segment.metadata, **variant.metadata}


def answer(outcomes: Iterable[Outcome]) -> bytes:
    """Return the JSON object from flag key to variant, as version 2 of the API gives it."""
    return b"{%b}" % b",".join([outcome.fragment for outcome in outcomes])


def answer_v1(outcomes: Iterable[Outcome]) -> bytes:
    """Return the JSON object of version 1: without default variants and undeployed flags."""
    return b"{%b}" % b",".join(filter(None, [outcome.fragment_v1 for outcome in outcomes]))


def _string(plain: str) -> bytes:
    try:
        return msgspec.json.encode(plain)
    except UnicodeEncodeError:
        return json.dumps(plain).encode()


def _as_string(value: bytes) -> bytes:
    """Return a JSON value as it is when it is a string, else its compact text as a JSON string."""
    if value.startswith(b'"'):
        return value
    try:
        compact = msgspec.json.format(value, indent=-1)
    except (msgspec.DecodeError, RecursionError):
        compact = value
    return _string(compact.decode())
