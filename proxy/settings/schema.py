"""Every setting, typed: its meaning, unit, limits and default. The one source of all the rest."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Struct

from proxy.secret import Secret
from proxy.settings.admission import Admission
from proxy.settings.answers import AnswerCache
from proxy.settings.cors import Cors
from proxy.settings.kinds import (
    HOST_FORM,
    LONGEST_MILLIS,
    Host,
    Port,
    Url,
    interval,
    setting,
)
from proxy.settings.offline import Offline
from proxy.settings.ofrep import Ofrep
from proxy.settings.openapi import OpenApi
from proxy.settings.otel import Otel
from proxy.settings.reload import Reload
from proxy.settings.remote import RemoteEvaluation
from proxy.settings.reporting import Assignment, Events, Exposure
from proxy.settings.sections import Limits, Log, OperatorsPort, Redis
from proxy.settings.streams import Streams
from proxy.settings.tls import Tls
from proxy.settings.web import Scripts, WebExperiment
from proxy.settings.zones import Urls

__all__ = [
    "Admission",
    "AnswerCache",
    "Assignment",
    "Configuration",
    "Cors",
    "Events",
    "Exposure",
    "Limits",
    "Log",
    "Offline",
    "Ofrep",
    "OpenApi",
    "OperatorsPort",
    "Otel",
    "Project",
    "Redis",
    "Reload",
    "RemoteEvaluation",
    "Scripts",
    "Settings",
    "Streams",
    "Tls",
    "WebExperiment",
]


class Configuration(Struct, frozen=True, kw_only=True, rename="camel"):
    """All that is written under `configuration:`; not specific to one project."""

    port: Annotated[Port, setting("The port for clients; 0 is any free one.")] = 3546
    host: Annotated[
        Host, setting("The address that the clients' port listens on.", expected=HOST_FORM)
    ] = "0.0.0.0"  # noqa: S104  as the official proxy
    unix_socket: Annotated[
        str | None,
        setting(
            "A path at which the clients' port is listened on too, for programs on the same"
            " machine.",
            default="none",
        ),
    ] = None
    unix_socket_mode: Annotated[
        Literal["0600", "0660", "0666"],
        setting("Who may connect there: the owner, the group too, or everybody."),
    ] = "0660"
    server_zone: Annotated[
        Literal["US", "EU"], setting("The data centre; it decides every URL that is not given.")
    ] = "US"
    server_url: Annotated[
        Url | None, setting("Where flag configs come from.", default="the zone's")
    ] = None
    cohort_server_url: Annotated[
        Url | None, setting("Where cohorts come from.", default="the zone's")
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
    script_server_url: Annotated[
        Url | None, setting("Where the scripts of web experiments come from.", default="the zone's")
    ] = None
    deployment_sync_interval_millis: Annotated[
        int, interval("The pause between listings of deployments.")
    ] = 120_000
    flag_sync_interval_millis: Annotated[
        int, interval("The pause between polls of a deployment's flag configs.")
    ] = 60_000
    cohort_sync_interval_millis: Annotated[
        int, interval("The pause between looks for new cohort versions.")
    ] = 120_000
    max_cohort_size: Annotated[
        int,
        setting(
            "Cohorts with more members are not downloaded.",
            ge=0,
            le=LONGEST_MILLIS,
        ),
    ] = LONGEST_MILLIS
    cohort_wait_millis: Annotated[
        int,
        interval("How long a flag waits for a cohort that is not here yet.", ge=0),
    ] = 60_000
    data_dir: Annotated[
        str | None,
        setting(
            "A directory of this instance's own: flags, cohorts and events that wait outlive a"
            " restart there.",
            default="none",
        ),
    ] = None
    allow_client_memberships: Annotated[
        bool, setting("Let client keys ask which cohorts a user or group is in.")
    ] = False
    trust_client_cohorts: Annotated[
        bool, setting("Let cohorts that clients name in the user count.")
    ] = False
    drain_deadline_millis: Annotated[
        int, interval("How long a stop may wait for requests and events under way.", ge=0)
    ] = 10_000
    assignment: Assignment = Assignment()
    exposure: Exposure = Exposure()
    events: Events = Events()
    answer_cache: AnswerCache = AnswerCache()
    remote_evaluation: RemoteEvaluation = RemoteEvaluation()
    web_experiment: WebExperiment = WebExperiment()
    scripts: Scripts = Scripts()
    ofrep: Ofrep = Ofrep()
    openapi: OpenApi = OpenApi()
    redis: Redis = Redis()
    metrics: OperatorsPort = OperatorsPort()
    limits: Limits = Limits()
    offline: Offline = Offline()
    streams: Streams = Streams()
    admission: Admission = Admission()
    cors: Cors = Cors()
    tls: Tls = Tls()
    otel: Otel = Otel()
    log: Log = Log()
    reload: Reload = Reload()


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
