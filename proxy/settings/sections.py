"""Sections of the configuration: Redis, the operators' port, limits, the log."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Struct

from proxy.secret import Secret
from proxy.settings.kinds import (
    HOST_FORM,
    LOGGED_ANYWAY,
    MEBIBYTE,
    NO_REDIS,
    REDIS_URI_FORM,
    Host,
    Level,
    PathPart,
    Port,
    Threshold,
    UserName,
    interval,
    setting,
)

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
    """The port for operators: metrics, probes, status; and who may see them."""

    port: Annotated[Port, setting("The operators' port; 0 is any free one.")] = 9090
    host: Annotated[
        Host,
        setting(
            "The address that the operators' port listens on: this machine only, unless it says"
            " otherwise (containers set `0.0.0.0`).",
            expected=HOST_FORM,
        ),
    ] = "127.0.0.1"
    bearer_token: Annotated[
        Secret | None,
        setting(
            "A token that opens the operators' port, as `Authorization: Bearer ...`.",
            default="none: it is open to who reaches it",
        ),
    ] = None
    basic_user: Annotated[
        UserName | None,
        setting(
            "The user name with which browsers and scrapers log in there.",
            expected="a user name without a colon",
        ),
    ] = None
    basic_password: Annotated[Secret | None, setting("The password of `basicUser`.")] = None
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
    max_batch_users: Annotated[
        int, setting("How many users one batch may hold.", ge=1, le=100_000)
    ] = 1000
    max_batch_bytes: Annotated[
        int,
        setting(
            "The longest batch of users, as it comes and after decompression.", ge=1024, le=2**27
        ),
    ] = 8 * MEBIBYTE
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
