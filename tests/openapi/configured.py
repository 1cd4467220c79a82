"""Configurations that documents have to fit, and the documents."""

from typing import Any

import msgspec

from proxy.openapi.document import Port, document_of
from proxy.secret import Secret
from proxy.settings.admission import Admission
from proxy.settings.ofrep import Ofrep
from proxy.settings.openapi import OpenApi
from proxy.settings.remote import RemoteEvaluation
from proxy.settings.schema import OperatorsPort, Settings
from proxy.settings.streams import Streams
from proxy.settings.web import Scripts, WebExperiment
from tests import builders

USUAL = builders.settings()
EVERYTHING = builders.settings(
    streams=Streams(variants=True),
    remote_evaluation=RemoteEvaluation(mode="merge"),
    web_experiment=WebExperiment(mode="forward"),
    admission=Admission(public_edge=True),
    metrics=OperatorsPort(
        host="127.0.0.1",
        port=0,
        bearer_token=Secret("operators-token"),
        basic_user="operator",
        basic_password=Secret("operators-password"),
    ),
)
LITTLE = builders.settings(
    streams=Streams(enabled=False),
    ofrep=Ofrep(enabled=False),
    scripts=Scripts(enabled=False),
    web_experiment=WebExperiment(previews=False),
    openapi=OpenApi(enabled=False),
    allow_client_memberships=True,
    metrics=OperatorsPort(host="127.0.0.1", port=0, path="/numbers"),
)
CONFIGURATIONS = {"usual": USUAL, "everything": EVERYTHING, "little": LITTLE}


def document(port: Port, settings: Settings) -> dict[str, Any]:
    made: dict[str, Any] = msgspec.json.decode(document_of(port, settings))
    return made
