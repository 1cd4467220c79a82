"""The file, the environment, and which of them counts."""

import json
from pathlib import Path
from typing import Any

import pytest
import trustme

from proxy.errors import SettingsError
from proxy.secret import Secret
from proxy.settings.leaves import leaves
from proxy.settings.load import DEFAULT_PATH, load
from proxy.settings.schema import Configuration, Settings
from tests.settings.asking import (
    KEYS,
    NOWHERE,
    PROJECT,
    configured,
    loaded,
    mistakes_of,
    value_at,
    written,
)
from tests.settings.test_otel import STANDARD

# The official proxy's table: key, environment, attribute, default, another value.
OFFICIAL: list[tuple[str, str, str, Any, Any]] = [
    ("port", "AMPLITUDE_PORT", "port", 3546, 80),
    ("serverZone", "AMPLITUDE_SERVER_ZONE", "server_zone", "US", "EU"),
    ("serverUrl", "AMPLITUDE_SERVER_URL", "server_url", None, "http://flags:1"),
    ("cohortServerUrl", "AMPLITUDE_COHORT_SERVER_URL", "cohort_server_url", None, "http://c"),
    (
        "managementServerUrl",
        "AMPLITUDE_MANAGEMENT_SERVER_URL",
        "management_server_url",
        None,
        "http://m",
    ),
    (
        "analyticsServerUrl",
        "AMPLITUDE_ANALYTICS_SERVER_URL",
        "analytics_server_url",
        None,
        "http://a",
    ),
    (
        "deploymentSyncIntervalMillis",
        "AMPLITUDE_DEPLOYMENT_SYNC_INTERVAL_MILLIS",
        "deployment_sync_interval_millis",
        120000,
        7000,
    ),
    (
        "flagSyncIntervalMillis",
        "AMPLITUDE_FLAG_SYNC_INTERVAL_MILLIS",
        "flag_sync_interval_millis",
        60000,
        10000,
    ),
    (
        "cohortSyncIntervalMillis",
        "AMPLITUDE_COHORT_SYNC_INTERVAL_MILLIS",
        "cohort_sync_interval_millis",
        120000,
        9000,
    ),
    ("maxCohortSize", "AMPLITUDE_MAX_COHORT_SIZE", "max_cohort_size", 2147483647, 5),
    *(
        row
        for group in ("assignment", "exposure")
        for row in [
            (
                f"{group}.filterCapacity",
                f"AMPLITUDE_{group.upper()}_FILTER_CAPACITY",
                f"{group}.filter_capacity",
                1048576,
                7,
            ),
            (
                f"{group}.eventUploadThreshold",
                f"AMPLITUDE_{group.upper()}_EVENT_UPLOAD_THRESHOLD",
                f"{group}.event_upload_threshold",
                100,
                7,
            ),
            (
                f"{group}.eventUploadPeriodMillis",
                f"AMPLITUDE_{group.upper()}_EVENT_UPLOAD_PERIOD_MILLIS",
                f"{group}.event_upload_period_millis",
                10000,
                7,
            ),
            (
                f"{group}.useBatchMode",
                f"AMPLITUDE_{group.upper()}_USE_BATCH_MODE",
                f"{group}.use_batch_mode",
                True,
                False,
            ),
        ]
    ),
    ("redis.uri", "AMPLITUDE_REDIS_URI", "redis.uri", None, "redis://r:1"),
    (
        "redis.readOnlyUri",
        "AMPLITUDE_REDIS_READ_ONLY_URI",
        "redis.read_only_uri",
        None,
        "rediss://r",
    ),
    ("redis.useCluster", "AMPLITUDE_REDIS_USE_CLUSTER", "redis.use_cluster", False, True),
    ("redis.readFrom", "AMPLITUDE_REDIS_READ_FROM", "redis.read_from", "ANY", "REPLICA_PREFERRED"),
    ("redis.prefix", "AMPLITUDE_REDIS_PREFIX", "redis.prefix", "amplitude", "other"),
    ("redis.scanLimit", "AMPLITUDE_REDIS_SCAN_LIMIT", "redis.scan_limit", 10000, 7),
    (
        "redis.connectionTimeoutMillis",
        "AMPLITUDE_REDIS_CONNECTION_TIMEOUT_MILLIS",
        "redis.connection_timeout_millis",
        10000,
        7,
    ),
    (
        "redis.commandTimeoutMillis",
        "AMPLITUDE_REDIS_COMMAND_TIMEOUT_MILLIS",
        "redis.command_timeout_millis",
        10000,
        7,
    ),
    (
        "redis.pipelineBatchSize",
        "AMPLITUDE_REDIS_PIPELINE_BATCH_SIZE",
        "redis.pipeline_batch_size",
        100,
        7,
    ),
    ("metrics.port", "AMPLITUDE_METRICS_PORT", "metrics.port", 9090, 9091),
    ("metrics.path", "AMPLITUDE_METRICS_PATH", "metrics.path", "metrics", "prometheus"),
    ("metrics.logFailures", "AMPLITUDE_METRICS_LOG_FAILURES", "metrics.log_failures", False, True),
]
OURS: list[tuple[str, str, str, Any, Any]] = [
    ("host", "AMPLITUDE_HOST", "host", "0.0.0.0", "::1"),
    ("streamServerUrl", "AMPLITUDE_STREAM_SERVER_URL", "stream_server_url", None, "http://s"),
    ("streamUpdates", "AMPLITUDE_STREAM_UPDATES", "stream_updates", True, False),
    ("dataDir", "AMPLITUDE_DATA_DIR", "data_dir", None, "/var/lib/proxy"),
    ("cohortWaitMillis", "AMPLITUDE_COHORT_WAIT_MILLIS", "cohort_wait_millis", 60000, 0),
    (
        "allowClientMemberships",
        "AMPLITUDE_ALLOW_CLIENT_MEMBERSHIPS",
        "allow_client_memberships",
        False,
        True,
    ),
    ("trustClientCohorts", "AMPLITUDE_TRUST_CLIENT_COHORTS", "trust_client_cohorts", False, True),
    ("drainDeadlineMillis", "AMPLITUDE_DRAIN_DEADLINE_MILLIS", "drain_deadline_millis", 10000, 0),
    ("assignment.enabled", "AMPLITUDE_ASSIGNMENT_ENABLED", "assignment.enabled", True, False),
    (
        "assignment.userProperties",
        "AMPLITUDE_ASSIGNMENT_USER_PROPERTIES",
        "assignment.user_properties",
        True,
        False,
    ),
    (
        "assignment.maxPendingBytes",
        "AMPLITUDE_ASSIGNMENT_MAX_PENDING_BYTES",
        "assignment.max_pending_bytes",
        67108864,
        70000,
    ),
    ("metrics.host", "AMPLITUDE_METRICS_HOST", "metrics.host", "127.0.0.1", "0.0.0.0"),
    (
        "metrics.bearerToken",
        "AMPLITUDE_METRICS_BEARER_TOKEN",
        "metrics.bearer_token",
        None,
        "operators-token",
    ),
    (
        "limits.maxBodyBytes",
        "AMPLITUDE_LIMITS_MAX_BODY_BYTES",
        "limits.max_body_bytes",
        1048576,
        2048,
    ),
    (
        "limits.maxInflatedBytes",
        "AMPLITUDE_LIMITS_MAX_INFLATED_BYTES",
        "limits.max_inflated_bytes",
        4194304,
        2048,
    ),
    (
        "limits.maxHeaderBytes",
        "AMPLITUDE_LIMITS_MAX_HEADER_BYTES",
        "limits.max_header_bytes",
        131072,
        65536,
    ),
    ("limits.maxJsonDepth", "AMPLITUDE_LIMITS_MAX_JSON_DEPTH", "limits.max_json_depth", 64, 8),
    ("limits.maxFlagKeys", "AMPLITUDE_LIMITS_MAX_FLAG_KEYS", "limits.max_flag_keys", 1000, 8),
    (
        "limits.requestTimeoutMillis",
        "AMPLITUDE_LIMITS_REQUEST_TIMEOUT_MILLIS",
        "limits.request_timeout_millis",
        10000,
        500,
    ),
    (
        "limits.idleTimeoutMillis",
        "AMPLITUDE_LIMITS_IDLE_TIMEOUT_MILLIS",
        "limits.idle_timeout_millis",
        75000,
        500,
    ),
    ("events.commitMillis", "AMPLITUDE_EVENTS_COMMIT_MILLIS", "events.commit_millis", 50, 0),
    ("events.maxBytes", "AMPLITUDE_EVENTS_MAX_BYTES", "events.max_bytes", 1 << 30, 1 << 20),
    (
        "events.maxAgeMillis",
        "AMPLITUDE_EVENTS_MAX_AGE_MILLIS",
        "events.max_age_millis",
        259_200_000,
        60_000,
    ),
    ("scriptServerUrl", "AMPLITUDE_SCRIPT_SERVER_URL", "script_server_url", None, "http://s"),
    ("scripts.enabled", "AMPLITUDE_SCRIPTS_ENABLED", "scripts.enabled", True, False),
    (
        "webExperiment.mode",
        "AMPLITUDE_WEB_EXPERIMENT_MODE",
        "web_experiment.mode",
        "partial",
        "forward",
    ),
    (
        "webExperiment.timeoutMillis",
        "AMPLITUDE_WEB_EXPERIMENT_TIMEOUT_MILLIS",
        "web_experiment.timeout_millis",
        800,
        300,
    ),
    (
        "webExperiment.ttlMillis",
        "AMPLITUDE_WEB_EXPERIMENT_TTL_MILLIS",
        "web_experiment.ttl_millis",
        10_000,
        0,
    ),
    (
        "webExperiment.maxBytes",
        "AMPLITUDE_WEB_EXPERIMENT_MAX_BYTES",
        "web_experiment.max_bytes",
        33_554_432,
        0,
    ),
    (
        "webExperiment.previews",
        "AMPLITUDE_WEB_EXPERIMENT_PREVIEWS",
        "web_experiment.previews",
        True,
        False,
    ),
    (
        "answerCache.maxBytes",
        "AMPLITUDE_ANSWER_CACHE_MAX_BYTES",
        "answer_cache.max_bytes",
        67_108_864,
        0,
    ),
    (
        "remoteEvaluation.mode",
        "AMPLITUDE_REMOTE_EVALUATION_MODE",
        "remote_evaluation.mode",
        "off",
        "merge",
    ),
    (
        "remoteEvaluation.serverUrl",
        "AMPLITUDE_REMOTE_EVALUATION_SERVER_URL",
        "remote_evaluation.server_url",
        None,
        "http://r",
    ),
    (
        "remoteEvaluation.timeoutMillis",
        "AMPLITUDE_REMOTE_EVALUATION_TIMEOUT_MILLIS",
        "remote_evaluation.timeout_millis",
        400,
        300,
    ),
    (
        "remoteEvaluation.ttlMillis",
        "AMPLITUDE_REMOTE_EVALUATION_TTL_MILLIS",
        "remote_evaluation.ttl_millis",
        3_600_000,
        0,
    ),
    (
        "remoteEvaluation.maxBytes",
        "AMPLITUDE_REMOTE_EVALUATION_MAX_BYTES",
        "remote_evaluation.max_bytes",
        67_108_864,
        0,
    ),
    (
        "remoteEvaluation.maxCalls",
        "AMPLITUDE_REMOTE_EVALUATION_MAX_CALLS",
        "remote_evaluation.max_calls",
        64,
        1,
    ),
    (
        "admission.publicEdge",
        "AMPLITUDE_ADMISSION_PUBLIC_EDGE",
        "admission.public_edge",
        False,
        True,
    ),
    ("admission.logOnly", "AMPLITUDE_ADMISSION_LOG_ONLY", "admission.log_only", False, True),
    (
        "admission.trustedProxies",
        "AMPLITUDE_ADMISSION_TRUSTED_PROXIES",
        "admission.trusted_proxies",
        (),
        ("10.0.0.0/8", "unix"),
    ),
    (
        "admission.forwardedHeader",
        "AMPLITUDE_ADMISSION_FORWARDED_HEADER",
        "admission.forwarded_header",
        "X-Forwarded-For",
        "Forwarded",
    ),
    (
        "admission.requestsPerAddress",
        "AMPLITUDE_ADMISSION_REQUESTS_PER_ADDRESS",
        "admission.requests_per_address",
        None,
        7,
    ),
    (
        "admission.burstPerAddress",
        "AMPLITUDE_ADMISSION_BURST_PER_ADDRESS",
        "admission.burst_per_address",
        None,
        8,
    ),
    (
        "admission.requestsPerDeployment",
        "AMPLITUDE_ADMISSION_REQUESTS_PER_DEPLOYMENT",
        "admission.requests_per_deployment",
        None,
        0,
    ),
    (
        "admission.burstPerDeployment",
        "AMPLITUDE_ADMISSION_BURST_PER_DEPLOYMENT",
        "admission.burst_per_deployment",
        None,
        9,
    ),
    (
        "admission.unknownKeysPerAddress",
        "AMPLITUDE_ADMISSION_UNKNOWN_KEYS_PER_ADDRESS",
        "admission.unknown_keys_per_address",
        None,
        0,
    ),
    (
        "admission.connections",
        "AMPLITUDE_ADMISSION_CONNECTIONS",
        "admission.connections",
        None,
        500,
    ),
    (
        "admission.connectionsPerAddress",
        "AMPLITUDE_ADMISSION_CONNECTIONS_PER_ADDRESS",
        "admission.connections_per_address",
        None,
        5,
    ),
    (
        "admission.queueDelayMillis",
        "AMPLITUDE_ADMISSION_QUEUE_DELAY_MILLIS",
        "admission.queue_delay_millis",
        None,
        50,
    ),
    (
        "cors.origins",
        "AMPLITUDE_CORS_ORIGINS",
        "cors.origins",
        ("*",),
        ("https://a.example", "https://*.b.example:8443", "null"),
    ),
    (
        "cors.deployments",
        "AMPLITUDE_CORS_DEPLOYMENTS",
        "cors.deployments",
        (),
        ("web = https://a.example none", "app = *"),
    ),
    ("cors.allowHeaders", "AMPLITUDE_CORS_ALLOW_HEADERS", "cors.allow_headers", (), ("X-Tenant",)),
    ("streams.enabled", "AMPLITUDE_STREAMS_ENABLED", "streams.enabled", True, False),
    ("streams.variants", "AMPLITUDE_STREAMS_VARIANTS", "streams.variants", False, True),
    (
        "streams.keepAliveMillis",
        "AMPLITUDE_STREAMS_KEEP_ALIVE_MILLIS",
        "streams.keep_alive_millis",
        15_000,
        10_000,
    ),
    (
        "streams.renewMillis",
        "AMPLITUDE_STREAMS_RENEW_MILLIS",
        "streams.renew_millis",
        3_600_000,
        900_000,
    ),
    (
        "streams.maxConnections",
        "AMPLITUDE_STREAMS_MAX_CONNECTIONS",
        "streams.max_connections",
        20_000,
        0,
    ),
    (
        "streams.maxUnreadBytes",
        "AMPLITUDE_STREAMS_MAX_UNREAD_BYTES",
        "streams.max_unread_bytes",
        67_108_864,
        1_048_576,
    ),
    ("openapi.enabled", "AMPLITUDE_OPENAPI_ENABLED", "openapi.enabled", True, False),
    ("ofrep.enabled", "AMPLITUDE_OFREP_ENABLED", "ofrep.enabled", True, False),
    (
        "ofrep.targetingKey",
        "AMPLITUDE_OFREP_TARGETING_KEY",
        "ofrep.targeting_key",
        "user_id",
        "device_id",
    ),
    ("ofrep.value", "AMPLITUDE_OFREP_VALUE", "ofrep.value", "payload", "variant"),
    (
        "ofrep.publicUrl",
        "AMPLITUDE_OFREP_PUBLIC_URL",
        "ofrep.public_url",
        None,
        "https://edge.example.com/flags",
    ),
    (
        "limits.maxBatchUsers",
        "AMPLITUDE_LIMITS_MAX_BATCH_USERS",
        "limits.max_batch_users",
        1000,
        5,
    ),
    (
        "limits.maxBatchBytes",
        "AMPLITUDE_LIMITS_MAX_BATCH_BYTES",
        "limits.max_batch_bytes",
        8_388_608,
        4096,
    ),
    ("reload.watchMillis", "AMPLITUDE_RELOAD_WATCH_MILLIS", "reload.watch_millis", 1000, 0),
    ("unixSocket", "AMPLITUDE_UNIX_SOCKET", "unix_socket", None, "/run/p.sock"),
    ("unixSocketMode", "AMPLITUDE_UNIX_SOCKET_MODE", "unix_socket_mode", "0660", "0600"),
    ("tls.minimumVersion", "AMPLITUDE_TLS_MINIMUM_VERSION", "tls.minimum_version", "1.2", "1.3"),
    (
        "otel.traces.enabled",
        "AMPLITUDE_OTEL_TRACES_ENABLED",
        "otel.traces.enabled",
        True,
        False,
    ),
    (
        "otel.traces.parentBased",
        "AMPLITUDE_OTEL_TRACES_PARENT_BASED",
        "otel.traces.parent_based",
        True,
        False,
    ),
    (
        "otel.metrics.enabled",
        "AMPLITUDE_OTEL_METRICS_ENABLED",
        "otel.metrics.enabled",
        True,
        False,
    ),
    ("offline.path", "AMPLITUDE_OFFLINE_PATH", "offline.path", None, "/"),
    (
        "offline.verifyKeyFile",
        "AMPLITUDE_OFFLINE_VERIFY_KEY_FILE",
        "offline.verify_key_file",
        None,
        "/keys/snapshots.pub",
    ),
    ("offline.unsigned", "AMPLITUDE_OFFLINE_UNSIGNED", "offline.unsigned", False, True),
    ("offline.allowOlder", "AMPLITUDE_OFFLINE_ALLOW_OLDER", "offline.allow_older", False, True),
    ("offline.maxBytes", "AMPLITUDE_OFFLINE_MAX_BYTES", "offline.max_bytes", 2**36, 2**20),
    ("offline.pollMillis", "AMPLITUDE_OFFLINE_POLL_MILLIS", "offline.poll_millis", 1000, 5000),
    ("offline.events", "AMPLITUDE_OFFLINE_EVENTS", "offline.events", "drop", "keep"),
    ("log.level", "AMPLITUDE_LOG_LEVEL", "log.level", "INFO", "DEBUG"),
    ("log.format", "AMPLITUDE_LOG_FORMAT", "log.format", "json", "console"),
]
TLS_FILES = {"tls.certFile", "tls.keyFile", "tls.clientCaFile"}
LOGIN = {"metrics.basicUser", "metrics.basicPassword"}
WHEN_ENABLED = {row[0] for row in STANDARD} | {"otel.enabled"}
ROWS = [pytest.param(*row, id=row[0]) for row in OFFICIAL + OURS]


def text_of(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def shown(value: Any) -> Any:
    return value.reveal() if isinstance(value, Secret) else value


def nested(key: str, text: str) -> str:
    *outer, inner = key.split(".")
    lines = [f"{'  ' * depth}{name}:" for depth, name in enumerate(outer)]
    return "\n".join([*lines, f"{'  ' * len(outer)}{inner}: {text}"])


@pytest.mark.parametrize(("key", "variable", "attribute", "default", "other"), ROWS)
def test_a_setting_comes_from_the_file(
    tmp_path: Path, key: str, variable: str, attribute: str, default: Any, other: Any
) -> None:
    text = json.dumps(other) if isinstance(other, tuple) else text_of(other)
    path = configured(tmp_path, nested(key, text))

    assert shown(value_at(loaded({}, path), attribute)) == other


@pytest.mark.parametrize(("key", "variable", "attribute", "default", "other"), ROWS)
def test_a_setting_comes_from_the_environment(
    key: str, variable: str, attribute: str, default: Any, other: Any
) -> None:
    settings = loaded({**KEYS, variable: text_of(other)})

    assert shown(value_at(settings, attribute)) == other


@pytest.mark.parametrize(("key", "variable", "attribute", "default", "other"), ROWS)
def test_a_setting_has_its_default(
    key: str, variable: str, attribute: str, default: Any, other: Any
) -> None:
    assert value_at(loaded(KEYS), attribute) == default
    assert value_at(Settings(), attribute) == default


def test_no_setting_escapes_the_table() -> None:
    known = {row[0] for row in OFFICIAL + OURS} | TLS_FILES | LOGIN | WHEN_ENABLED
    assert {leaf.key for leaf in leaves(Configuration)} == known


def test_a_user_name_and_its_password_are_taken_together(tmp_path: Path) -> None:
    secret = written(tmp_path, "operators-password\n", "password")
    given = configured(tmp_path, f"metrics: {{basicUser: ops, basicPasswordFile: {secret}}}")
    variables = {
        "AMPLITUDE_METRICS_BASIC_USER": "ops",
        "AMPLITUDE_METRICS_BASIC_PASSWORD": "operators-password",
    }

    for metrics in (loaded({}, given).metrics, loaded({**KEYS, **variables}).metrics):
        assert metrics.basic_user == "ops"
        assert metrics.basic_password == Secret("operators-password")
    assert loaded(KEYS).metrics.basic_user is None
    assert loaded(KEYS).metrics.basic_password is None


def test_half_a_login_stops_the_start(tmp_path: Path) -> None:
    path = configured(tmp_path, "metrics: {basicUser: ops}")
    assert mistakes_of({}, path) == [
        (
            f"{path}:6: configuration.metrics.basicUser: expected `metrics.basicPassword` beside"
            " it, got none"
        )
    ]
    assert mistakes_of({**KEYS, "AMPLITUDE_METRICS_BASIC_PASSWORD": "p"}) == [
        "AMPLITUDE_METRICS_BASIC_PASSWORD: expected `metrics.basicUser` beside it, got none"
    ]


@pytest.mark.parametrize("name", ["a:b", "a\tb"])
def test_a_user_name_that_nobody_could_send_is_refused(tmp_path: Path, name: str) -> None:
    lines = f"metrics: {{basicUser: {json.dumps(name)}, basicPassword: p}}"

    (mistake,) = mistakes_of({}, configured(tmp_path, lines))

    assert "expected a user name without a colon" in mistake


def test_tls_files_are_taken_together(tmp_path: Path) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    names = {key: str(tmp_path / key) for key in TLS_FILES}
    issued.private_key_pem.write_to_path(names["tls.keyFile"])
    issued.cert_chain_pems[0].write_to_path(names["tls.certFile"])
    authority.cert_pem.write_to_path(names["tls.clientCaFile"])
    lines = "".join(f"  {key[4:]}: {name}\n" for key, name in names.items())

    from_file = loaded({}, configured(tmp_path, f"tls:\n{lines}")).tls
    variables = {
        "AMPLITUDE_TLS_CERT_FILE": names["tls.certFile"],
        "AMPLITUDE_TLS_KEY_FILE": names["tls.keyFile"],
        "AMPLITUDE_TLS_CLIENT_CA_FILE": names["tls.clientCaFile"],
    }
    assert loaded({**KEYS, **variables}).tls == from_file
    assert sorted(from_file.files) == sorted(names.values())
    assert loaded(KEYS).tls.files == ()


def test_tls_files_that_do_not_fit_stop_the_start(tmp_path: Path) -> None:
    path = configured(tmp_path, "port: 1\ntls:\n  keyFile: /nowhere")
    assert mistakes_of({}, path) == [
        (
            f"{path}:8: configuration.tls.keyFile: `tls.certFile`: expected a PEM file,"
            " as `keyFile` is set, got none"
        )
    ]
    assert mistakes_of({**KEYS, "AMPLITUDE_TLS_CERT_FILE": "/nowhere"}) == [
        (
            "AMPLITUDE_TLS_CERT_FILE: `tls.keyFile`: expected a PEM file,"
            " as `certFile` is set, got none"
        )
    ]


def test_the_environment_overrides_the_file(tmp_path: Path) -> None:
    path = configured(tmp_path, "port: 1\nhost: 127.0.0.1\nredis: {uri: 'redis://file'}")

    settings = loaded({"AMPLITUDE_PORT": "2", "AMPLITUDE_REDIS_URI": "redis://environment"}, path)

    assert (settings.port, settings.host) == (2, "127.0.0.1")
    assert settings.redis.uri == Secret("redis://environment")


def test_a_blank_variable_counts_as_not_set(tmp_path: Path) -> None:
    path = configured(tmp_path, "port: 1")

    assert loaded({"AMPLITUDE_PORT": " ", "AMPLITUDE_API_KEY": ""}, path).port == 1


def test_the_environment_alone_gives_one_project() -> None:
    (project,) = loaded(KEYS).projects

    assert project.api_key == Secret("api-key-1")
    assert project.secret_key == Secret("secret-key-1")
    assert project.management_key == Secret("management-key-1")
    assert project.deployment_keys == ()
    assert project.label == Secret("api-key-1").label


def test_the_environment_overrides_the_one_project_of_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, PROJECT)

    (project,) = loaded(
        {"AMPLITUDE_SECRET_KEY": "other", "AMPLITUDE_DEPLOYMENT_KEYS": "a, b,c"}, path
    ).projects

    assert project.api_key == Secret("api-key-1")
    assert project.secret_key == Secret("other")
    assert project.deployment_keys == (Secret("a"), Secret("b"), Secret("c"))


def test_project_keys_in_the_environment_are_a_mistake_beside_several_projects(
    tmp_path: Path,
) -> None:
    second = PROJECT.removeprefix("projects:\n").replace("-key-1", "-key-2")
    path = written(tmp_path, PROJECT + second)

    assert mistakes_of({"AMPLITUDE_SECRET_KEY": "x"}, path) == [
        f"AMPLITUDE_SECRET_KEY: cannot tell which of the 2 projects in {path} is meant"
    ]
    assert len(loaded({"AMPLITUDE_PORT": "1"}, path).projects) == 2


def test_static_deployments_need_no_management_key(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "projects:\n- {id: 42, apiKey: a, secretKey: s, deploymentKeys: [server-1, 2, server-1]}\n",
    )

    (project,) = loaded({}, path).projects

    assert project.management_key is None
    assert project.deployment_keys == (Secret("server-1"), Secret("2"))
    assert (project.id, project.label) == ("42", "42")


def test_a_key_of_digits_stays_what_was_written(tmp_path: Path) -> None:
    path = written(
        tmp_path, "projects:\n- {apiKey: 0012, secretKey: 1_000, managementKey: 12:30:45}\n"
    )

    (project,) = loaded({}, path).projects

    assert project.api_key.reveal() == "0012"
    assert project.secret_key.reveal() == "1_000"
    assert project.management_key == Secret("12:30:45")


def test_the_file_is_found_by_the_variable(tmp_path: Path) -> None:
    path = configured(tmp_path, "port: 7")

    assert loaded({"PROXY_CONFIG_FILE_PATH": str(path)}).port == 7


def test_the_argument_beats_the_variable(tmp_path: Path) -> None:
    path = configured(tmp_path, "port: 7")

    assert loaded({"PROXY_CONFIG_FILE_PATH": "/nonexistent.yaml"}, path).port == 7


def test_the_default_path_is_the_official_one() -> None:
    assert DEFAULT_PATH == "/etc/evaluation-proxy-config.yaml"


def test_the_file_at_the_default_path_is_read(tmp_path: Path) -> None:
    path = configured(tmp_path, "port: 7")

    assert load({}, default_path=str(path)).port == 7


def test_a_missing_file_is_a_mistake_when_it_was_named() -> None:
    named = "/nonexistent/x.yaml"
    expected = [f"{named}: cannot be read: No such file or directory"]

    assert mistakes_of({**KEYS, "PROXY_CONFIG_FILE_PATH": named}) == expected
    assert mistakes_of({**KEYS, "PROXY_PROJECTS_FILE_PATH": named}) == expected
    assert mistakes_of(KEYS, Path(named)) == expected


def test_a_missing_file_at_the_default_path_is_none() -> None:
    assert loaded({**KEYS, "PROXY_CONFIG_FILE_PATH": NOWHERE}).port == 3546


def test_a_default_path_that_cannot_be_looked_at_is_a_mistake(tmp_path: Path) -> None:
    path = written(tmp_path, "", "file") / "proxy.yaml"

    with pytest.raises(SettingsError, match=r"proxy\.yaml: cannot be read: Not a directory"):
        load(KEYS, default_path=str(path))


def test_projects_may_stand_in_a_file_of_their_own(tmp_path: Path) -> None:
    config = configured(tmp_path, "port: 7")
    projects = written(
        tmp_path,
        "projects:\n- {apiKey: other, secretKey: s, managementKey: m}\nconfiguration: {port: 8}",
        "projects.yml",
    )

    settings = loaded({"PROXY_PROJECTS_FILE_PATH": str(projects)}, config)

    assert settings.port == 7
    assert [each.api_key for each in settings.projects] == [Secret("other")]
    assert settings.notices == (
        f"{config}:1: projects: not read, as it is taken from {projects}",
        f"{projects}:3: configuration: not read, as it is taken from {config}",
    )


def test_json_is_read_by_its_extension(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        '{\t"projects": [{"apiKey": 12, "secretKey": "s", "managementKey": "m"}],\n'
        '"configuration": {"port": 5, "streamUpdates": false, "metrics": {"port": "6"}}}',
        "proxy.JSON",
    )

    settings = loaded({}, path)

    assert (settings.port, settings.metrics.port, settings.stream_updates) == (5, 6, False)
    assert settings.projects[0].api_key.reveal() == "12"


def test_without_a_project_nothing_can_be_served(tmp_path: Path) -> None:
    (mistake,) = mistakes_of({})
    assert mistake.startswith(f"{NOWHERE}: there is no such file, and no project")

    for text in ("", "projects:", "projects: []", "# nothing", "configuration:\n  port: 1"):
        (mistake,) = mistakes_of({}, written(tmp_path, text))
        assert "expected at least one project" in mistake


def test_the_charts_defaults_are_accepted(tmp_path: Path) -> None:
    path = configured(tmp_path, 'redis:\n  uri: ""')

    settings = loaded({}, path)

    assert settings.redis.uri is None
    assert settings.notices == ()


def test_the_read_only_uri_is_the_uri_unless_given() -> None:
    settings = loaded({**KEYS, "AMPLITUDE_REDIS_URI": "redis://one"})

    assert settings.redis.read_only_uri == Secret("redis://one")


@pytest.mark.parametrize("written_path", ["/prometheus/", "prometheus", "/prometheus"])
def test_the_metrics_path_may_have_slashes_around_it(written_path: str) -> None:
    settings = loaded({**KEYS, "AMPLITUDE_METRICS_PATH": written_path})

    assert settings.metrics.path == "prometheus"


def test_a_byte_order_mark_and_windows_lines_are_tolerated(tmp_path: Path) -> None:
    path = tmp_path / "proxy.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + PROJECT.replace("\n", "\r\n").encode())

    assert len(loaded({}, path).projects) == 1


def test_anchors_and_aliases_work(tmp_path: Path) -> None:
    path = configured(tmp_path, "assignment: &both {filterCapacity: 5}\nexposure: *both")

    assert loaded({}, path).exposure.filter_capacity == 5


def test_settings_without_effect_are_named(tmp_path: Path) -> None:
    path = configured(
        tmp_path,
        "redis: {uri: 'redis://x', prefix: p}\nexposure: {useBatchMode: false}",
    )

    assert loaded({}, path).notices == (
        (
            f"{path}:7: configuration.exposure.useBatchMode: accepted, but without effect:"
            " exposures travel with assignments, as `assignment.useBatchMode` says"
        ),
        (
            f"{path}:6: configuration.redis.uri, {path}:6: configuration.redis.prefix:"
            " accepted, but without effect: this version keeps everything in its own process,"
            " and across restarts in `dataDir`"
        ),
    )


def test_a_url_that_leaves_the_zone_is_noticed() -> None:
    settings = loaded(
        {
            **KEYS,
            "AMPLITUDE_SERVER_ZONE": "eu",
            "AMPLITUDE_SERVER_URL": "https://api.lab.amplitude.com/",
            "AMPLITUDE_ANALYTICS_SERVER_URL": "https://api2.amplitude.com/2/httpapi",
        }
    )

    assert settings.notices == (
        "AMPLITUDE_SERVER_URL: leads out of the zone EU",
        "AMPLITUDE_ANALYTICS_SERVER_URL: leads out of the zone EU",
    )


def test_variables_that_look_meant_for_the_proxy_are_noticed() -> None:
    settings = loaded(
        {
            **KEYS,
            "AMPLITUDE_SERVERURL": "x",
            "AMPLITUDE_PROXY_PORT_3546_TCP": "tcp://10.0.0.1:3546",
            "AMPLITUDE_PORT": "tcp://10.0.0.1:3546",
            "AMPLITUDE_WHATEVER": "x",
        }
    )

    assert settings.port == 3546
    assert settings.notices == (
        "AMPLITUDE_SERVERURL in the environment is not read; did you mean AMPLITUDE_SERVER_URL?",
        "AMPLITUDE_PORT in the environment is not read: it is a Kubernetes service link",
    )
