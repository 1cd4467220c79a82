"""Remote evaluation as Amplitude does it: with the cohorts and properties that it knows itself."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from proxy.evaluation.deployment import CompiledDeployment, Outcome, answer, compile_deployment
from proxy.evaluation.users import first_names, parse_user
from proxy.sandbox.world import World

TO_STANDARD = str.maketrans("-_", "+/")
UNTRACKED = frozenset({"no-track", "read-only"})


class Told(NamedTuple):
    """The answer to a request, and the assignment that Amplitude notes down, if it does."""

    body: bytes
    event: dict[str, Any] | None


class RemoteEvaluation:
    """Evaluates users from the flags of the moment."""

    def __init__(self) -> None:
        self._flags = b""
        self._compiled: CompiledDeployment | None = None

    def tell(self, world: World, headers: Mapping[str, str], body: bytes, now: float) -> Told:
        """Evaluate the user of a request at the second `now`.

        Raises ValueError when user or flag keys cannot be read.
        """
        encoded = headers.get("X-Amp-Exp-User")
        user = parse_user(decoded(encoded) if encoded else body or b"{}")
        keys = headers.get("X-Amp-Exp-Flag-Keys")
        asked = msgspec.json.decode(decoded(keys), type=list[str]) if keys else []
        enrich(user, world)
        outcomes = self._compiled_of(world).evaluate(user, asked)
        untracked = headers.get("X-Amp-Exp-Track", "").lower() in UNTRACKED
        return Told(answer(outcomes), None if untracked else _event(user, outcomes, now))

    def _compiled_of(self, world: World) -> CompiledDeployment:
        if self._compiled is None or self._flags != world.flags:
            self._flags = world.flags
            self._compiled = compile_deployment(world.flags)
        return self._compiled


def enrich(user: dict[str, Any], world: World) -> None:
    """Add what Amplitude knows of a user; what the request says wins."""
    known = world.users.get(str(user.get("user_id")), {})
    given = user.get("user_properties")
    user["user_properties"] = {**known, **(given if isinstance(given, dict) else {})}
    if user.get("user_id"):
        user["cohort_ids"] = _cohorts_of(world, "User", str(user["user_id"]))
    user["group_cohort_ids"] = {
        kind: {name: _cohorts_of(world, kind, name)} for kind, name in first_names(user)
    }


def _cohorts_of(world: World, group_type: str, name: str) -> list[str]:
    return [
        cohort.cohort_id
        for cohort in world.cohorts.values()
        if cohort.group_type == group_type and name in cohort.member_ids
    ]


def _event(user: dict[str, Any], outcomes: list[Outcome], now: float) -> dict[str, Any] | None:
    ids = {name: user[name] for name in ("user_id", "device_id") if user.get(name)}
    if not ids or not outcomes:
        return None
    return {
        "event_type": "[Experiment] Assignment",
        **ids,
        "time": int(now * 1000),
        "insert_id": str(uuid.uuid4()),
        "library": "remote-evaluation",
        "event_properties": {f"{one.flag_key}.variant": one.variant_key for one in outcomes},
    }


def decoded(text: str) -> bytes:
    """Decode either alphabet of base64, padded or not; ValueError when it is neither."""
    plain = text.translate(TO_STANDARD).rstrip("=")
    return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
