"""Whether a program said what a page shows of it."""

import json
import re
from typing import Any


def alike(said: str, expected: str, language: str) -> bool:
    """Whether a program said what a page shows; `…` stands for anything."""
    if language == "json":
        try:
            return holds(json.loads(said), json.loads(expected))
        except ValueError:
            return False
    pattern = re.escape(" ".join(expected.split())).replace("…", ".*?")
    return re.fullmatch(pattern, " ".join(said.split())) is not None


def holds(said: Any, expected: Any) -> bool:
    """Whether JSON is as shown; of objects a part may be shown, and `…` is anything."""
    if expected == "…":
        return True
    if isinstance(expected, dict) and isinstance(said, dict):
        return all(key in said and holds(said[key], each) for key, each in expected.items())
    if isinstance(expected, list) and isinstance(said, list) and expected[-1:] != ["…"]:
        both = zip(said, expected, strict=False)
        return len(said) == len(expected) and all(holds(*each) for each in both)
    if isinstance(expected, list) and isinstance(said, list):
        return all(any(holds(each, wanted) for each in said) for wanted in expected[:-1])
    return bool(said == expected)
