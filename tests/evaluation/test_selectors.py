from typing import Any

import pytest

from proxy.evaluation.selectors import select

TARGET = {"context": {"user": {"a": [1], "": "empty", "n": None, "s": "text", "m": {"k": 1}}}}


@pytest.mark.parametrize(
    ("selector", "found"),
    [
        ((), None),
        (("context", "user", "a"), [1]),
        (("context", "user", ""), "empty"),
        (("context", "user", "m", "k"), 1),
        (("context", "user", "n"), None),
        (("context", "user", "n", "k"), None),
        (("context", "user", "a", "0"), None),
        (("context", "user", "s", "length"), None),
        (("context", "user", "missing", "k"), None),
        (("user", "a"), None),
        (("context", "user", "constructor"), None),
        (("context", "user", "__class__"), None),
    ],
)
def test_a_selector_walks_own_members_of_maps(selector: tuple[str, ...], found: Any) -> None:
    assert select(selector, TARGET) == found
