"""Whom we serve while Amplitude is not asked: keys of the settings, and those of kept lists."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from proxy.secret import Secret
from proxy.settings.schema import Project
from proxy.snapshots.snapshot import Deployment
from proxy.sync.offline_reading import State
from proxy.sync.roster import Roster


def add_listed(roster: Roster, projects: Mapping[int, Project], state: State) -> None:
    """Authorise the deployments that the kept lists of our projects name."""
    for index, project in projects.items():
        kept = state.lists.get(project.api_key.label)
        for row in () if kept is None else kept.deployments:
            if row.key not in roster.held:
                roster.add(
                    Deployment(
                        key=row.key,
                        label=row.label,
                        project=project.label,
                        project_index=index,
                        type=row.type,
                    )
                )


async def remove_unlisted(roster: Roster, projects: Mapping[int, Project], state: State) -> None:
    """Let those go that no kept list of our projects names any more."""
    ours = [state.lists.get(project.api_key.label) for project in projects.values()]
    listed: set[Secret] = {row.key for one in ours if one is not None for row in one.deployments}
    for key, held in list(roster.held.items()):
        if not held.fixed and key not in listed:
            await roster.remove(key)


def name_all(roster: Roster, projects: Mapping[int, Project], state: State) -> None:
    """Call deployments as people do, if a snapshot file told how."""
    named = () if state.imported is None else state.imported.deployments
    names = {(one.project, one.key): one.label for one in named}
    taken = {one.deployment.label for one in roster.held.values()}
    for held in list(roster.held.values()):
        project = projects.get(held.deployment.project_index)
        owner = "" if project is None else project.api_key.label
        label = names.get((owner, held.deployment.key.label), "")
        if label and label not in taken:
            taken.add(label)
            roster.describe(msgspec.structs.replace(held.deployment, label=label))
