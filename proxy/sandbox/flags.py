"""Flags as people write them, and the same flags as Amplitude serves them."""

from __future__ import annotations

import zlib
from itertools import pairwise
from typing import Any

from proxy.sandbox.reading import Node
from proxy.sandbox.targeting import condition, selector

BUCKETS = 42_949_673
"""One more than the highest value of floor(hash / 100)."""

EVERYBODY_ELSE = "All Other Users"
SERVING = ("by", "rollout", "weights", "serve")
SEGMENT_SETTINGS = ("name", "when", *SERVING)
FLAG_SETTINGS = (
    *(
        "type",
        "mode",
        "delivery",
        "experiment",
        "version",
        "salt",
        "variants",
        "include",
        "needs",
        "segments",
    ),
    *SERVING,
)
KINDS = {"release": ("on",), "experiment": ("control", "treatment")}
MODES = ("local", "remote")
DELIVERIES = ("feature", "web")
OFF = {"key": "off", "metadata": {"default": True}}


def wire_flag(key: str, node: Node, needs: dict[str, list[str]]) -> dict[str, Any]:
    """Return the wire form of one flag; `needs` adds what its groups demand of other flags."""
    settings = node.entries(f"flag {key!r}", FLAG_SETTINGS)
    kind = settings.get("type", Node(node.line, "release"))
    if kind.value not in KINDS:
        kind.wrong(f"type must be one of {', '.join(KINDS)}")
    variants = _variants(settings.get("variants"), KINDS[str(kind.value)])
    salt = _text(settings, "salt", default_salt(key))
    wanted = {**_needs(settings.get("needs")), **needs}
    flag: dict[str, Any] = {"key": key, "metadata": _metadata(str(kind.value), settings)}
    if wanted:
        flag["dependencies"] = list(wanted)
    flag["segments"] = [
        *_inclusions(settings.get("include"), variants),
        *_gate(wanted),
        *_targeting(settings, variants, salt),
        _segment(EVERYBODY_ELSE, settings, settings, variants, salt),
    ]
    flag["variants"] = variants
    return flag


def default_salt(key: str) -> str:
    """Return a salt that stays the same from run to run, so that people keep their variants."""
    return f"{zlib.crc32(key.encode()):08x}"


def distributions(shares: dict[str, int]) -> list[dict[str, Any]]:
    """Divide all buckets in proportion; neighbours overlap by one, as in what Amplitude serves."""
    total = sum(shares.values())
    bounds, reached = [0], 0
    for share in shares.values():
        reached += share
        bounds.append(reached * BUCKETS // total)
    return [
        {"variant": variant, "range": [max(start - 1, 0), end]}
        for variant, (start, end) in zip(shares, pairwise(bounds), strict=True)
        if end > start
    ]


def bucket(path: list[str], salt: str, rollout: int, shares: dict[str, int]) -> dict[str, Any]:
    """Return a bucket that gives `rollout` percents of all a variant in proportion to `shares`."""
    allocations = [{"range": [0, rollout], "distributions": distributions(shares)}]
    return {"selector": path, "salt": salt, "allocations": allocations if rollout else []}


def _variants(node: Node | None, usual: tuple[str, ...]) -> dict[str, Any]:
    entries = node.entries("variants") if node else dict.fromkeys(usual, Node(0, None))
    if not [key for key in entries if key != "off"] and node:
        node.wrong("there must be a variant besides `off`")
    variants = {key: _variant(key, entry) for key, entry in entries.items() if key != "off"}
    return {**variants, "off": OFF}


def _variant(key: str, node: Node) -> dict[str, Any]:
    settings = node.entries(f"variant {key!r}", ("value", "payload"))
    variant: dict[str, Any] = {"key": key, "value": _text(settings, "value", key)}
    if "payload" in settings:
        variant["payload"] = settings["payload"].plain()
    return variant


def _metadata(kind: str, settings: dict[str, Node]) -> dict[str, Any]:
    mode = settings.get("mode", Node(0, MODES[0]))
    if mode.value not in MODES:
        mode.wrong(f"mode must be one of {', '.join(MODES)}")
    version = settings.get("version", Node(0, 1))
    if not isinstance(version.value, int):
        version.wrong("version must be a whole number")
    metadata = {
        "deployed": True,
        "evaluationMode": mode.value,
        "flagType": kind,
        "flagVersion": version.value,
    }
    if "delivery" in settings:
        metadata["deliveryMethod"] = settings["delivery"].text("delivery")
        if metadata["deliveryMethod"] not in DELIVERIES:
            settings["delivery"].wrong(f"delivery must be one of {', '.join(DELIVERIES)}")
    if kind == "experiment":
        metadata["experimentKey"] = _text(settings, "experiment", "exp-1")
    return metadata


def _needs(node: Node | None) -> dict[str, list[str]]:
    if node is None:
        return {}
    return {flag: entry.texts(f"needs {flag!r}") for flag, entry in node.entries("needs").items()}


def _gate(needs: dict[str, list[str]]) -> list[dict[str, Any]]:
    if not needs:
        return []
    conditions = [
        [{"selector": ["result", flag, "key"], "op": "is not", "values": allowed}]
        for flag, allowed in needs.items()
    ]
    name = {"segmentName": "flag-dependencies"}
    return [{"conditions": conditions, "metadata": name, "variant": "off"}]


def _inclusions(node: Node | None, variants: dict[str, Any]) -> list[dict[str, Any]]:
    segments = []
    for variant, entry in (node.entries("include") if node else {}).items():
        _known(variant, entry, variants)
        ids = entry.texts(f"include {variant!r}")
        conditions = [
            [{"selector": ["context", "user", field], "op": "is", "values": ids}]
            for field in ("user_id", "device_id")
        ]
        name = {"segmentName": "individual-inclusions"}
        segments.append({"conditions": conditions, "metadata": name, "variant": variant})
    return segments


def _targeting(
    settings: dict[str, Node], variants: dict[str, Any], salt: str
) -> list[dict[str, Any]]:
    segments = []
    listed = settings["segments"].items("segments") if "segments" in settings else []
    for number, node in enumerate(listed, start=1):
        own = node.entries("a segment", SEGMENT_SETTINGS)
        if "when" not in own:
            node.wrong("a segment needs `when`: the conditions that its users meet")
        segment = _segment(_text(own, "name", f"Segment {number}"), own, settings, variants, salt)
        segments.append({"conditions": _alternatives(own["when"]), **segment})
    return segments


def _alternatives(node: Node) -> list[list[dict[str, Any]]]:
    listed = node.items("when")
    if not listed:
        node.wrong("`when` is empty; leave the segment out, or name a condition")
    if any(isinstance(item.value, list) for item in listed):
        return [[condition(inner) for inner in item.items("when")] for item in listed]
    return [[condition(item) for item in listed]]


def _segment(
    name: str, own: dict[str, Node], flag: dict[str, Node], variants: dict[str, Any], salt: str
) -> dict[str, Any]:
    segment: dict[str, Any] = {"metadata": {"segmentName": name}, "variant": "off"}
    if "serve" in own:
        if "rollout" in own or "weights" in own:
            own["serve"].wrong("`serve` gives all one variant; take out `rollout` and `weights`")
        segment["variant"] = own["serve"].text("serve")
        _known(segment["variant"], own["serve"], variants)
        return segment
    rollout = own["rollout"].percent("rollout") if "rollout" in own else _usual_rollout(own, flag)
    shares = _shares(own.get("weights") or flag.get("weights"), variants)
    by = own.get("by") or flag.get("by") or Node(0, "user_id")
    segment["bucket"] = bucket(selector(by.text("by")), salt, rollout, shares)
    return segment


def _usual_rollout(own: dict[str, Node], flag: dict[str, Node]) -> int:
    # A flag with targeting segments and no word about the others serves only the targeted.
    only_targeted = own is flag and "segments" in flag and "weights" not in flag
    return 0 if only_targeted else 100


def _shares(node: Node | None, variants: dict[str, Any]) -> dict[str, int]:
    if node is None:
        return {key: 1 for key in variants if key != "off"}
    shares = {}
    for variant, entry in node.entries("weights").items():
        _known(variant, entry, variants)
        if not isinstance(entry.value, int) or entry.value < 0:
            entry.wrong("a weight must be a whole number, 0 or more")
        shares[variant] = entry.value
    if not sum(shares.values()):
        node.wrong("the weights must not all be 0")
    return shares


def _known(variant: str, node: Node, variants: dict[str, Any]) -> None:
    if variant not in variants:
        node.wrong(f"there is no variant {variant!r}; the variants are {', '.join(variants)}")


def _text(settings: dict[str, Node], name: str, usual: str) -> str:
    return settings[name].text(name) if name in settings else usual
