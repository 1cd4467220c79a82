"""Every setting, typed: its meaning, unit, limits and default. The one source of all the rest."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Struct

from proxy.secret import Secret
from proxy.settings.kinds import (
    HOST_FORM,
    LOGGED_ANYWAY,
    LONGEST_MILLIS,
    MEBIBYTE,
    NO_COHORTS,
    NO_REDIS,
    REDIS_URI_FORM,
    Host,
    Level,
    PathPart,
    Port,
    Threshold,
    Url,
    interval,
    setting,
)
from proxy.settings.reporting import Assignment, Events, Exposure
from proxy.settings.zones import Urls

REDIS_URI = {**REDIS_URI_FORM, "unused": NO_REDIS}


class Redis(Struct, frozen=True, kw_only=True, rename="camel"):
    """Where the shared tier is, if there is one, and how it is used."""

    uri: Annotated[
        Secret | None, setting("The Redis that instances share; blank is none.", **REDIS_URI)
    ] = None
    read_only_uri: Annotated[
        Secret | None,
        setting("The Redis to read from.", default="`redis.uri`", **REDIS_URI),
    ] = None
    use_cluster: Annotated[
        bool, setting("Whether the URI leads to a Redis cluster.", unused=NO_REDIS)
    ] = False
    read_from: Annotated[
        Literal["ANY", "REPLICA_PREFERRED"],
        setting("Which nodes of a cluster to read from.", unused=NO_REDIS),
    ] = "ANY"
    prefix: Annotated[str, setting("What every Redis key starts with.", unused=NO_REDIS)] = (
        "amplitude"
    )
    scan_limit: Annotated[
        Threshold, setting("How many members one scan asks for.", unused=NO_REDIS)
    ] = 10_000
    connection_timeout_millis: Annotated[
        int, interval("How long a connection may take.", ge=1, unused=NO_REDIS)
    ] = 10_000
    command_timeout_millis: Annotated[
        int, interval("How long a command may take.", ge=1, unused=NO_REDIS)
    ] = 10_000
    pipeline_batch_size: Annotated[
        Threshold, setting("How many commands go in one pipeline.", unused=NO_REDIS)
    ] = 100


class OperatorsPort(Struct, frozen=True, kw_only=True, rename="camel"):
    """The port for operators: metrics, probes, status."""

    port: Annotated[Port, setting("The operators' port; 0 is any free one.")] = 9090
    host: Annotated[
        Host, setting("The address that the operators' port listens on.", expected=HOST_FORM)
    ] = "0.0.0.0"  # noqa: S104  as the official proxy
    path: Annotated[
        PathPart,
        Port,
        setting("The path of the Prometheus metrics.", expected="a URL path such as metrics"),
    ] = "metrics"
    log_failures: Annotated[
        bool, setting("Log each failure that a metric counts.", unused=LOGGED_ANYWAY)
    ] = False


class Limits(Struct, frozen=True, kw_only=True, rename="camel"):
    """What a client may ask of the proxy; beyond it the answer is a 4xx."""

    max_body_bytes: Annotated[
        int, setting("The longest body, as it comes on the wire.", ge=1024, le=2**30)
    ] = MEBIBYTE
    max_inflated_bytes: Annotated[
        int, setting("The longest body after decompression.", ge=1024, le=2**30)
    ] = 4 * MEBIBYTE
    max_header_bytes: Annotated[
        int, setting("The longest single header, and the longest URL.", ge=8192, le=2**24)
    ] = 131_072
    max_json_depth: Annotated[int, setting("How deep JSON may be nested.", ge=4, le=500)] = 64
    max_flag_keys: Annotated[
        int, setting("How many flag keys one request may name.", ge=1, le=1_000_000)
    ] = 1000
    request_timeout_millis: Annotated[
        int, interval("How long a request may take to arrive and be answered.")
    ] = 10_000
    idle_timeout_millis: Annotated[
        int, interval("How long a connection may wait for its next request.")
    ] = 75_000


class Log(Struct, frozen=True, kw_only=True, rename="camel"):
    """What is logged, and how it looks."""

    level: Annotated[
        Level,
        setting(
            "The least level that is logged.",
            aliases={
                "ALL": "DEBUG",
                "TRACE": "DEBUG",
                "WARN": "WARNING",
                "FATAL": "CRITICAL",
                "OFF": "CRITICAL",
            },
        ),
    ] = "INFO"
    format: Annotated[
        Literal["json", "console"], setting("One JSON object a line, or a form for human eyes.")
    ] = "json"


class Configuration(Struct, frozen=True, kw_only=True, rename="camel"):
    """All that is written under `configuration:`; not specific to one project."""

    port: Annotated[Port, setting("The port for clients; 0 is any free one.")] = 3546
    host: Annotated[
        Host, setting("The address that the clients' port listens on.", expected=HOST_FORM)
    ] = "0.0.0.0"  # noqa: S104  as the official proxy
    server_zone: Annotated[
        Literal["US", "EU"], setting("The data centre; it decides every URL that is not given.")
    ] = "US"
    server_url: Annotated[
        Url | None, setting("Where flag configs come from.", default="the zone's")
    ] = None
    cohort_server_url: Annotated[
        Url | None, setting("Where cohorts come from.", default="the zone's", unused=NO_COHORTS)
    ] = None
    management_server_url: Annotated[
        Url | None, setting("Where deployments are listed.", default="the zone's")
    ] = None
    analytics_server_url: Annotated[
        Url | None,
        setting(
            "Where events go: a base URL, or a whole endpoint that ends in"
            " `/batch` or `/2/httpapi`.",
            default="the zone's",
        ),
    ] = None
    stream_server_url: Annotated[
        Url | None, setting("Where changes of flag configs are pushed.", default="the zone's")
    ] = None
    stream_updates: Annotated[
        bool, setting("Take changes as they are pushed; polling remains the fallback.")
    ] = True
    deployment_sync_interval_millis: Annotated[
        int, interval("The pause between listings of deployments.")
    ] = 120_000
    flag_sync_interval_millis: Annotated[
        int, interval("The pause between polls of a deployment's flag configs.")
    ] = 60_000
    cohort_sync_interval_millis: Annotated[
        int, interval("The pause between looks for new cohort versions.", unused=NO_COHORTS)
    ] = 120_000
    max_cohort_size: Annotated[
        int,
        setting(
            "Cohorts with more members are not downloaded.",
            ge=0,
            le=LONGEST_MILLIS,
            unused=NO_COHORTS,
        ),
    ] = LONGEST_MILLIS
    data_dir: Annotated[
        str | None,
        setting(
            "A directory of this instance's own: events that wait outlive a restart there.",
            default="none",
        ),
    ] = None
    trust_client_cohorts: Annotated[
        bool, setting("Let cohorts that clients name in the user count.")
    ] = False
    drain_deadline_millis: Annotated[
        int, interval("How long a stop may wait for requests and events under way.", ge=0)
    ] = 10_000
    assignment: Assignment = Assignment()
    exposure: Exposure = Exposure()
    events: Events = Events()
    redis: Redis = Redis()
    metrics: OperatorsPort = OperatorsPort()
    limits: Limits = Limits()
    log: Log = Log()


class Project(Struct, frozen=True, kw_only=True, rename="camel"):
    """One Amplitude project: an item of the list under `projects:`."""

    api_key: Annotated[Secret, setting("The project's API key; events are sent with it.")]
    secret_key: Annotated[Secret, setting("The project's secret key; cohorts need it.")]
    management_key: Annotated[
        Secret | None,
        setting(
            "A management API key, with which the project's deployments are found.",
            environment="AMPLITUDE_EXPERIMENT_MANAGEMENT_API_KEY",
            default="required without `deploymentKeys`",
        ),
    ] = None
    deployment_keys: Annotated[
        tuple[Secret, ...],
        setting(
            "Deployment keys to serve without asking the management API (a list;"
            " commas divide them in the environment, lines in a file).",
            default="none",
        ),
    ] = ()
    id: Annotated[
        str | None,
        setting(
            "The project's name in logs and metrics.",
            environment="AMPLITUDE_PROJECT_ID",
            default="a hash of the API key",
        ),
    ] = None

    @property
    def label(self) -> str:
        """The project's name in logs and metrics; never a key."""
        return self.id or self.api_key.label


class Settings(Configuration, frozen=True, kw_only=True, rename="camel"):
    """The settings in force: the configuration, the projects, and what follows from them."""

    projects: tuple[Project, ...] = ()
    urls: Urls = Urls()
    notices: tuple[str, ...] = ()
