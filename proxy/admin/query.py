"""What was asked for: query parameters, and deployments by their label."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

from proxy.admin.pages import Ask, Refused

if TYPE_CHECKING:
    from proxy.snapshots.board import Board, Slot

MOST_FIELDS: Final = 16


def fields(ask: Ask) -> dict[str, str]:
    """Return the first value of each query parameter; Refused with 400 when it is not readable."""
    found: dict[str, str] = {}
    try:
        ask.query.encode()
        pairs = parse_qsl(
            ask.query, keep_blank_values=True, errors="strict", max_num_fields=MOST_FIELDS
        )
    except ValueError:
        raise Refused(400, "The query cannot be read") from None
    for name, value in pairs:
        found.setdefault(name, value)
    return found


def number(given: str | None, default: int, most: int) -> int:
    """Return a whole number between 1 and `most`; Refused with 400 for anything else."""
    if given is None:
        return default
    if not (given.isascii() and given.isdecimal() and len(given) < 10 and int(given) > 0):
        raise Refused(400, "limit is no positive whole number")
    return min(int(given), most)


def slot_of(board: Board, label: str | None) -> Slot:
    """Return the deployment with a label, or whose key has this hash.

    Refused with 400 when none is named, with 404 and the labels there are when it is not known.
    """
    labels = [slot.deployment.label for slot in board.slots()]
    if not label:
        raise Refused(400, "deployment is missing: name one by its label", deployments=labels)
    for slot in board.slots():
        if label in (slot.deployment.label, slot.deployment.key.label):
            return slot
    # It is not repeated: somebody may have taken a key for the label.
    raise Refused(404, "No deployment has this label", deployments=labels)
