"""Which cohorts a user or group is in: `/sdk/v2/memberships/{groupType}/{groupName}`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from proxy.api.messages import Request, Response, failure, refuse
from proxy.api.requests import decoded

if TYPE_CHECKING:
    from proxy.api.settling import MembershipsOf
    from proxy.settings.schema import Settings
    from proxy.snapshots.snapshot import Snapshot

NOT_FOR_THIS_KEY = failure(
    403, "Only server deployment keys may ask for memberships (allowClientMemberships is off)"
)


class MembershipLists:
    """Tells a server which cohorts somebody is in, of those that its own flags target."""

    def __init__(self, memberships_of: MembershipsOf, settings: Settings) -> None:
        self._memberships_of = memberships_of
        self._any_key = settings.allow_client_memberships

    def of_name(self, request: Request, snapshot: Snapshot) -> Response:
        """Answer the cohort ids as a sorted array; the group name is all the rest of the path."""
        # A key of no known type may be on a web page, where everybody can read it.
        if not self._any_key and snapshot.deployment.type != "server":
            return NOT_FOR_THIS_KEY
        first, _, rest = request.rest.partition("/")
        group_type, name = decoded(first), decoded(rest)
        if not group_type:
            refuse("Invalid group type")
        if not name:
            refuse("Invalid group name")
        known = self._memberships_of(snapshot.deployment, group_type, name)
        ids = [
            target.cohort_id
            for target in snapshot.compiled.targets
            if known is not None
            and target.group_type == group_type
            and known.any_of((target.cohort_id,))
        ]
        return Response(200, msgspec.json.encode(sorted(ids)))
