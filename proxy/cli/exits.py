"""What the exit codes mean; `run` gives 0, 1 and 3 the same meaning."""

from __future__ import annotations

from typing import Final

DONE: Final = 0
DIED: Final = 1
"""A loop died; or lines had no answer."""
WRONG_INPUT: Final = 2
"""The settings, a file or an argument cannot be used."""
NOT_STARTED: Final = 3
"""A port cannot be had."""
