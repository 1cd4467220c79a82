"""The settings of OpenTelemetry: whether traces and metrics are sent to a collector, and how."""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Annotated, Any, Final, Literal
from urllib.parse import unquote

from msgspec import Struct

from proxy.secret import Secret
from proxy.settings.kinds import Url, interval, setting

STANDARD: Final = "OTEL_"
"""What the names of the standard variables begin with; other programs are told by them, too."""
PATH: Final = ("otel", "enabled")
PARTS: Final = "opentelemetry.proto"
INSTALL: Final = "pip install 'opentelemetry-proto>=1.30,<2'"
DEFAULT_ENDPOINT: Final = "http://localhost:4318"
RATIO: Final[dict[str, Any]] = {
    "pattern": r"^(?:0(?:\.[0-9]{1,12})?|1(?:\.0{1,12})?)$",
    "expected": "a number from 0 to 1 such as 0.05",
}
PAIR: Final[dict[str, Any]] = {
    "pattern": r"^[A-Za-z0-9_.-]+=.*$",
    "expected": "a pair such as deployment.environment.name=production",
}
HEADERS_FORM: Final = "pairs such as api-key=abc, commas between them, values percent-encoded"
TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
OURS: Final = frozenset({"content-encoding", "content-length", "content-type", "transfer-encoding"})
"""Headers that say what is sent; with others than ours no collector could read it."""
SERVICE: Final = "evaluation-proxy"
SERVICE_NAME: Final = "service.name"


def standard(name: str) -> dict[str, Any]:
    """Take the standard variable of that name for a setting's own."""
    return {"environment": STANDARD + name}


class OtelTraces(Struct, frozen=True, kw_only=True, rename="camel"):
    """Which requests are traced, and where their spans go."""

    enabled: Annotated[bool, setting("Send spans.")] = True
    endpoint: Annotated[
        Url | None,
        setting(
            "Where spans are posted to, the whole URL.",
            default="`otel.endpoint` and `/v1/traces`",
            **standard("EXPORTER_OTLP_TRACES_ENDPOINT"),
        ),
    ] = None
    sample_ratio: Annotated[
        str,
        setting(
            "The part of the requests without a trace of their own that is traced.",
            **standard("TRACES_SAMPLER_ARG"),
            **RATIO,
        ),
    ] = "0.01"
    parent_based: Annotated[
        bool,
        setting(
            "Go on with the trace that a request names in `traceparent`, sampled or not as it says;"
            " off where strangers could have all of theirs traced."
        ),
    ] = True
    interval_millis: Annotated[
        int,
        interval("How long spans gather before they are sent.", **standard("BSP_SCHEDULE_DELAY")),
    ] = 5_000


class OtelMetrics(Struct, frozen=True, kw_only=True, rename="camel"):
    """How often the metrics go out, and where to."""

    enabled: Annotated[bool, setting("Send the metrics of the operators' port.")] = True
    endpoint: Annotated[
        Url | None,
        setting(
            "Where metrics are posted to, the whole URL.",
            default="`otel.endpoint` and `/v1/metrics`",
            **standard("EXPORTER_OTLP_METRICS_ENDPOINT"),
        ),
    ] = None
    interval_millis: Annotated[
        int, interval("The pause between two sendings.", **standard("METRIC_EXPORT_INTERVAL"))
    ] = 60_000


class Otel(Struct, frozen=True, kw_only=True, rename="camel"):
    """Traces and metrics by OTLP over HTTP; standard variables count only where it is enabled."""

    enabled: Annotated[
        bool,
        setting(f"Send traces and metrics to an OpenTelemetry collector; needs `{INSTALL}`."),
    ] = False
    endpoint: Annotated[
        Url,
        setting("The collector, a base URL.", **standard("EXPORTER_OTLP_ENDPOINT")),
    ] = DEFAULT_ENDPOINT
    protocol: Annotated[
        Literal["http/protobuf"],
        setting("How it is spoken to.", **standard("EXPORTER_OTLP_PROTOCOL")),
    ] = "http/protobuf"
    headers: Annotated[
        Secret | None,
        setting(
            "Headers for the collector, its key among them: name=value, commas between them.",
            default="none",
            **standard("EXPORTER_OTLP_HEADERS"),
        ),
    ] = None
    compression: Annotated[
        Literal["none", "gzip"],
        setting("How what is sent is packed.", **standard("EXPORTER_OTLP_COMPRESSION")),
    ] = "none"
    timeout_millis: Annotated[
        int,
        interval("How long the collector may take to answer.", **standard("EXPORTER_OTLP_TIMEOUT")),
    ] = 10_000
    ca_file: Annotated[
        str | None,
        setting(
            "A PEM file of the authorities that the collector's certificate may come from.",
            default="the system's",
            **standard("EXPORTER_OTLP_CERTIFICATE"),
        ),
    ] = None
    client_cert_file: Annotated[
        str | None,
        setting(
            "A PEM file with the certificate that is shown to the collector.",
            default="none",
            **standard("EXPORTER_OTLP_CLIENT_CERTIFICATE"),
        ),
    ] = None
    client_key_file: Annotated[
        str | None,
        setting(
            "The PEM file of its private key, not encrypted.",
            default="none",
            **standard("EXPORTER_OTLP_CLIENT_KEY"),
        ),
    ] = None
    service_name: Annotated[
        str, setting("What this service is called there.", **standard("SERVICE_NAME"))
    ] = SERVICE
    resource_attributes: Annotated[
        tuple[str, ...],
        setting(
            "What else is said of this service: a list of name=value.",
            **standard("RESOURCE_ATTRIBUTES"),
            **PAIR,
        ),
    ] = ()
    traces: OtelTraces = OtelTraces()
    metrics: OtelMetrics = OtelMetrics()


class OtelError(Exception):
    """It cannot be done as set; `field` is the setting at fault."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(reason)
        self.field = field


def check(otel: Otel) -> None:
    """Raise OtelError unless the collector can be spoken to as set, if that is enabled at all."""
    if not otel.enabled:
        return
    if not is_installed():
        raise OtelError("enabled", f"needs what is not installed: {INSTALL}")
    headers_of(otel)
    context_of(otel)


def is_installed() -> bool:
    """Tell whether what the extra brings is here; nothing of it is loaded by that."""
    try:
        return find_spec(PARTS) is not None
    except (ImportError, ValueError):
        return False


def headers_of(otel: Otel) -> dict[str, str]:
    """Return the headers for the collector; raises OtelError, which says nothing of them."""
    headers = {}
    for pair in "" if otel.headers is None else otel.headers.reveal().split(","):
        name, mark, value = (unquote(part.strip()) for part in pair.partition("="))
        if not (mark and TOKEN.fullmatch(name) and value.isascii() and value.isprintable()):
            raise OtelError("headers", f"expected {HEADERS_FORM}")
        if name.lower() in OURS:
            raise OtelError("headers", f"expected none of {', '.join(sorted(OURS))}")
        headers[name] = value
    return headers


def pairs_of(otel: Otel) -> dict[str, str]:
    """Return what else is said of this service; the name set for it counts before one of these."""
    parted = (pair.partition("=") for pair in otel.resource_attributes)
    pairs = {name: unquote(value) for name, _, value in parted}
    if otel.service_name != SERVICE:
        # So the standard has it where both are given.
        pairs.pop(SERVICE_NAME, None)
    return pairs


def context_of(otel: Otel) -> ssl.SSLContext:
    """Return what it takes to speak TLS with the collector; raises OtelError."""
    try:
        context = ssl.create_default_context(cafile=otel.ca_file)
    except (OSError, ValueError):
        raise OtelError("caFile", "expected a PEM file of authorities") from None
    if otel.client_cert_file is not None:
        try:
            context.load_cert_chain(otel.client_cert_file, otel.client_key_file, password=b"")
        except (OSError, ValueError):
            reason = "expected a PEM file, and an unencrypted key in `clientKeyFile` that fits"
            raise OtelError("clientCertFile", reason) from None
    elif otel.client_key_file is not None:
        raise OtelError("clientKeyFile", "expected `clientCertFile` beside it, got none")
    return context


def heeded(layer: Mapping[tuple[str, ...], Any]) -> dict[tuple[str, ...], Any]:
    """Return what was given, without standard variables unless OpenTelemetry is enabled here.

    They may be there for another program, and must not stop ours.
    """
    given = layer.get(PATH)
    if given is not None and str(given.value).strip().lower() == "true":
        return dict(layer)
    return {path: one for path, one in layer.items() if not one.where.startswith(STANDARD)}
