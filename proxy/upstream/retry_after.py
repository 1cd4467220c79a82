"""`Retry-After`, in both forms that HTTP knows."""

from __future__ import annotations

from email.utils import parsedate_to_datetime

LONGEST_SECONDS = 3600.0


def retry_after(text: str | None, now: float) -> float | None:
    """Return the seconds from `now` (since 1970) that `text` asks for, between 0 and an hour.

    None when there is no text, or one that is neither seconds nor an HTTP date.
    """
    if text is None:
        return None
    stripped = text.strip()
    if stripped.isascii() and stripped.isdigit():
        seconds = float(stripped[:12])
    else:
        try:
            seconds = parsedate_to_datetime(stripped).timestamp() - now
        except (ValueError, OverflowError):
            return None
    return min(max(seconds, 0.0), LONGEST_SECONDS)
