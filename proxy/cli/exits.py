"""What the exit codes mean; `run` gives 0, 1 and 3 the same meaning."""

from __future__ import annotations

from typing import Final

DONE: Final = 0
DIED: Final = 1
"""A loop died; or lines had no answer; or the proxy that was asked is not well."""
WRONG_INPUT: Final = 2
"""The settings, a file or an argument cannot be used."""
NOT_STARTED: Final = 3
"""A port cannot be had."""
NO_ANSWER: Final = 4
"""Nobody answers where a proxy was asked how it is."""
