"""All that the flag file describes, ready to be served."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from proxy.evaluation.decode import decode_flag
from proxy.sandbox.flags import OFF, bucket, default_salt, wire_flag
from proxy.sandbox.reading import Node, read_yaml
from proxy.sandbox.targeting import selector

SETTINGS = ("flags", "exclusion_groups", "holdouts", "cohorts", "users", "raw_flags")
Needs = dict[str, dict[str, list[str]]]
"""Flag key to the flags it needs, each with the variants that let it through."""


class Cohort(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A cohort as Amplitude serves it; `last_modified` in milliseconds since 1970."""

    cohort_id: str
    group_type: str
    last_modified: int
    size: int
    member_ids: tuple[str, ...]


class World(msgspec.Struct, frozen=True, kw_only=True):
    """The flags as one JSON array, the cohorts by id, and what is known of users by their id."""

    flags: bytes
    flag_keys: tuple[str, ...]
    cohorts: Mapping[str, Cohort]
    users: Mapping[str, dict[str, Any]]


NOTHING = World(flags=b"[]", flag_keys=(), cohorts={}, users={})


def read_world(text: str, previous: World = NOTHING, now: float = 0.0) -> World:
    """Return what the file describes; a cohort keeps its date while its members stay.

    Raises FileMistake with the line of the first thing that is wrong.
    """
    sections = read_yaml(text).entries("the file", SETTINGS)
    empty = Node(1, None)
    needs: Needs = {}
    groups = [
        *_exclusion_groups(sections.get("exclusion_groups", empty), needs),
        *_holdouts(sections.get("holdouts", empty), needs),
    ]
    written = sections.get("flags", empty).entries("flags")
    flags = [
        *groups,
        *((node, wire_flag(key, node, needs.pop(key, {}))) for key, node in written.items()),
    ]
    for key, groups_of in needs.items():
        node = next(node for node, flag in groups if flag["key"] in groups_of)
        node.wrong(f"this names the flag {key!r}, which is not under flags")
    raw = sections.get("raw_flags", empty).items("raw_flags")
    flags.extend((node, node.plain()) for node in raw)
    _check(flags)
    return World(
        flags=msgspec.json.encode([flag for _, flag in flags]),
        flag_keys=tuple(str(flag["key"]) for _, flag in flags),
        cohorts=_cohorts(sections.get("cohorts", empty), previous, now),
        users={
            user_id: {name: value.plain() for name, value in node.entries(user_id).items()}
            for user_id, node in sections.get("users", empty).entries("users").items()
        },
    )


def _check(flags: list[tuple[Node, Any]]) -> None:
    keys: set[str] = set()
    for node, flag in flags:
        try:
            decode_flag(msgspec.json.encode(flag))
        except ValueError as refused:
            node.wrong(f"this flag would be refused: {refused}")
        if flag["key"] in keys:
            node.wrong(f"there are two flags with the key {flag['key']!r}")
        keys.add(flag["key"])


def _exclusion_groups(node: Node, needs: Needs) -> list[tuple[Node, dict[str, Any]]]:
    flags = []
    for name, entry in node.entries("exclusion_groups").items():
        settings = entry.entries(f"group {name!r}", ("slots", "by", "salt"))
        slots = settings.get("slots", Node(entry.line, None)).entries("slots")
        if not slots:
            entry.wrong("a group needs `slots`: a flag key and its percents for each experiment")
        shares = {}
        for number, (flag_key, percents) in enumerate(slots.items(), start=1):
            shares[f"slot-{number}"] = percents.percent("a slot")
            needs.setdefault(flag_key, {})[f"mutex-{name}"] = [f"slot-{number}"]
        shares["unallocated"] = 100 - sum(shares.values())
        if shares["unallocated"] < 0:
            entry.wrong("the slots take more than 100% together")
        flags.append((entry, _group_flag(f"mutex-{name}", "mutual-exclusion-group", shares, entry)))
    return flags


def _holdouts(node: Node, needs: Needs) -> list[tuple[Node, dict[str, Any]]]:
    flags = []
    for name, entry in node.entries("holdouts").items():
        settings = entry.entries(f"holdout {name!r}", ("hold_back", "flags", "by", "salt"))
        if "hold_back" not in settings:
            entry.wrong("a holdout needs `hold_back`: the percents of users it keeps out")
        held = settings["hold_back"].percent("hold_back")
        for flag_key in settings.get("flags", Node(entry.line, None)).texts("flags"):
            needs.setdefault(flag_key, {})[f"holdout-{name}"] = ["on"]
        shares = {"holdout": held, "on": 100 - held}
        flags.append((entry, _group_flag(f"holdout-{name}", "holdout-group", shares, entry)))
    return flags


def _group_flag(key: str, kind: str, shares: dict[str, int], node: Node) -> dict[str, Any]:
    settings = node.entries(key)
    path = selector(settings["by"].text("by") if "by" in settings else "user_id")
    salt = settings["salt"].text("salt") if "salt" in settings else default_salt(key)
    metadata = {
        "deployed": False,
        "evaluationMode": "local",
        "flagType": kind,
        "flagVersion": 1,
    }
    segment = {
        "bucket": bucket(path, salt, 100, shares),
        "metadata": {"segmentName": "All Other Users"},
        "variant": "off",
    }
    variants = {name: {"key": name, "value": name} for name in shares}
    return {
        "key": key,
        "metadata": metadata,
        "segments": [segment],
        "variants": {**variants, "off": OFF},
    }


def _cohorts(node: Node, previous: World, now: float) -> dict[str, Cohort]:
    cohorts = {}
    for name, entry in node.entries("cohorts").items():
        group, listed = "User", entry
        if isinstance(entry.value, dict):
            settings = entry.entries(f"cohort {name!r}", ("group", "members"))
            listed = settings.get("members", Node(entry.line, None))
            group = settings["group"].text("group") if "group" in settings else group
        members = tuple(dict.fromkeys(listed.texts("members")))
        held = previous.cohorts.get(name)
        same = held is not None and (held.group_type, held.member_ids) == (group, members)
        cohorts[name] = Cohort(
            cohort_id=name,
            group_type=group,
            last_modified=held.last_modified if held and same else int(now * 1000),
            size=len(members),
            member_ids=members,
        )
    return cohorts
