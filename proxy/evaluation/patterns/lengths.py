"""How long a match may be, in the JDK's own arithmetic: 32 bits that overflow.

Java refuses a look-behind by this measure, and decides by it which repetitions it never
reconsiders; so the measure has to be theirs, overflow included.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeGuard

from proxy.evaluation.patterns.syntax import (
    Atomic,
    BackReference,
    Chars,
    Choice,
    Grapheme,
    Group,
    LineBreak,
    Node,
    Repeat,
    Sequence,
)

_ENDLESS = 0x7FFFFFFF
_OVERFLOWED = 0xFFFFFFF
_FAR_BACK = -0x80000000 + 0x10000
"""A maximum overflowed to about here reaches back without end, any other negative nowhere."""


@dataclass(slots=True)
class Measure:
    """What is known of the lengths of all matches of some nodes."""

    shortest: int = 0
    longest: int = 0
    bounded: bool = True
    settled: bool = True


def is_settled(node: Node) -> bool:
    """Tell whether Java takes the node for one that matches in one way only."""
    return _measure(node).settled


def reach_of_look_behind(body: Node) -> bool | None:
    """Tell whether a look-behind ever looks anywhere; None where Java refuses it."""
    found = _measure(body)
    if not found.bounded:
        return None
    if found.longest < 0:
        return found.longest < _FAR_BACK
    return found.longest >= found.shortest


def _measure(node: Node) -> Measure:
    measure = Measure()
    _walk(_flat(node), measure)
    return measure


def _flat(node: Node) -> list[Node]:
    if isinstance(node, Sequence):
        return [each for item in node.items for each in _flat(item)]
    if isinstance(node, Group):
        return _flat(node.body)
    return [node]


def _wrap(number: int) -> int:
    return (number + 0x80000000) % 0x100000000 - 0x80000000


def _walk(nodes: list[Node], measure: Measure) -> None:
    """Add the lengths of the nodes to the measure, which may hold those of earlier ones."""
    done = Measure()
    branched = False
    for node in nodes:
        if _is_loop(node):
            measure.bounded = measure.settled = False
            break
        options = _options(node)
        if options is not None:
            _add_choice(options, measure)
            # Java measures what follows a choice afresh and adds it at the end.
            _add(done, measure)
            measure.shortest = measure.longest = 0
            measure.bounded = branched = True
        else:
            _add_node(node, measure)
    _add(measure, done)
    measure.settled = measure.settled and not branched


def _add(total: Measure, more: Measure) -> None:
    total.shortest = _wrap(total.shortest + more.shortest)
    total.longest = _wrap(total.longest + more.longest)
    total.bounded = total.bounded and more.bounded


def _options(node: Node) -> tuple[list[Node], ...] | None:
    if isinstance(node, Choice):
        return tuple(map(_flat, node.options))
    if _is_group_repeat(node) and (node.low, node.high) == (0, 1):
        return _flat(node.body), []
    return None


def _is_group_repeat(node: Node) -> TypeGuard[Repeat]:
    return isinstance(node, Repeat) and isinstance(node.body, Group) and node.greed != "possessive"


def _is_loop(node: Node) -> bool:
    return _is_group_repeat(node) and (node.low, node.high) != (0, 1) and not node.settled


def _add_choice(options: tuple[list[Node], ...], measure: Measure) -> None:
    shortest, longest = _ENDLESS, -1
    for option in options:
        found = Measure()
        _walk(option, found)
        shortest = min(shortest, found.shortest)
        longest = max(longest, found.longest)
        measure.bounded = measure.bounded and found.bounded
    measure.shortest = _wrap(measure.shortest + shortest)
    measure.longest = _wrap(measure.longest + longest)


def _add_node(node: Node, measure: Measure) -> None:
    match node:
        case Chars() | LineBreak():
            measure.shortest = _wrap(measure.shortest + 1)
            measure.longest = _wrap(measure.longest + (1 if isinstance(node, Chars) else 2))
        case Grapheme():
            measure.shortest = _wrap(measure.shortest + 1)
            measure.settled = False
        case BackReference():
            measure.bounded = False
        case Atomic():
            _walk(_flat(node.body), measure)
        case Repeat():
            _add_repeat(node, measure)
        case _:
            pass


def _add_repeat(node: Repeat, measure: Measure) -> None:
    if (node.low, node.high) == (0, 1):
        shortest = measure.shortest
        _walk(_flat(node.body), measure)
        measure.shortest = shortest
        measure.settled = False
    elif isinstance(node.body, Chars) and node.high is None and node.greed == "greedy":
        measure.shortest = _wrap(measure.shortest + node.low)
        if measure.bounded:
            measure.longest = _wrap(measure.longest + _ENDLESS)
        measure.settled = False
    else:
        _add_counted(node, measure)


def _add_counted(node: Repeat, measure: Measure) -> None:
    high = _ENDLESS if node.high is None else node.high
    body = _measure(node.body)
    shortest = _wrap(body.shortest * node.low + measure.shortest)
    measure.shortest = _OVERFLOWED if shortest < measure.shortest else shortest
    if measure.bounded and body.bounded:
        longest = _wrap(body.longest * high + measure.longest)
        measure.bounded = longest >= measure.longest
        measure.longest = longest
    else:
        measure.bounded = False
    measure.settled = measure.settled and body.settled and node.low == high
