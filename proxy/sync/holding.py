"""Which flags stay as they are while cohorts are on their way. Pure.

Flags that depend on one another switch together: an answer that mixes an old flag with a new one
that it depends on would be right for no moment of upstream's.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from proxy.evaluation.cohorts import Target
from proxy.evaluation.deployment import CompiledDeployment

Waiting = Mapping[str, frozenset[Target]]
"""The flags that are not in force as upstream serves them, each with what it waits for."""

NOTHING: Waiting = {}


def held_back(
    whole: CompiledDeployment, in_force: CompiledDeployment | None, pending: Collection[Target]
) -> Waiting:
    """Return the flags of `whole` that wait for pending cohorts, and all that switch with them.

    A flag that is in force already as it came does not wait, whatever it targets. Of a first
    body (`in_force` None) only the flags that target pending cohorts are named.
    """
    old: Mapping[str, bytes] = {} if in_force is None else in_force.raw_flags
    causes = {
        key: found
        for key, targets in whole.cohorts.items()
        if (found := targets.intersection(pending)) and whole.raw_flags[key] != old.get(key)
    }
    if not causes or in_force is None:
        return causes
    waiting: dict[str, frozenset[Target]] = {}
    for members in _components(causes, whole, in_force):
        found = frozenset[Target]().union(*(causes.get(key, ()) for key in members))
        changed = (key for key in members if whole.raw_flags.get(key) != old.get(key))
        waiting |= dict.fromkeys(changed, found)
    return waiting


def mixed(whole: CompiledDeployment, in_force: CompiledDeployment, waiting: Waiting) -> list[bytes]:
    """Return the raw flags to serve meanwhile: the waiting ones as they are, all others new.

    A flag that waits and was absent stays absent; one that `whole` leaves out stays while it
    waits.
    """
    chosen = dict(whole.raw_flags)
    for key in waiting:
        if key in in_force.raw_flags:
            chosen[key] = in_force.raw_flags[key]
        else:
            del chosen[key]
    return list(chosen.values())


def _components(
    starts: Iterable[str], whole: CompiledDeployment, in_force: CompiledDeployment
) -> list[set[str]]:
    """Return the sets of flags, old and new, that depend on one another and hold a start."""
    neighbours: dict[str, set[str]] = {}
    for compiled in (whole, in_force):
        for key, flag in compiled.flags.items():
            for other in flag.dependencies:
                neighbours.setdefault(key, set()).add(other)
                neighbours.setdefault(other, set()).add(key)
    seen: set[str] = set()
    components = []
    for start in starts:
        if start in seen:
            continue
        members = {start}
        ahead = [start]
        while ahead:
            fresh = neighbours.get(ahead.pop(), set()) - members
            members |= fresh
            ahead += fresh
        seen |= members
        components.append(members)
    return components
