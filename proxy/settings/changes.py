"""What differs between two settings, and what of it takes effect only with a restart. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct

from proxy.secret import Secret
from proxy.settings.leaves import Path, leaves
from proxy.settings.schema import Configuration, Project, Settings

RELOADED: Final = frozenset(
    {
        "deploymentSyncIntervalMillis",
        "flagSyncIntervalMillis",
        "cohortSyncIntervalMillis",
        "maxCohortSize",
        "cohortWaitMillis",
        "limits.maxBodyBytes",
        "limits.maxInflatedBytes",
        "limits.maxHeaderBytes",
        "limits.maxJsonDepth",
        "limits.maxFlagKeys",
        "limits.maxBatchUsers",
        "limits.maxBatchBytes",
        "limits.requestTimeoutMillis",
        "limits.idleTimeoutMillis",
        "admission.publicEdge",
        "admission.logOnly",
        "admission.trustedProxies",
        "admission.forwardedHeader",
        "admission.requestsPerAddress",
        "admission.burstPerAddress",
        "admission.requestsPerDeployment",
        "admission.burstPerDeployment",
        "admission.unknownKeysPerAddress",
        "admission.connections",
        "admission.connectionsPerAddress",
        "admission.queueDelayMillis",
        "cors.origins",
        "cors.deployments",
        "cors.allowHeaders",
        "metrics.bearerToken",
        "metrics.basicUser",
        "metrics.basicPassword",
        "log.level",
        "log.format",
        "reload.watchMillis",
    }
)
"""The settings under `configuration:` that take effect while the proxy serves."""
RELOADED_OF_PROJECTS: Final = frozenset({"secretKey", "managementKey", "deploymentKeys"})
"""Those of a project, which is known by its API key; whole projects may come and go, too."""
RESTARTED: Final = frozenset(
    {
        *("port", "host", "unixSocket", "unixSocketMode", "dataDir", "drainDeadlineMillis"),
        *("serverZone", "serverUrl", "cohortServerUrl", "managementServerUrl"),
        *("analyticsServerUrl", "streamServerUrl", "scriptServerUrl", "streamUpdates"),
        *("allowClientMemberships", "trustClientCohorts"),
        *("assignment.*", "exposure.*", "events.*", "answerCache.*", "remoteEvaluation.*"),
        *("webExperiment.*", "scripts.*", "ofrep.*", "openapi.*", "redis.*", "offline.*"),
        *("streams.*", "tls.*", "otel.*"),
        *("metrics.port", "metrics.host", "metrics.path", "metrics.logFailures"),
    }
)
"""Those that need a restart; `.*` is a whole section. Every setting is in one of the two."""

NEEDS_RESTART: Final = "needs a restart"


class Changes(Struct, frozen=True):
    """What differs, as paths fit to be shown; `refused` are those that need a restart."""

    changed: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()

    def mistakes(self) -> list[str]:
        """Return a sentence for each change that needs a restart."""
        return [f"{path}: {NEEDS_RESTART}" for path in self.refused]


def is_reloaded(key: str) -> bool:
    """Tell whether a setting under `configuration:` takes effect while the proxy serves."""
    return key in RELOADED


def changes(before: Settings, after: Settings) -> Changes:
    """Return what differs between the settings in force and those that are to take their place."""
    own, refused = _of_configuration(before, after)
    changed = [*own, *_of_projects(before, after)]
    refused += [path for path in changed if path.endswith("].id")]
    return Changes(tuple(changed), tuple(refused))


def _of_configuration(before: Settings, after: Settings) -> tuple[list[str], list[str]]:
    old, new = values_of(before), values_of(after)
    differing = [leaf for leaf in leaves(Configuration) if old[leaf.path] != new[leaf.path]]
    changed = [f"configuration.{leaf.key}" for leaf in differing]
    refused = [f"configuration.{leaf.key}" for leaf in differing if not is_reloaded(leaf.key)]
    return changed, refused


def _of_projects(before: Settings, after: Settings) -> Iterator[str]:
    """Name what was added, removed or changed, by its place in the file that is new."""
    old: Mapping[Secret, Project] = {one.api_key: one for one in before.projects}
    for at, project in enumerate(after.projects):
        earlier = old.get(project.api_key)
        if earlier is None:
            yield f"projects[{at}] ({project.label}) added"
            continue
        was, now = values_of(earlier), values_of(project)
        for leaf in leaves(Project):
            if was[leaf.path] != now[leaf.path]:
                yield f"projects[{at}].{leaf.key}"
    kept = {one.api_key for one in after.projects}
    yield from (
        f"projects ({one.label}) removed" for one in before.projects if one.api_key not in kept
    )


def values_of(struct: Struct, above: Path = ()) -> dict[Path, Any]:
    """Return every value in a struct of the schema, by the path at which it is written."""
    found: dict[Path, Any] = {}
    for field in msgspec.structs.fields(struct):
        value, path = getattr(struct, field.name), (*above, field.encode_name)
        if isinstance(value, Struct):
            found |= values_of(value, path)
        else:
            found[path] = value
    return found
