"""Rules that hold between settings: what each alone cannot tell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct

from proxy.settings.admission import is_network
from proxy.settings.given import Given, Layer
from proxy.settings.leaves import Path, leaves
from proxy.settings.offline import OfflineError, check_offline
from proxy.settings.otel import Otel, OtelError, check
from proxy.settings.schema import Project
from proxy.settings.tls import TlsError, server_context

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxy.settings.mistakes import Mistakes
    from proxy.settings.schema import Configuration
    from proxy.settings.tls import Tls

ANY_ADDRESS = {"0.0.0.0", "::"}  # noqa: S104  compared with, not listened on
OPERATORS_PATHS = {"livez", "readyz", "status"}
API_KEY: Path = ("apiKey",)
MANAGEMENT_KEY: Path = ("managementKey",)
DEPLOYMENT_KEYS: Path = ("deploymentKeys",)
IDENTITY: Path = ("id",)


class Declared(Struct, frozen=True):
    """One project as declared: where, what was given, and the values that came of it."""

    where: str
    layer: Layer
    values: dict[Path, Any]


def check_configuration(configuration: Configuration, layer: Layer, mistakes: Mistakes) -> None:
    """Remember a mistake for settings that exclude each other."""
    metrics = configuration.metrics
    hosts = {configuration.host, metrics.host}
    shared = len(hosts) == 1 or hosts & ANY_ADDRESS
    if configuration.port and configuration.port == metrics.port and shared:
        given = layer.get(("metrics", "port")) or layer["port",]
        mistakes.add(given.where, f"clients and operators cannot share port {metrics.port}")
    path = metrics.path.strip("/")
    if path in OPERATORS_PATHS:
        given = layer["metrics", "path"]
        mistakes.add(given.where, f"`/{path}` on the operators' port serves something else")
    _check_login(layer, mistakes)
    _check_tls(configuration.tls, layer, mistakes)
    _check_offline(configuration, layer, mistakes)
    _check_otel(configuration.otel, layer, mistakes)
    for at, network in enumerate(configuration.admission.trusted_proxies):
        if not is_network(network):
            where = layer["admission", "trustedProxies"].where
            mistakes.add(f"{where}[{at}]", "expected a network such as 10.0.0.0/8")


def _check_login(layer: Layer, mistakes: Mistakes) -> None:
    """Remember a mistake for a user name without a password, or the other way round."""
    for name, other in (("basicUser", "basicPassword"), ("basicPassword", "basicUser")):
        given = layer.get(("metrics", name))
        if given is not None and ("metrics", other) not in layer:
            mistakes.add(given.where, f"expected `metrics.{other}` beside it, got none")


def _check_tls(tls: Tls, layer: Layer, mistakes: Mistakes) -> None:
    """Remember a mistake for TLS files that are missing or do not fit together."""
    if not tls.files:
        return
    try:
        server_context(tls)
    except TlsError as error:
        own = layer.get(("tls", error.field))
        given = own or next(given for path, given in layer.items() if path[0] == "tls")
        reason = str(error) if own else f"`tls.{error.field}`: {error}"
        mistakes.add(given.where, reason)


def _check_otel(otel: Otel, layer: Layer, mistakes: Mistakes) -> None:
    """Remember a mistake when the collector cannot be spoken to as it is set."""
    try:
        check(otel)
    except OtelError as error:
        given = layer.get(("otel", error.field)) or layer["otel", "enabled"]
        mistakes.add(given.where, str(error))


def _check_offline(configuration: Configuration, layer: Layer, mistakes: Mistakes) -> None:
    """Remember a mistake for something that cannot be served."""
    try:
        check_offline(configuration.offline, configuration.data_dir)
    except OfflineError as error:
        own = layer.get(("offline", error.field)) or layer["offline", "path"]
        mistakes.add(own.where, str(error))


def check_projects(projects: Sequence[Declared], mistakes: Mistakes) -> None:
    """Remember a mistake for each project that lacks a key, or shares one with another."""
    for project in projects:
        _check_complete(project, mistakes)
    _check_distinct(projects, API_KEY, "the same API key as", mistakes)
    _check_distinct(projects, IDENTITY, "the same id as", mistakes)
    _check_distinct(projects, DEPLOYMENT_KEYS, "holds a deployment key that is also in", mistakes)


def _check_complete(project: Declared, mistakes: Mistakes) -> None:
    for leaf in leaves(Project):
        if leaf.required and leaf.path not in project.layer:
            instead = f"`{leaf.key}`, `{leaf.key}File` or {leaf.environment}"
            mistakes.add(project.where, f"expected {instead}, got none")
    refused = DEPLOYMENT_KEYS in project.layer and DEPLOYMENT_KEYS not in project.values
    served = MANAGEMENT_KEY in project.layer or project.values.get(DEPLOYMENT_KEYS) or refused
    if not served:
        mistakes.add(
            project.where, "expected `managementKey` or a list of `deploymentKeys`, got neither"
        )


def _check_distinct(
    projects: Sequence[Declared], path: Path, what: str, mistakes: Mistakes
) -> None:
    owners: dict[Any, Given] = {}
    for project in projects:
        found = project.values.get(path, ())
        own = project.layer.get(path)
        for value in found if isinstance(found, tuple) else (found,):
            assert own is not None, "a value was given somewhere"
            owner = owners.setdefault(value, own)
            if owner is not own:
                mistakes.add(own.where, f"{what} {owner.where}")
