"""What differs between two sets of flag configs, in words for people. Pure.

Meaning counts, not spelling: the order of an object's members, of conditions and their values, and
blanks, make no difference. Every text is bounded, whatever a flag config holds.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Final, Literal

import msgspec

from proxy.admin.describing import is_deployed, is_on, text_of, version_of
from proxy.admin.meaning import json_meaning, meaning
from proxy.admin.segment_changes import segment_changes
from proxy.admin.wording import name_text
from proxy.evaluation.model import Flag, Variant

LONGEST_KEY: Final = 200
LONGEST_TEXT: Final = 240
MOST_TEXTS: Final = 20
MOST_NAMES: Final = 5
VERSION: Final = "flagVersion"
TOLD_APART: Final = frozenset({VERSION, "deployed"})
WORDS: Final = {"flagType": "type", "evaluationMode": "evaluation mode"}

Kind = Literal["added", "removed", "changed"]


class Change(msgspec.Struct, frozen=True):
    """How one flag differs: `what` has at least one text for a changed flag."""

    flag: str
    kind: Kind
    from_version: int | None
    to_version: int | None
    what: tuple[str, ...]


def changes(old: Mapping[str, Flag], new: Mapping[str, Flag]) -> Iterator[Change]:
    """Give the difference of every flag that has one; flags gone come last."""
    for key, flag in new.items():
        before = old.get(key)
        if before is None:
            yield _change("added", None, flag, _state(flag))
        elif before is not flag and meaning(before) != meaning(flag):
            yield _change("changed", before, flag, _differences(before, flag))
    for key, flag in old.items():
        if key not in new:
            yield _change("removed", flag, None, _state(flag))


def bounded(texts: Iterable[str]) -> tuple[str, ...]:
    """Return the first texts, cut where they are long, and how many more there are."""
    every = list(texts)
    shown = [name_text(text, LONGEST_TEXT) for text in every[:MOST_TEXTS]]
    more = len(every) - len(shown)
    return (*shown, f"and {more} more") if more else tuple(shown)


def _change(kind: Kind, before: Flag | None, after: Flag | None, what: Iterable[str]) -> Change:
    flag = after or before
    assert flag is not None
    return Change(
        flag=name_text(flag.key, LONGEST_KEY),
        kind=kind,
        from_version=None if before is None else version_of(before),
        to_version=None if after is None else version_of(after),
        what=bounded(what),
    )


def _state(flag: Flag) -> Iterator[str]:
    yield "on" if is_on(flag) else "off"
    if not is_deployed(flag):
        yield "not deployed"


def _differences(old: Flag, new: Flag) -> list[str]:
    texts = [
        *_switched(old, new),
        *segment_changes(old, new),
        *_variants(old.variants, new.variants),
        *_dependencies(old.dependencies, new.dependencies),
        *_metadata(old, new),
    ]
    return texts or ["a new version; nothing else changed"]


def _switched(old: Flag, new: Flag) -> Iterator[str]:
    if is_on(old) != is_on(new):
        yield "turned on" if is_on(new) else "turned off"
    if is_deployed(old) != is_deployed(new):
        yield "deployed" if is_deployed(new) else "not deployed any more"


def _variants(old: Mapping[str, Variant], new: Mapping[str, Variant]) -> Iterator[str]:
    if old.keys() != new.keys():
        yield f"variants: {_plus_minus(old, new)}"
    for key in old:
        before, after = old[key], new.get(key)
        if after is None:
            continue
        for name in ("key", "value", "payload", "metadata"):
            if json_meaning(getattr(before, name)) != json_meaning(getattr(after, name)):
                yield f"{name} of variant “{name_text(key)}” changed"


def _dependencies(old: Collection[str], new: Collection[str]) -> Iterator[str]:
    if set(old) != set(new):
        yield f"dependencies: {_plus_minus(old, new)}"
    elif tuple(old) != tuple(new):
        yield "order of dependencies changed"


def _metadata(old: Flag, new: Flag) -> Iterator[str]:
    for name in sorted({*old.metadata, *new.metadata}):
        if json_meaning(old.metadata.get(name)) == json_meaning(new.metadata.get(name)):
            continue
        if name in TOLD_APART and _is_told(name, old, new):
            continue
        before, after = text_of(old.metadata, name), text_of(new.metadata, name)
        if name in WORDS and (before or after):
            yield f"{WORDS[name]}: {before or 'none'} → {after or 'none'}"
        else:
            yield f"metadata “{name_text(name)}” changed"


def _is_told(name: str, old: Flag, new: Flag) -> bool:
    """Tell whether a difference in this part of the metadata shows elsewhere."""
    if name == VERSION:
        return version_of(old) != version_of(new)
    return is_deployed(old) != is_deployed(new)


def _plus_minus(old: Collection[str], new: Collection[str]) -> str:
    before, after = set(old), set(new)
    added = [f"+{name_text(key)}" for key in new if key not in before]
    gone = [f"\N{MINUS SIGN}{name_text(key)}" for key in old if key not in after]
    every = [*added[:MOST_NAMES], *gone[:MOST_NAMES]]
    more = len(added) + len(gone) - len(every)
    return " ".join(every) + (f" and {more} more" if more else "")
