"""Deployments and their snapshots."""

from __future__ import annotations

from typing import Literal

import msgspec

from proxy.evaluation.deployment import CompiledDeployment
from proxy.secret import Secret

Source = Literal["stream", "poll", "disk", "offline"]
"""Where flags came from; `disk`: from an earlier life of this process, `offline`: Amplitude is not
asked at all."""


class Deployment(msgspec.Struct, frozen=True, kw_only=True):
    """What a key opens; `label` and `project` are fit for logs, metrics and the status page."""

    key: Secret
    label: str
    project: str
    project_index: int
    type: Literal["server", "client", ""] = ""


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The flags of a deployment at one moment; `changed_at` is in seconds since 1970."""

    deployment: Deployment
    compiled: CompiledDeployment
    source: Source
    changed_at: float
