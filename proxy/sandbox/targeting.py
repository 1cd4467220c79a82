"""Conditions in plain words (`country is Germany, Austria`) and their form on the wire."""

from __future__ import annotations

import re
from typing import Any

from proxy.sandbox.reading import Node

USER_FIELDS = frozenset(
    {
        *("user_id", "device_id", "country", "region", "dma", "city", "language", "platform"),
        *("version", "os", "device_manufacturer", "device_brand", "device_model", "carrier"),
        *("library", "ip_address"),
        # What only a browser knows.
        *("web_exp_id", "browser", "device_category", "landing_url", "referring_url", "first_seen"),
    }
)
COMPARISONS = {
    "less than": "less",
    "at most": "less or equal",
    "greater than": "greater",
    "at least": "greater or equal",
}
OPERATORS = {
    **COMPARISONS,
    **{f"version {words}": f"version {op}" for words, op in COMPARISONS.items()},
    **{
        op: op
        for op in (
            "is",
            "is not",
            "contains",
            "does not contain",
            *COMPARISONS.values(),
            *(f"version {op}" for op in COMPARISONS.values()),
            "set is",
            "set is not",
            "set contains",
            "set does not contain",
            "set contains any",
            "set does not contain any",
            "regex match",
            "regex does not match",
        )
    },
    "matches": "regex match",
    "does not match": "regex does not match",
}
# The longest words first, so that `is not` is never read as `is` with the value `not ...`.
WORDS = "|".join(sorted(OPERATORS, key=len, reverse=True))
IN_COHORT = re.compile(r"(?:(?P<group>(?!not )\S+) )?(?P<is>in|not in) cohort (?P<cohorts>.+)")
ABOUT_FLAG = re.compile(r"flag (?P<flag>\S+) (?P<is>is not|is) (?P<variants>.+)")
TEST = re.compile(rf"(?P<name>\"[^\"]+\"|\S+) (?P<op>{WORDS})(?: (?P<values>.*))?", re.DOTALL)
EXAMPLE = (
    "say something like `country is Germany, Austria`, with is, is not, contains, less than, "
    "at least, matches, ... or `in cohort beta`"
)


def condition(node: Node) -> dict[str, Any]:
    """Return the wire condition that the words (or a map with selector, op, values) ask for."""
    if isinstance(node.value, dict):
        return _spelled_out(node)
    words = node.text("a condition").strip()
    if found := IN_COHORT.fullmatch(words):
        path = ["groups", found["group"]] if found["group"] else ["user"]
        op = "set contains any" if found["is"] == "in" else "set does not contain any"
        return _condition(["context", *path, "cohort_ids"], op, _split(found["cohorts"]))
    if found := ABOUT_FLAG.fullmatch(words):
        return _condition(["result", found["flag"], "key"], found["is"], _split(found["variants"]))
    found = TEST.fullmatch(words)
    if found is None:
        node.wrong(f"cannot read the condition {words!r}; {EXAMPLE}")
    name, op = found["name"].strip('"'), OPERATORS[found["op"]]
    if name == "version" and op in COMPARISONS.values():
        op = f"version {op}"
    values = found["values"] or ""
    # A comma belongs to a pattern; elsewhere it parts the values.
    return _condition(selector(name), op, [values] if op.startswith("regex") else _split(values))


def selector(name: str) -> list[str]:
    """Return where the engine finds a property of the user, or `group:org` and `group:org.plan`."""
    if name.startswith("group:"):
        group, _, inner = name.removeprefix("group:").partition(".")
        rest = ["group_properties", inner] if inner else ["group_name"]
        return ["context", "groups", group, *rest]
    if name in USER_FIELDS:
        return ["context", "user", name]
    return ["context", "user", "user_properties", name]


def _spelled_out(node: Node) -> dict[str, Any]:
    entries = node.entries("a condition", ("property", "selector", "op", "values"))
    op = entries.get("op", Node(node.line, None)).text("op")
    if op not in OPERATORS:
        entries["op"].wrong(f"there is no operator {op!r}")
    if "selector" in entries:
        path = entries["selector"].texts("selector")
    else:
        path = selector(entries.get("property", Node(node.line, None)).text("property"))
    values = entries.get("values", Node(node.line, None)).texts("values")
    return _condition(path, OPERATORS[op], values)


def _condition(path: list[str], op: str, values: list[str]) -> dict[str, Any]:
    return {"selector": path, "op": op, "values": values}


def _split(values: str) -> list[str]:
    return [value for part in values.split(",") if (value := part.strip())]
