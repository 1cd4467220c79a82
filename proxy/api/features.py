"""What a feature of the clients' port is made from, and what it adds to the route table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from proxy.api.routes import Route

if TYPE_CHECKING:
    from proxy.api.credentials import Gate
    from proxy.api.evaluator import Evaluator
    from proxy.api.in_force import InForce
    from proxy.api.pages import PageKeys
    from proxy.api.vardata import Vardata
    from proxy.metrics import Metrics
    from proxy.settings.schema import Settings
    from proxy.snapshots.board import Board
    from proxy.tasks import Clock


class Tools(NamedTuple):
    """What the clients' port has at hand; features share it."""

    board: Board
    settings: Settings
    metrics: Metrics
    clock: Clock
    gate: Gate
    evaluator: Evaluator
    vardata: Vardata
    in_force: InForce
    page_keys: PageKeys


class Offer(NamedTuple):
    """Routes by whole path, and routes by the beginning of a path."""

    exact: Mapping[str, Route] = {}
    beginnings: tuple[tuple[str, Route], ...] = ()


Feature = Callable[[Tools], Offer]
"""Make a feature; nothing is offered while it is switched off."""
