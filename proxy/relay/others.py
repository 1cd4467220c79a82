"""Which flags Amplitude is asked for, and which are answered here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal
from weakref import WeakKeyDictionary

from proxy.evaluation.deployment import CompiledDeployment
from proxy.evaluation.model import Flag, Problem

Mode = Literal["off", "fallback", "merge"]
REMOTE = b'"remote"'


class Others:
    """The flags of a request that are not, or not only, evaluated here.

    In mode `fallback` they are the flags asked for by key that are not in force here. In mode
    `merge` those whose evaluation mode is remote are among them, and when all flags are asked for,
    those that had to be left out as well.
    """

    def __init__(self, mode: Mode) -> None:
        self._merges = mode == "merge"
        self._remote: WeakKeyDictionary[CompiledDeployment, dict[str, None]] = WeakKeyDictionary()

    def among(self, compiled: CompiledDeployment, keys: Sequence[str]) -> tuple[str, ...]:
        """Return, each once, the keys to ask Amplitude for when `keys` are asked for.

        No `keys` stand for all flags.
        """
        if not self._merges:
            return tuple(dict.fromkeys(key for key in keys if key not in compiled.flags))
        remote = self._remote.get(compiled)
        if remote is None:
            remote = self._remote[compiled] = dict.fromkeys(_remote(compiled))
        if not keys:
            return tuple(remote)
        return tuple(
            dict.fromkeys(key for key in keys if key in remote or key not in compiled.flags)
        )


def _remote(compiled: CompiledDeployment) -> Iterable[str]:
    for key, flag in compiled.flags.items():
        if _is_remote(flag):
            yield key
    for problem in compiled.problems:
        if _is_left_out(problem):
            yield problem.flag_key


def _is_remote(flag: Flag) -> bool:
    return bytes(flag.metadata.get("evaluationMode", b"")) == REMOTE


def _is_left_out(problem: Problem) -> bool:
    # A flag config without a readable key is named by its place, in brackets.
    return not problem.kept and not problem.flag_key.startswith("(")
