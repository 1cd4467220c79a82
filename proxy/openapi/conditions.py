"""The conditions under which a part of the text is true, by the name it has there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from proxy.settings.schema import Settings


class Condition(NamedTuple):
    """Whether something holds, and the settings that decide it, as people read them."""

    decided_by: str
    holds: Callable[[Settings], bool]


CONDITIONS: Final[Mapping[str, Condition]] = {
    "admission": Condition(
        "`admission.*`",
        lambda given: bool(given.admission.in_force) and not given.admission.log_only,
    ),
    "basic": Condition(
        "`metrics.basicPassword`", lambda given: given.metrics.basic_password is not None
    ),
    "bearer": Condition(
        "`metrics.bearerToken`", lambda given: given.metrics.bearer_token is not None
    ),
    "credentials": Condition(
        "`metrics.bearerToken` or `metrics.basicPassword`",
        lambda given: bool(given.metrics.basic_password or given.metrics.bearer_token),
    ),
    "memberships-of-servers": Condition(
        "`allowClientMemberships: false`", lambda given: not given.allow_client_memberships
    ),
    "no-streams": Condition("`streams.enabled: false`", lambda given: not given.streams.enabled),
    "ofrep": Condition("`ofrep.enabled`", lambda given: given.ofrep.enabled),
    "ofrep-streams": Condition(
        "`ofrep.enabled` and `streams.enabled`",
        lambda given: given.ofrep.enabled and given.streams.enabled,
    ),
    "openapi": Condition("`openapi.enabled`", lambda given: given.openapi.enabled),
    "previews": Condition("`webExperiment.previews`", lambda given: given.web_experiment.previews),
    "remote": Condition(
        "`remoteEvaluation.mode`", lambda given: given.remote_evaluation.mode != "off"
    ),
    "scripts": Condition("`scripts.enabled`", lambda given: given.scripts.enabled),
    "streams": Condition("`streams.enabled`", lambda given: given.streams.enabled),
    "streams-of-variants": Condition(
        "`streams.enabled` and `streams.variants`",
        lambda given: given.streams.enabled and given.streams.variants,
    ),
    "web-flags-forwarded": Condition(
        "`webExperiment.mode: forward`", lambda given: given.web_experiment.mode == "forward"
    ),
}


def in_force(settings: Settings) -> frozenset[str]:
    """Return the names of the conditions that hold."""
    return frozenset(name for name, each in CONDITIONS.items() if each.holds(settings))
