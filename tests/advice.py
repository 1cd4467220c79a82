"""When to worry about a metric; `docs/metrics.md` is made of it, and a test holds it complete."""

from typing import NamedTuple


class Area(NamedTuple):
    """Metrics that are looked at together: a heading, what it is about, and advice by name."""

    title: str
    about: str
    advice: dict[str, str]


NEVER = "Never by itself."

AREAS = (
    Area(
        "Is it well?",
        "Look here first. `/readyz` and `/status` on the operators' port say it with reasons.",
        {
            "ready": "0 for minutes: `/readyz` names the part and the reason.",
            "operators_refused_total": (
                "`wrong_credential` rising: somebody guesses, or a scraper has an old credential."
            ),
            "configured": "Never; other numbers only count together with it.",
            "build_info": "Two versions for long: a rollout is stuck.",
            "config_last_reload_successful": (
                "0: a newer configuration was refused; `/status` says why. It would not survive a"
                " restart."
            ),
            "config_last_reload_timestamp_seconds": (
                "Older than your last change: it has not arrived here yet."
            ),
            "config_reload_total": "`refused` or `failed` rising: see the two above.",
            "config_info": "Replicas with different hashes for long: a change reached only some.",
            "loop_deaths_total": "More than once or twice: the log has the traceback.",
            "event_loop_delay_seconds": (
                "p90 above 25 ms: the core is full, or something holds it up. Add replicas."
            ),
        },
    ),
    Area(
        "Requests",
        "What clients feel. Routes are those of the route table; all other paths count as one.",
        {
            "http_request_duration_seconds": (
                "p99 of `/sdk/v2/vardata` above 100 ms, or any lasting share of `5xx`."
            ),
            "http_server_requests_seconds": (
                "For dashboards of the official proxy; prefer the histogram above, which can be"
                " added up over replicas."
            ),
            "http_server_requests_seconds_max": (
                "Seconds: see what that route had to do. It never falls before a restart."
            ),
            "http_server_requests_active": "Rising without end: clients wait; look at the delay.",
            "request_total": "Zero while clients should be there.",
            "request_error_total": "A jump: the histogram by status says which kind.",
            "evaluation_request_total": NEVER,
            "evaluation_request_error_total": (
                "A jump of 401: a key was changed. Of 503: flags are not here."
            ),
            "get_flags_request_total": NEVER,
            "get_flags_request_error_total": "As for evaluation requests.",
            "get_cohort_request_total": NEVER,
            "get_cohort_request_error_total": "Lasting: SDKs evaluate with older cohorts.",
            "get_members_request_total": NEVER,
            "get_members_request_error_total": "As for evaluation requests.",
            "evaluation_total": NEVER,
            "evaluation_failure_total": "Above 0: a defect; the log has it.",
            "evaluation_duration_seconds": "p99 above 1 ms: large flags, or a slow pattern.",
            "regex_timeouts_total": "Above 0: rewrite the pattern of that flag.",
            "rejected_requests_total": (
                "`unknown_deployment` rising: a client has an old key. `error`: a defect."
            ),
            "downloads_active": "Near its bound for long: SDKs with local evaluation start late.",
            "downloads_cut_total": "`damaged`: the disk. `client_left`: slow or impatient clients.",
            "unsafe_answers_total": "Above 0: the disk is too slow for `commitMillis` 0.",
            "answer_cache_hits_total": "Low against misses: the cache costs memory for little.",
            "answer_cache_misses_total": NEVER,
            "answer_cache_evictions_total": "As fast as misses: the cache is too small to help.",
            "answer_cache_answers": NEVER,
            "answer_cache_bytes": NEVER,
        },
    ),
    Area(
        "Flags",
        "Whatever stands here, evaluation goes on with the last good flags.",
        {
            "snapshot_age_seconds": "Above 900: Amplitude has not been heard of for that long.",
            "snapshot_info": "Replicas with different versions for more than a minute or two.",
            "flags": "A sudden fall: somebody undeployed flags.",
            "flags_left_out": "Above 0: `/status` names the flags and why.",
            "sync_outcomes_total": "Any outcome but success at a lasting rate.",
            "stream_connected": "0 for half an hour: changes come by polling only.",
            "compile_duration_seconds": "Above a second: it holds up requests meanwhile.",
            "deployments_fetch_total": NEVER,
            "deployments_fetch_failure_total": "Lasting: new deployments are not found.",
            "flags_fetch_total": NEVER,
            "flags_fetch_failure_total": "Lasting: the age of the flags tells how bad it is.",
        },
    ),
    Area(
        "Cohorts",
        "Flags that target a cohort wait for it, for up to `cohortWaitMillis`.",
        {
            "cohorts": "`missing` above 0, or `loading` for more than minutes.",
            "cohort_members": "A sudden fall: the cohort was redefined upstream.",
            "cohort_oldest_age_seconds": "Above 3600: members come and go unseen.",
            "cohort_load_seconds": "Near the sync interval: cohorts are always behind.",
            "cohort_bytes_total": NEVER,
            "cohort_download_total": NEVER,
            "cohort_download_failure_total": "Lasting: `/status` has Amplitude's answer.",
        },
    ),
    Area(
        "Events",
        "Nothing that was accepted is lost but for the reasons counted here.",
        {
            "events_dropped_total": "Above 0: the reason says which bound or answer it was.",
            "events_total": "`retried` or `held` at a lasting rate: Amplitude does not take them.",
            "events_pending": "Rising for an hour: compare with `events.maxBytes`.",
            "events_pending_bytes": "Near `events.maxBytes`: beyond it events are lost.",
            "events_oldest_age_seconds": "Above 900; near `events.maxAgeMillis` events are lost.",
            "spool_on_disk": "0 with a data directory: a crash loses what waits.",
            "spool_bytes": "Near the free space of the volume.",
            "spool_failures_total": "Above 0: the disk; `/status` has the error.",
            "spool_commit_seconds": "p99 above a second: a slow disk.",
            "event_answers_total": "`offered` without `told` for hours: nothing is reported.",
            "assignment_total": NEVER,
            "assignment_filter_total": NEVER,
            "assignment_send_total": "Zero for long while assignments are offered.",
            "assignment_send_failure_total": "Above 0: see `events_dropped_total`.",
            "exposure_total": NEVER,
            "exposure_filter_total": NEVER,
            "exposure_send_total": "Zero for long while exposures are offered.",
            "exposure_send_failure_total": "Above 0: see `events_dropped_total`.",
        },
    ),
    Area(
        "Offline",
        "Only with `offline.path`; see [offline](offline.md).",
        {
            "offline_ok": "0 for minutes: what was put there is refused; `/status` says why.",
            "offline_age_seconds": "Above the time in which snapshots should arrive.",
            "offline_reads_total": "Any other outcome than `changed` and `unchanged`.",
            "offline_events_not_taken_total": (
                "Above 0 where events matter: `offline.events: keep` lets them wait."
            ),
        },
    ),
    Area(
        "The data directory",
        "What a restart finds again. Trouble here takes nobody out of service.",
        {
            "store_ok": "0 with a data directory: `/status` has the error.",
            "store_bytes": "Near the size of the volume.",
            "store_commits_total": NEVER,
            "store_failures_total": "Rising: the reason is a label.",
            "redis_command_total": "Never: the shared tier is not used yet.",
            "redis_command_failure_total": "Never: the shared tier is not used yet.",
        },
    ),
    Area(
        "Who is turned away",
        "Nothing here moves unless `admission` has bounds.",
        {
            "admission_refused_total": (
                "More than a few per cent of requests: is the address a load balancer that"
                " `admission.trustedProxies` should name?"
            ),
            "admission_would_refuse_total": "Before `admission.logOnly` is switched off.",
            "admission_addresses": NEVER,
            "shed_share": "Above 0 for minutes: add replicas.",
            "client_connections": "`arriving` in the thousands: slow clients, or an attack.",
        },
    ),
    Area(
        "Streams to clients",
        "SDKs that stream flags, and OpenFeature's providers.",
        {
            "client_streams": "A sudden fall: something in front cuts them.",
            "client_stream_messages_total": NEVER,
            "client_stream_bytes_total": NEVER,
            "client_streams_refused_total": "Above 0: those clients poll instead.",
            "client_streams_cut_total": (
                "More than a tenth of the streams in 15 minutes: a proxy in front buffers or cuts."
            ),
            "client_stream_unread_bytes": "Near `streams.maxUnreadBytes`: slow clients are cut.",
            "client_stream_delay_seconds": "p99 of seconds: the process is too busy.",
        },
    ),
    Area(
        "Amplitude's own evaluation",
        "Nothing here moves while `remoteEvaluation.mode` is `off`.",
        {
            "relay_requests_total": (
                "`failed` or `open` at a lasting rate; many `failed` with calls that take as long"
                " as `remoteEvaluation.timeoutMillis`: it is too short."
            ),
            "relay_call_seconds": "p95 near `remoteEvaluation.timeoutMillis`.",
            "relay_kept_bytes": NEVER,
            "relay_resting": "Above 0 for minutes: `/status` has the reason.",
        },
    ),
    Area(
        "Pages",
        "Web experiments: flags, scripts and previews.",
        {
            "web_evaluation_duration_seconds": "p99 above a few milliseconds.",
            "web_answers_total": "`stale`, `fallback` or `failed`: Amplitude does not answer.",
            "web_calls_total": "`held_back`: too many at once, or all of them fail.",
            "web_kept_bytes": NEVER,
        },
    ),
    Area(
        "OpenTelemetry",
        "Only with `otel.enabled`; `/status` says what is wrong with the collector.",
        {
            "otel_spans_total": (
                "`dropped` rising: the collector is slow or down; `failed`: it takes no such span."
            ),
            "otel_spans_pending": "Thousands for minutes: as for `dropped`.",
            "otel_exports_total": "`failed` rising: the collector is down, or refuses us.",
        },
    ),
    Area(
        "TLS",
        "Only with `tls.certFile`.",
        {
            "tls_certificate_expiry_timestamp_seconds": "Less than a week ahead.",
            "tls_reloads_total": "`failed` as the last word: the new files do not fit together.",
        },
    ),
)
