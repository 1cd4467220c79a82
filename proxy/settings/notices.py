"""What the start only says: settings that were accepted but do less than their writer may think."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proxy.settings.leaves import Path, leaves
from proxy.settings.schema import Configuration
from proxy.settings.zones import hosts_of_another_zone

if TYPE_CHECKING:
    from proxy.settings.given import Layer
    from proxy.settings.reading import Document


def notices_of_configuration(
    configuration: Configuration, layer: Layer, values: dict[Path, Any]
) -> list[str]:
    """Name the settings without effect in this version, and the URLs that leave the zone."""
    unused: dict[str, list[str]] = {}
    for leaf in leaves(Configuration):
        if leaf.unused and values.get(leaf.path, leaf.default) != leaf.default:
            unused.setdefault(leaf.unused, []).append(layer[leaf.path].where)
    without_effect = [
        f"{', '.join(places)}: accepted, but without effect: {reason}"
        for reason, places in unused.items()
    ]
    foreign = [
        f"{layer[tuple(name.split('.'))].where}: leads out of the zone {configuration.server_zone}"
        for name in hosts_of_another_zone(configuration)
    ]
    return without_effect + foreign + _notices_of_offline(configuration, layer)


def _notices_of_offline(configuration: Configuration, layer: Layer) -> list[str]:
    """Name the settings that would have Amplitude asked, and those that verify nothing."""
    offline = configuration.offline
    given = {
        ("offline", "verifyKeyFile"): offline.verify_key_file is not None,
        ("offline", "unsigned"): offline.unsigned,
    }
    if not offline.is_on:
        why = "without effect: Amplitude is asked, as `offline.path` is not set"
        return [f"{layer[path].where}: {why}" for path, is_given in given.items() if is_given]
    asking = {
        ("remoteEvaluation", "mode"): configuration.remote_evaluation.mode != "off",
        ("webExperiment", "mode"): configuration.web_experiment.mode == "forward",
    }
    notices = [
        f"{layer[path].where}: without effect: Amplitude is not asked, as `offline.path` is set"
        for path, is_on in asking.items()
        if is_on
    ]
    if all(given.values()):
        where = layer["offline", "unsigned"].where
        notices.append(f"{where}: snapshots are taken whoever signed them; no key is looked at")
    return notices


def notices_of_documents(configuration: Document, projects: Document) -> list[str]:
    """Name the parts that are not read because projects stand in a file of their own."""
    if configuration is projects:
        return []
    return [
        f"{document.where((part,))}: not read, as it is taken from {other.file}"
        for document, part, other in (
            (configuration, "projects", projects),
            (projects, "configuration", configuration),
        )
        if document.root.get(part)
    ]
