"""Outcomes: what one segment of a flag gives with one variant, ready to be sent.

An outcome is made once, when its flag is compiled, and shared by all requests; what only events or
the rarer endpoints ask for is worked out when it is first asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from proxy.evaluation.model import Flag, Variant
from proxy.evaluation.results import (
    Result,
    encode,
    merged_metadata,
    result_json,
    selectable,
    variant_members,
)
from proxy.evaluation.text import text
from proxy.evaluation.users import parse_json

Metadata = Mapping[str, msgspec.Raw]


class _Facts(msgspec.Struct, frozen=True, gc=False):
    """What few ask of an outcome, worked out when it is first asked for."""

    result: bytes
    fragment_v1: bytes
    is_default: bool
    is_deployed: bool
    track_exposure: bool
    flag_type: str | None
    flag_version: str | None
    segment_name: str | None
    experiment_key: str | None


# There may be tens of thousands of outcomes: the garbage collector has no business with them.
class Outcome(msgspec.Struct, eq=False, gc=False):
    """One variant, chosen by one segment of one flag.

    `fragment` is its member of the answer, `metadata` the flag's, the segment's and the variant's
    merged, `canonical` its part of the text by which events are told apart. In `told`, `exposed`,
    `shown` and `tag` whoever tells of outcomes may keep what it made of this one. Nothing else
    changes.
    """

    flag_key: str
    variant_key: str
    segment_index: int
    metadata: Metadata
    fragment: bytes
    canonical: str
    _variant: Variant
    told: object = None
    exposed: object = None
    shown: object = None
    tag: int = 0
    _lazy: _Facts | None = None
    _view: dict[str, Any] | None = None

    @classmethod
    def of(cls, flag: Flag, segment_index: int, variant: Variant) -> Outcome:
        """Make the outcome of a segment that gives a variant."""
        metadata = merged_metadata(flag, flag.segments[segment_index], variant)
        members = variant_members(variant, metadata)
        if variant.value is not None:
            members["value"] = as_string(variant.value)
        return cls(
            flag_key=flag.key,
            variant_key=variant.key,
            segment_index=segment_index,
            metadata=metadata,
            fragment=encode({flag.key: members})[1:-1],
            canonical=f"{flag.key.strip()} {variant.key.strip()} ",
            _variant=variant,
        )

    def _as_result(self) -> Result:
        return Result(self.flag_key, self._variant, self.segment_index, self.metadata)

    @property
    def variant(self) -> Variant:
        """The variant as the flag config has it."""
        return self._variant

    @property
    def view(self) -> dict[str, Any]:
        """What a selector finds under `result` and the flag's key."""
        if self._view is None:
            try:
                self._view = selectable(self._as_result())
            except ValueError:  # nested too deep for where we are; no condition can mean that
                self._view = {"key": self.variant_key}
        return self._view

    @property
    def _facts(self) -> _Facts:
        if self._lazy is None:
            self._lazy = _facts_of(self._as_result(), self.fragment)
        return self._lazy

    @property
    def result(self) -> bytes:
        """The engine's own result as JSON, its value as it came."""
        return self._facts.result

    @property
    def fragment_v1(self) -> bytes:
        """The fragment with `expKey`; b"" for a default variant and for a flag not deployed."""
        return self._facts.fragment_v1

    @property
    def is_default(self) -> bool:
        """Whether the metadata says `default`: true."""
        return self._facts.is_default

    @property
    def is_deployed(self) -> bool:
        """Whether the metadata does not say `deployed`: false."""
        return self._facts.is_deployed

    @property
    def track_exposure(self) -> bool:
        """Whether the metadata does not say `trackExposure`: false."""
        return self._facts.track_exposure

    @property
    def flag_type(self) -> str | None:
        """The text of `flagType` in the metadata."""
        return self._facts.flag_type

    @property
    def flag_version(self) -> str | None:
        """The text of `flagVersion` in the metadata."""
        return self._facts.flag_version

    @property
    def segment_name(self) -> str | None:
        """The text of `segmentName` in the metadata."""
        return self._facts.segment_name

    @property
    def experiment_key(self) -> str | None:
        """The text of `experimentKey` in the metadata."""
        return self._facts.experiment_key


def _facts_of(result: Result, fragment: bytes) -> _Facts:
    raws = {name: bytes(value) for name, value in result.metadata.items()}
    texts = {
        name: _text_of(raws.get(name, b"null"))
        for name in ("flagType", "flagVersion", "segmentName", "experimentKey")
    }
    is_default = raws.get("default") == b"true"
    is_deployed = raws.get("deployed") != b"false"
    fragment_v1 = b""
    if is_deployed and not is_default:
        fragment_v1 = fragment
        if texts["experimentKey"] is not None:
            fragment_v1 = fragment[:-1] + b',"expKey":' + raws["experimentKey"] + b"}"
    return _Facts(
        result=result_json(result),
        fragment_v1=fragment_v1,
        is_default=is_default,
        is_deployed=is_deployed,
        track_exposure=raws.get("trackExposure") != b"false",
        flag_type=texts["flagType"],
        flag_version=texts["flagVersion"],
        segment_name=texts["segmentName"],
        experiment_key=texts["experimentKey"],
    )


def _text_of(raw: bytes) -> str | None:
    return None if raw.startswith((b"{", b"[")) else text(parse_json(raw))


def answer(outcomes: Iterable[Outcome]) -> bytes:
    """Return the JSON object from flag key to variant, as version 2 of the API gives it."""
    return b"{%b}" % b",".join([outcome.fragment for outcome in outcomes])


def answer_v1(outcomes: Iterable[Outcome]) -> bytes:
    """Return the JSON object of version 1: without default variants and undeployed flags."""
    return b"{%b}" % b",".join(filter(None, [outcome.fragment_v1 for outcome in outcomes]))


def as_string(value: msgspec.Raw) -> msgspec.Raw | str:
    """Return a JSON value as it is when it is a string, else its compact text."""
    written = bytes(value)
    if written.startswith(b'"'):
        return value
    try:
        return msgspec.json.format(written, indent=-1).decode()
    except (msgspec.DecodeError, RecursionError):
        return written.decode()
