"""Flag configs, as upstream sent them: `/sdk/v2/flags` and `/v1/flags`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.api.messages import JSON, Request, Response, refuse
from proxy.api.requests import keys_of_query, names_tag
from proxy.api.web import asks_for_web

if TYPE_CHECKING:
    from proxy.api.in_force import InForce
    from proxy.api.routes import Guarded
    from proxy.evaluation.deployment import CompiledDeployment
    from proxy.snapshots.snapshot import Snapshot


class Flags:
    """Serves the flags of a deployment: every one, or named ones with all they depend on.

    `web` answers for those that the web delivers.
    """

    def __init__(self, in_force: InForce, web: Guarded) -> None:
        self._in_force = in_force
        self._web = web

    def configs(self, request: Request, snapshot: Snapshot) -> Response:
        """Answer the array of all flags; 304 only to a client that names the version it holds."""
        if asks_for_web(request):
            # Never the raw array here: it would show a page the rules for all other users.
            return self._web(request, snapshot)
        return _whole(request, snapshot.compiled)

    def named(self, request: Request, snapshot: Snapshot) -> Response:
        """Answer the flags of `flag_keys` and, transitively, their dependencies; all without it."""
        keys = keys_of_query(request.query)
        if len(keys) > self._in_force.limits.max_flag_keys:
            refuse("Too many flag keys")
        compiled = snapshot.compiled
        if not keys:
            return _whole(request, compiled)
        wanted = with_dependencies(compiled, keys)
        chosen = [raw for key, raw in compiled.raw_flags.items() if key in wanted]
        return Response(200, b"[" + b",".join(chosen) + b"]")


def with_dependencies(compiled: CompiledDeployment, keys: list[str]) -> set[str]:
    """Return the keys in force among `keys`, and all that they need."""
    wanted: set[str] = set()
    open_keys = list(keys)
    while open_keys:
        key = open_keys.pop()
        flag = compiled.flags.get(key)
        if flag is not None and key not in wanted:
            wanted.add(key)
            open_keys.extend(flag.dependencies)
    return wanted


def _whole(request: Request, compiled: CompiledDeployment) -> Response:
    etag = f'W/"{compiled.version}"'
    headers = (("ETag", etag), ("Cache-Control", "no-cache"))
    if names_tag(request.headers.get("if-none-match"), compiled.version):
        return Response(304, b"", JSON, headers)
    return Response(200, compiled.body, JSON, headers, lasting=True)
