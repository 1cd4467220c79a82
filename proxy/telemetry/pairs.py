"""A name and its value as OTLP has them."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from opentelemetry.proto.common.v1 import common_pb2

if TYPE_CHECKING:
    from proxy.telemetry.attributes import Value


@lru_cache(maxsize=2048, typed=True)
def pair(name: str, value: Value) -> common_pb2.KeyValue:
    """Return an attribute, not to be changed; what no text can carry of it is replaced."""
    if isinstance(value, bool):
        return common_pb2.KeyValue(key=name, value=common_pb2.AnyValue(bool_value=value))
    if isinstance(value, int):
        return common_pb2.KeyValue(key=name, value=common_pb2.AnyValue(int_value=value))
    # Half a surrogate cannot be sent.
    text = value.encode("utf-8", "replace").decode()
    return common_pb2.KeyValue(key=name, value=common_pb2.AnyValue(string_value=text))
