"""What tests are made of: say only what matters to the test."""

from typing import Any

import msgspec

from proxy.evaluation.deployment import compile_deployment
from proxy.secret import Secret
from proxy.settings.schema import Limits, OperatorsPort, Project, Settings
from proxy.snapshots.snapshot import Deployment, Snapshot
from proxy.upstream.deployments import deployment_type

KEY = "server-test-key"
API_KEY = "test-api-key"


def settings(**changes: Any) -> Settings:
    """Settings with one project, loopback hosts and free ports."""
    project = Project(
        api_key=Secret(API_KEY), secret_key=Secret("test-secret"), deployment_keys=(Secret(KEY),)
    )
    given: dict[str, Any] = {
        "projects": (project,),
        "host": "127.0.0.1",
        "port": 0,
        "metrics": OperatorsPort(host="127.0.0.1", port=0),
        "stream_updates": False,
        "limits": Limits(),
    }
    return Settings(**{**given, **changes})


def condition(selector: list[str], op: str, *values: str) -> dict[str, Any]:
    return {"selector": selector, "op": op, "values": list(values)}


def segment(variant: str, *conditions: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    made: dict[str, Any] = {"variant": variant, "metadata": metadata}
    return {**made, "conditions": [list(conditions)]} if conditions else made


def flag(
    key: str,
    *segments: dict[str, Any],
    dependencies: list[str] | None = None,
    payload: Any = None,
    **metadata: Any,
) -> dict[str, Any]:
    """A flag with the variants `on` and `off`; all get `on` unless segments say otherwise."""
    on: dict[str, Any] = {"key": "on", "value": "on"}
    if payload is not None:
        on["payload"] = payload
    return {
        "key": key,
        "variants": {"on": on, "off": {"key": "off", "metadata": {"default": True}}},
        "segments": list(segments) or [segment("on", segmentName="All Other Users")],
        "dependencies": dependencies or [],
        "metadata": {"flagVersion": 1, "deployed": True, **metadata},
    }


def deployment(key: str = KEY, **changes: Any) -> Deployment:
    given = {"key": Secret(key), "label": "test", "project": "project", "project_index": 0}
    return Deployment(**{**given, "type": deployment_type(key), **changes})


def snapshot(flags: list[dict[str, Any]], of: Deployment | None = None) -> Snapshot:
    compiled = compile_deployment(msgspec.json.encode(flags))
    return Snapshot(
        deployment=of or deployment(), compiled=compiled, source="poll", changed_at=1000.0
    )
