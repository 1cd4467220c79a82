"""What we hold and what upstream lists: who appears, who stays, who goes. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from proxy.secret import Secret
from proxy.snapshots.snapshot import Deployment
from proxy.upstream.deployments import Listing, Row

ABSENCES_TO_GO = 2


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """A deployment that we serve; a `fixed` one is the operator's and never goes."""

    deployment: Deployment
    fixed: bool = False
    absences: int = 0


class Owner(msgspec.Struct, frozen=True, kw_only=True):
    """Whose deployments are planned; `upstream_id` is upstream's, empty until a listing told it.

    `record` is what the project is kept under in the data directory.
    """

    label: str
    index: int
    record: str
    upstream_id: str = ""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to do about one listing; `notes` say, without keys, what of it was passed over."""

    upstream_id: str = ""
    appear: tuple[Deployment, ...] = ()
    describe: tuple[Deployment, ...] = ()
    absences: Mapping[Secret, int] = {}
    go: tuple[Secret, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def doubtful(self) -> bool:
        """Whether some deployment is absent but not gone: another listing should tell soon."""
        return any(self.absences.values())


def plan(listing: Listing, held: Mapping[Secret, Held], owner: Owner) -> Plan:
    """Decide what a listing means for `owner`, given all that is held, of other owners too.

    A deployment goes when listings in a row leave it out or call it deleted; what a listing with
    problems leaves out does not count, because it may be what could not be read.
    """
    ours, upstream_id, notes = _ours(listing, owner)
    live = {row.key: row for row in ours if not row.deleted}
    labels = {one.deployment.label: key for key, one in held.items()}
    appear: list[Deployment] = []
    describe: list[Deployment] = []
    for key, row in live.items():
        one = held.get(key)
        if one is not None and one.deployment.project_index != owner.index:
            notes.append(f"deployment {key.label} is served for another project already")
            continue
        offered = _deployment(row, owner, labels)
        labels[offered.label] = key
        if one is None:
            appear.append(offered)
        elif offered != one.deployment:
            describe.append(offered)
    whole = not listing.problems and (bool(ours) or not listing.rows)
    deleted = {row.key for row in ours if row.deleted}
    absences = {
        key: 0 if key in live else one.absences + (whole or key in deleted)
        for key, one in held.items()
        if one.deployment.project_index == owner.index and not one.fixed
    }
    go = tuple(key for key, count in absences.items() if count >= ABSENCES_TO_GO)
    return Plan(
        upstream_id=upstream_id,
        appear=tuple(appear),
        describe=tuple(describe),
        absences={key: count for key, count in absences.items() if key not in go},
        go=go,
        notes=tuple(notes),
    )


def _ours(listing: Listing, owner: Owner) -> tuple[list[Row], str, list[str]]:
    """Return the rows of the owner's project, its id upstream, and what was passed over."""
    told = [row.project_id for row in listing.rows if row.project_id]
    upstream_id = owner.upstream_id or (told[0] if told else "")
    ours = [row for row in listing.rows if row.project_id in ("", upstream_id)]
    notes = list(listing.problems)
    if len(ours) < len(listing.rows):
        foreign = len(listing.rows) - len(ours)
        notes.append(f"{foreign} deployments of other projects than {upstream_id}")
    return ours, upstream_id, notes


def _deployment(row: Row, owner: Owner, labels: Mapping[str, Secret]) -> Deployment:
    label = row.label or row.key.label
    # Two deployments may share a label upstream, but not a series of metrics here.
    if labels.get(label, row.key) != row.key:
        label = f"{label}-{row.key.label[:6]}"
    return Deployment(
        key=row.key,
        label=label,
        project=owner.label,
        project_index=owner.index,
        type=row.type,
    )
