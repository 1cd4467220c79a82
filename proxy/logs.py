"""One line per fact, as JSON or for a console, with secrets redacted."""

from __future__ import annotations

import logging
import re
import sys
from typing import Any, Literal, TextIO, cast

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, WrappedLogger

from proxy.secret import Secret

KEY_LIKE = re.compile(r"\b(?:server|client)-[A-Za-z0-9_-]{6,}|(?<=//)[^/\s:@]*:[^/\s@]+(?=@)")

# Local variables hold users and keys: a traceback never shows them.
TRACEBACKS = structlog.processors.ExceptionRenderer(
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
)


def get(name: str) -> FilteringBoundLogger:
    """Return the logger of one room; `name` becomes the field `room`."""
    return cast("FilteringBoundLogger", structlog.get_logger(room=name))


def configure(
    *, level: str, style: Literal["json", "console"], stream: TextIO | None = None
) -> None:
    """Send all log lines to `stream` (standard error by default) in the given style."""
    out = stream or sys.stderr
    number = logging.getLevelNamesMapping()[level.upper()]
    render: Any = (
        structlog.processors.JSONRenderer()
        if style == "json"
        else structlog.dev.ConsoleRenderer(
            colors=out.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    )
    finish: list[Any] = [redact, render]
    if style == "json":
        finish.insert(0, TRACEBACKS)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *finish,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(file=out),
        cache_logger_on_first_use=False,
    )
    # Libraries (aiohttp, asyncio) log by the standard way: let only their warnings through.
    logging.basicConfig(stream=out, level=max(number, logging.WARNING), force=True)


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Replace secrets, and texts that look like keys, in every field of a log line."""
    return {name: _clean(value) for name, value in event.items()}


def _clean(value: Any) -> Any:
    if isinstance(value, Secret):
        return value.label
    if isinstance(value, str):
        return KEY_LIKE.sub("[redacted]", value)
    if isinstance(value, dict):
        return {_clean(name): _clean(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(part) for part in value]
    return value
