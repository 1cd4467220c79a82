"""The source of one function that evaluates a chunk of flags.

The source consists of our own words and of names that we number. Whatever comes from a config,
numbers too, is bound to such a name; so chunks of one shape have one source, and no text of
others is ever compiled.

The function takes a user and the results so far and returns the outcomes of its flags. Each flag
is a loop that runs once, so that a segment which decides can `break`, at any number of segments.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any, Final

from proxy.evaluation.codegen_buckets import Step, chooser
from proxy.evaluation.codegen_conditions import Test
from proxy.evaluation.codegen_runtime import RUNTIME
from proxy.evaluation.codegen_selections import (
    GROUPS,
    RESULT_ROOT,
    USER_ROOT,
    Node,
    chain,
)
from proxy.evaluation.compiler_units import Branch, Unit
from proxy.evaluation.outcomes import Outcome

FUNCTION: Final = "chunk"
CHAIN: Final = 16  # a bucket with more steps is looked up in a table instead

_LETTERS: Final = {
    "cohorts": "c",
    "map": "p",
    "bytes": "b",
    "text": "s",
    "lower": "l",
    "number": "n",
    "version": "v",
}
_MEMBERS: Final = {"s": "m", "c": "w"}
_DERIVING: Final = {
    "lower": "{x} = {s}.lower() if {s}.__class__ is str else None",
    "number": "{x} = number({s})",
    "version": "{x} = version({s})",
}

Known = dict[Node, str]
Pair = tuple[bytes, tuple[str, ...]]


def generate(units: Sequence[Unit], referred: Collection[str]) -> tuple[str, dict[str, Any]]:
    """Return source and namespace of a function that evaluates the units in their order.

    `referred` are the keys of the flags whose results some condition reads.
    """
    writer = _Writer(units)
    return writer.write(units, referred), writer.namespace


class _Writer:
    def __init__(self, units: Sequence[Unit]) -> None:
        self.namespace = dict(RUNTIME)
        self.lines: list[str] = []
        self._numbers: Counter[str] = Counter()
        uses = Counter(node for unit in units for node in _nodes(unit))
        pairs = Counter(pair for unit in units for pair in _pairs(unit))
        self._shared_nodes = [node for node, n in uses.items() if n > 1 and not node.moves]
        self._shared_pairs = {pair: self._number("h") for pair, count in pairs.items() if count > 1}
        self._known: Known = {USER_ROOT: "user", RESULT_ROOT: "results"}

    def write(self, units: Sequence[Unit], referred: Collection[str]) -> str:
        self._put(0, f"def {FUNCTION}(user, results):")
        for node in self._shared_nodes:
            self._read_node(1, node, self._known)
        for name in self._shared_pairs.values():
            self._put(1, f"{name} = None")
        given, missable = [], []
        for unit in units:
            name = self._number("o")
            given.append(name)
            if self._flag(unit, name):
                missable.append(name)
            if unit.flag.key in referred:
                self._record(unit, name, may_miss=name in missable)
        if missable:
            self._put(1, f"if {' or '.join(f'{name} is None' for name in missable)}:")
            self._put(2, f"return present([{', '.join(given)}])")
        self._put(1, f"return [{', '.join(given)}]")
        return "\n".join(self.lines) + "\n"

    def _put(self, depth: int, line: str) -> None:
        self.lines.append(" " * depth + line)

    def _number(self, kind: str) -> str:
        self._numbers[kind] += 1
        return f"{kind}{self._numbers[kind]}"

    def _bind(self, kind: str, value: object) -> str:
        name = self._number(kind)
        self.namespace[name] = value
        return name

    # Reading

    def _read(self, depth: int, nodes: Sequence[Node], known: Known) -> str:
        """Read what is not known yet; return the name of the last node."""
        for node in nodes:
            if node not in known:
                self._read_node(depth, node, known)
        return known[nodes[-1]]

    def _read_node(self, depth: int, node: Node, known: Known) -> None:
        name = known[node] = self._number(_LETTERS[node.kind])
        for line in self._reading(node, name, known):
            self._put(depth, line)

    def _reading(self, node: Node, name: str, known: Known) -> list[str]:
        """Return the lines that read a node whose parents are known."""
        if node.kind in _DERIVING:
            return [_DERIVING[node.kind].format(x=name, s=known[node.parent])]
        if node.path == GROUPS and node.kind == "map":
            return [f"{name} = groups(user)"]
        selected = f"{name} = {self._selection(node, known)}"
        if node.kind == "map":
            return [selected, f"if {name}.__class__ is not dict:", f" {name} = EMPTY"]
        if node.kind == "bytes":
            return [
                selected,
                f"if {name}.__class__ is str:",
                f' {name} = {name}.encode("utf-8", "replace")',
                "else:",
                f" {name} = encoded({name})",
            ]
        members = _members(name)
        if node.kind == "cohorts":
            unread, reader = f"{name}.__class__ is not Memberships", "cohorts"
        else:
            # Strings from "[" up to "\\" are those that begin with a bracket.
            special = f'{name}.__class__ is not str or "[" <= {name} < "\\\\"'
            unread, reader = f"{name} is not None and ({special})", "read"
        return [
            selected,
            f"{members} = None",
            f"if {unread}:",
            f" {name}, {members} = {reader}({name})",
        ]

    def _selection(self, node: Node, known: Known) -> str:
        if node.whole:
            return f"odd({self._bind('K', node.path)}, user, results)"
        return f"{known[node.parent]}.get({self._bind('K', node.path[-1])})"

    # Flags

    def _flag(self, unit: Unit, name: str) -> bool:
        """Write the evaluation of one flag; return whether it may give nothing."""
        if unit.branches is None:
            self._put(1, f"{name} = {self._bind('F', unit.slow)}(user, results)")
            return True
        outcomes: dict[int, str] = {}
        known = dict(self._known)
        self._put(1, "while True:")
        for branch in unit.branches:
            self._branch(branch, name, known, outcomes)
            if branch.decides:
                return False
        self._put(2, f"{name} = None")
        self._put(2, "break")
        return True

    def _record(self, unit: Unit, name: str, *, may_miss: bool) -> None:
        depth = 1
        if may_miss:
            self._put(1, f"if {name} is not None:")
            depth = 2
        self._put(depth, f"results[{self._bind('K', unit.flag.key)}] = {name}.view")

    def _branch(self, branch: Branch, name: str, known: Known, outcomes: dict[int, str]) -> None:
        depth = 2
        if branch.alternatives is not None:
            condition = " or ".join(
                " and ".join(self._test(test, known) for test in tests)
                for tests in branch.alternatives
            )
            self._put(2, f"if {condition}:")
            depth = 3
            known = dict(known)  # what is read inside the `if` is not known after it
        if branch.selector is None:
            self._put(depth, f"{name} = {self._outcome(branch.default, outcomes)}")
        else:
            self._bucket(depth, branch, name, known, outcomes)
        if branch.may_give_nothing:
            self._put(depth, f"if {name} is not None:")
            depth += 1
        self._put(depth, "break")

    def _test(self, test: Test, known: Known) -> str:
        derived = self._read(2, chain(test.derived, test.selector), known)
        text = derived if test.derived == "cohorts" else known[Node("text", test.selector)]
        bound = [self._bind("V", value) for value in test.bound]
        return test.form.format(*bound, x=derived, s=text, m=_members(text))

    def _outcome(self, outcome: Outcome | None, names: dict[int, str]) -> str:
        if outcome is None:
            return "None"
        if id(outcome) not in names:
            names[id(outcome)] = self._bind("O", outcome)
        return names[id(outcome)]

    # Buckets

    def _bucket(
        self, depth: int, branch: Branch, name: str, known: Known, outcomes: dict[int, str]
    ) -> None:
        assert branch.selector is not None
        value = self._read(depth, chain("bytes", branch.selector), known)
        default = self._outcome(branch.default, outcomes)
        if len(branch.steps) == 1:
            (step,) = branch.steps
            given = self._outcome(step.outcome, outcomes)
            self._put(depth, f"{name} = {given} if {value} else {default}")
            return
        self._put(depth, f"if {value}:")
        hashed = self._hash(depth + 1, (branch.salt, branch.selector), value)
        if len(branch.steps) > CHAIN:
            table = self._bind("C", chooser(branch.steps))
            self._put(depth + 1, f"{name} = {table}({hashed})")
        else:
            self._steps(depth + 1, branch.steps, name, hashed, outcomes)
        self._put(depth, "else:")
        self._put(depth + 1, f"{name} = {default}")

    def _hash(self, depth: int, pair: Pair, value: str) -> str:
        salt = self._bind("S", pair[0])
        name = self._shared_pairs.get(pair)
        if name is None:
            name = self._number("h")
        else:
            self._put(depth, f"if {name} is None:")
            depth += 1
        self._put(depth, f"{name} = hashed({salt} + {value})")
        return name

    def _steps(
        self,
        depth: int,
        steps: Sequence[Step[Outcome]],
        name: str,
        hashed: str,
        outcomes: dict[int, str],
    ) -> None:
        share = f"{hashed} % 100"
        if sum(step.share_from is not None or step.share_to is not None for step in steps) > 1:
            share = self._number("a")
            self._put(depth, f"{share} = {hashed} % 100")
        word = "if"
        for step in steps[:-1]:
            checks = [
                *self._within(share, step.share_from, step.share_to),
                *self._within(hashed, step.hash_from, step.hash_to),
            ]
            self._put(depth, f"{word} {' and '.join(checks)}:")
            self._put(depth + 1, f"{name} = {self._outcome(step.outcome, outcomes)}")
            word = "elif"
        self._put(depth, "else:")
        self._put(depth + 1, f"{name} = {self._outcome(steps[-1].outcome, outcomes)}")

    def _within(self, value: str, low: int | None, high: int | None) -> list[str]:
        at_least = "" if low is None else f"{self._bind('B', low)} <= "
        below = "" if high is None else f" < {self._bind('B', high)}"
        return [f"{at_least}{value}{below}"] if at_least or below else []


def _members(name: str) -> str:
    """Return the name of the members that belong to a text or to cohorts: m7 to s7, w7 to c7."""
    return _MEMBERS[name[0]] + name[1:]


def _nodes(unit: Unit) -> dict[Node, None]:
    """Return the nodes a unit reads, each once, each after those it needs."""
    return {node: None for branch in unit.branches or () for node in branch.reads()}


def _pairs(unit: Unit) -> dict[Pair, None]:
    """Return the pairs of salt and bucketing value that a unit hashes, each once."""
    return {
        (branch.salt, branch.selector): None
        for branch in unit.branches or ()
        if branch.selector is not None and len(branch.steps) > 1
    }
