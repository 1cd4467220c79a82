"""What clients' requests cost, and who is turned away."""

from __future__ import annotations

from proxy.instruments import (
    EVALUATION_SECONDS,
    LATENCY_SECONDS,
    PREFIX,
    LoopHistogram,
    RequestTimes,
)
from proxy.measures.registered import Registered


class Serving(Registered):
    """What clients' requests cost, and who is turned away."""

    def _serve(self) -> None:
        self.http_seconds = RequestTimes()
        self.registry.register(self.http_seconds)
        self.ready = self._gauge("ready", "1 while requests should come here, else 0.")
        self.configured = self._gauge(
            "configured",
            "1 when the configuration wants it, else 0: a data directory (data_dir), pushed"
            " changes (stream).",
            "what",
        )
        self.http_active = self._gauge("http_server_requests_active", "Requests being answered.")
        evaluation_seconds = LoopHistogram(
            PREFIX + "evaluation_duration_seconds",
            "Time to evaluate a user and encode the answer.",
            EVALUATION_SECONDS,
        )
        self.registry.register(evaluation_seconds)
        self.evaluation_seconds = evaluation_seconds.labels()
        self.downloads_active = self._gauge("downloads_active", "Cohorts being sent to clients.")
        self.downloads_cut = self._counter(
            "downloads_cut", "Cohorts of which a client got only a part, by reason.", "reason"
        )
        self.tls_expiry = self._gauge(
            "tls_certificate_expiry_timestamp_seconds",
            "When the clients' port's certificate expires, in seconds since 1970; 0 without TLS.",
        )
        self.tls_reloads = self._counter(
            "tls_reloads", "Times that changed TLS files were read: done or failed.", "outcome"
        )
        self.rejected = self._counter(
            "rejected_requests", "Requests that were refused, by reason.", "reason"
        )
        self.operators_refused = self._counter(
            "operators_refused",
            "Requests that the operators' port refused: no_credential, wrong_credential,"
            " foreign_host (asked for by a name that is not this machine's) or cross_site.",
            "reason",
        )
        self.regex_timeouts = self._counter(
            "regex_timeouts", "Pattern matches given up for taking too long.", "flag"
        )

    def _admit(self) -> None:
        self.client_connections = self._gauge(
            "client_connections",
            "Connections of clients: arriving (a part of a request is here), busy (a request is"
            " being answered), held (not listened to for a moment) or idle.",
            "state",
        )
        self.admission_refused = self._counter(
            "admission_refused",
            "Requests and connections turned away, by whose bound it was (address, deployment,"
            " process) and why (rate, unknown_key, connections, queue_delay).",
            "tier",
            "reason",
        )
        self.admission_would_refuse = self._counter(
            "admission_would_refuse",
            "What would have been turned away, had admission not been told to log only.",
            "tier",
            "reason",
        )
        self.admission_addresses = self._gauge(
            "admission_addresses", "Addresses of clients that are remembered."
        )
        self.shed_share = self._gauge(
            "shed_share", "The part of new requests that is turned away because of queue delay."
        )
        self.loop_delay_seconds = LoopHistogram(
            PREFIX + "event_loop_delay_seconds",
            "How long work waits for its turn, measured by a heartbeat.",
            LATENCY_SECONDS,
        )
        self.registry.register(self.loop_delay_seconds)

    def _answer_again(self) -> None:
        self.answer_hits = self._loop_counter(
            "answer_cache_hits", "Evaluation requests that a kept answer was there for."
        )
        self.answer_misses = self._loop_counter(
            "answer_cache_misses", "Evaluation requests that no answer was kept for."
        )
        self.answer_evictions = self._loop_counter(
            "answer_cache_evictions", "Kept answers that gave way to others."
        )
        self.answers = self._gauge("answer_cache_answers", "Answers that are kept.")
        self.answers_bytes = self._gauge(
            "answer_cache_bytes", "Bytes of the answers that are kept."
        )
