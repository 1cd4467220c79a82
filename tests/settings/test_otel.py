"""The settings of OpenTelemetry, and the standard variables that are theirs."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import trustme

from proxy.secret import Secret
from proxy.settings.otel import (
    INSTALL,
    Otel,
    OtelError,
    check,
    context_of,
    headers_of,
    pairs_of,
)
from tests.settings.asking import KEYS, configured, loaded, mistakes_of, value_at, written

ENABLED = "AMPLITUDE_OTEL_ENABLED"
ROOT = Path(__file__).parents[2]
# Key, environment, attribute, default, another value.
STANDARD: list[tuple[str, str, str, Any, Any]] = [
    (
        "otel.endpoint",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "otel.endpoint",
        "http://localhost:4318",
        "https://collector:4318/a",
    ),
    (
        "otel.protocol",
        "OTEL_EXPORTER_OTLP_PROTOCOL",
        "otel.protocol",
        "http/protobuf",
        "http/protobuf",
    ),
    ("otel.headers", "OTEL_EXPORTER_OTLP_HEADERS", "otel.headers", None, "a=1,b=2%203"),
    ("otel.compression", "OTEL_EXPORTER_OTLP_COMPRESSION", "otel.compression", "none", "gzip"),
    ("otel.timeoutMillis", "OTEL_EXPORTER_OTLP_TIMEOUT", "otel.timeout_millis", 10_000, 500),
    ("otel.caFile", "OTEL_EXPORTER_OTLP_CERTIFICATE", "otel.ca_file", None, "PEM"),
    (
        "otel.clientCertFile",
        "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
        "otel.client_cert_file",
        None,
        "PEM",
    ),
    ("otel.clientKeyFile", "OTEL_EXPORTER_OTLP_CLIENT_KEY", "otel.client_key_file", None, "PEM"),
    ("otel.serviceName", "OTEL_SERVICE_NAME", "otel.service_name", "evaluation-proxy", "edge"),
    (
        "otel.resourceAttributes",
        "OTEL_RESOURCE_ATTRIBUTES",
        "otel.resource_attributes",
        (),
        ("team=growth", "region=eu"),
    ),
    (
        "otel.traces.endpoint",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        "otel.traces.endpoint",
        None,
        "http://t/traces",
    ),
    (
        "otel.traces.sampleRatio",
        "OTEL_TRACES_SAMPLER_ARG",
        "otel.traces.sample_ratio",
        "0.01",
        "0.25",
    ),
    (
        "otel.traces.intervalMillis",
        "OTEL_BSP_SCHEDULE_DELAY",
        "otel.traces.interval_millis",
        5_000,
        700,
    ),
    (
        "otel.metrics.endpoint",
        "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
        "otel.metrics.endpoint",
        None,
        "http://m/metrics",
    ),
    (
        "otel.metrics.intervalMillis",
        "OTEL_METRIC_EXPORT_INTERVAL",
        "otel.metrics.interval_millis",
        60_000,
        900,
    ),
]
ROWS = [pytest.param(*row, id=row[0]) for row in STANDARD if row[-1] != "PEM"]


def text_of(value: Any) -> str:
    return ",".join(value) if isinstance(value, tuple) else str(value)


def shown(value: Any) -> Any:
    return value.reveal() if isinstance(value, Secret) else value


@pytest.mark.parametrize(("key", "variable", "attribute", "default", "other"), ROWS)
def test_a_standard_variable_counts_where_it_is_enabled(
    tmp_path: Path, key: str, variable: str, attribute: str, default: Any, other: Any
) -> None:
    *outer, inner = key.split(".")
    text = json.dumps(list(other)) if isinstance(other, tuple) else json.dumps(other)
    below = "".join(f"{name}: {{" for name in outer[1:]) + f"{inner}: {text}" + "}" * len(outer)
    in_file = configured(tmp_path, f"otel: {{enabled: true, {below}")

    assert shown(value_at(loaded({**KEYS, ENABLED: "true"}), attribute)) == default
    assert shown(value_at(loaded({}, in_file), attribute)) == other
    for enabled in ("true", "True"):
        given = {**KEYS, ENABLED: enabled, variable: text_of(other)}
        assert shown(value_at(loaded(given), attribute)) == other


@pytest.mark.parametrize(("key", "variable", "attribute", "default", "other"), ROWS)
def test_where_it_is_not_enabled_what_is_meant_for_others_is_not_even_read(
    key: str, variable: str, attribute: str, default: Any, other: Any
) -> None:
    assert shown(value_at(loaded({**KEYS, variable: text_of(other)}), attribute)) == default
    assert loaded({**KEYS, variable: "\x00 anything, =="}).otel == Otel()


def test_it_is_enabled_in_the_file_or_the_environment(tmp_path: Path) -> None:
    enabled = configured(tmp_path, "otel: {enabled: true}")

    assert not loaded(KEYS).otel.enabled
    assert loaded({}, enabled).otel.enabled
    assert loaded({**KEYS, ENABLED: "true"}).otel.enabled
    assert not loaded({ENABLED: "false"}, enabled).otel.enabled


@pytest.mark.parametrize(
    ("variable", "value", "reason"),
    [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "expected one of http/protobuf, got 'grpc'"),
        ("OTEL_TRACES_SAMPLER_ARG", "1.5", "expected a number from 0 to 1 such as 0.05, got '1.5'"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/no", "expected a PEM file of authorities"),
        (
            "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
            "/no",
            "expected a PEM file, and an unencrypted key in `clientKeyFile` that fits",
        ),
        (
            "OTEL_EXPORTER_OTLP_CLIENT_KEY",
            "/no",
            "expected `clientCertFile` beside it, got none",
        ),
    ],
)
def test_a_wrong_value_stops_the_start(variable: str, value: str, reason: str) -> None:
    mistakes = mistakes_of({**KEYS, ENABLED: "true", variable: value})

    assert mistakes == [f"{variable}: {reason}"]


@pytest.mark.parametrize(
    "given",
    [
        *("geheim", "=geheim", "ge heim=1", "a=1,geheim", "a=%0Ageheim", "gehe(im=1", "a=%C3%A9"),
        *("a=1,Content-Length=5", "transfer-encoding=geheim", "content%2Dtype=geheim"),
    ],
)
def test_wrong_headers_stop_the_start_and_are_not_shown(given: str, tmp_path: Path) -> None:
    file = written(tmp_path, given + "\n", "headers")
    variables = {**KEYS, ENABLED: "true"}

    (first,) = mistakes_of({**variables, "OTEL_EXPORTER_OTLP_HEADERS": given})
    (second,) = mistakes_of({**variables, "OTEL_EXPORTER_OTLP_HEADERS_FILE": str(file)})

    for mistake in (first, second):
        assert mistake.startswith("OTEL_EXPORTER_OTLP_HEADERS")
        assert "expected " in mistake
        assert "heim" not in mistake


def test_headers_and_attributes_are_percent_decoded(tmp_path: Path) -> None:
    file = written(tmp_path, "Authorization=Bearer%20a%2Cb,x-key=1=2\n", "headers")
    lines = f"otel: {{enabled: true, headersFile: {file}, resourceAttributes: ['a.b=c%20d=e']}}"
    otel = loaded({}, configured(tmp_path, lines)).otel

    assert headers_of(otel) == {"Authorization": "Bearer a,b", "x-key": "1=2"}
    assert "Bearer" not in repr(otel)
    assert pairs_of(otel) == {"a.b": "c d=e"}
    assert headers_of(Otel()) == {}


def test_the_name_of_the_service_counts_before_the_one_among_the_attributes() -> None:
    variables = {**KEYS, ENABLED: "true", "OTEL_RESOURCE_ATTRIBUTES": "service.name=platform,a=b"}

    assert pairs_of(loaded(variables).otel) == {"service.name": "platform", "a": "b"}
    assert pairs_of(loaded({**variables, "OTEL_SERVICE_NAME": "edge"}).otel) == {"a": "b"}


def test_the_collectors_certificate_and_ours_are_taken_from_files(tmp_path: Path) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("collector")
    ca, cert, key = (str(tmp_path / name) for name in ("ca", "cert", "key"))
    authority.cert_pem.write_to_path(ca)
    issued.cert_chain_pems[0].write_to_path(cert)
    issued.private_key_pem.write_to_path(key)

    otel = Otel(enabled=True, ca_file=ca, client_cert_file=cert, client_key_file=key)

    check(otel)
    assert len(context_of(otel).get_ca_certs()) == 1
    with pytest.raises(OtelError, match="clientKeyFile"):
        check(Otel(enabled=True, client_cert_file=cert, client_key_file=ca))


def test_what_it_says_to_install_is_all_that_the_extra_brings() -> None:
    """Not the extra by our own name: no index knows it, and one that does knows another's."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (needed,) = project["optional-dependencies"]["otel"]

    assert f"pip install '{needed}'" == INSTALL


def test_without_the_extra_the_start_stops_and_says_what_to_install(tmp_path: Path) -> None:
    """A process in which the packages cannot be found."""
    path = configured(tmp_path, "otel: {enabled: true}")
    program = (
        "import sys; sys.modules['opentelemetry'] = None\n"
        "from proxy.cli.main import main\n"
        f"sys.exit(main(['check', '--config', {str(path)!r}]))"
    )

    command = [sys.executable, "-c", program]
    done = subprocess.run(command, check=False, capture_output=True, text=True)

    assert done.returncode == 2, done.stderr
    assert "configuration.otel.enabled: needs what is not installed" in done.stdout + done.stderr
    assert INSTALL in done.stdout + done.stderr
