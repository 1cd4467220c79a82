"""What the client edge adds: Amplitude's own answers, streams, pages."""

from __future__ import annotations

from proxy.instruments import EVALUATION_SECONDS, LATENCY_SECONDS, PREFIX, LoopHistogram
from proxy.measures.registered import Registered


class Edge(Registered):
    """What the client edge adds: Amplitude's own answers, streams, pages."""

    def _relay(self) -> None:
        self.relay_requests = self._counter(
            "relay_requests",
            "Requests that needed Amplitude's evaluation, by outcome: hit (kept from before), miss"
            " (asked), joined (shared another's call), failed, refused, open (not asked for now).",
            "outcome",
        )
        for outcome in ("hit", "miss", "joined", "failed", "refused", "open"):
            self.relay_requests.labels(outcome)
        self.relay_call_seconds = self._histogram(
            "relay_call_seconds", "Time of calls of remote evaluation.", LATENCY_SECONDS
        )
        self.relay_kept_bytes = self._gauge(
            "relay_kept_bytes", "Bytes of Amplitude's answers that are kept."
        )
        self.relay_resting = self._gauge(
            "relay_resting", "Deployments for which remote evaluation rests after failures."
        )

    def _stream(self) -> None:
        self.client_streams = self._gauge("client_streams", "Streams to clients.", "deployment")
        self.client_stream_messages = self._counter(
            "client_stream_messages",
            "Messages to streaming clients: flags, variants or keep_alive.",
            "kind",
        )
        self.client_stream_bytes = self._counter(
            "client_stream_bytes", "Bytes of the messages to streaming clients."
        )
        self.client_streams_refused = self._counter(
            "client_streams_refused",
            "Streams answered 503: too many (full), or their turn came too late (late).",
            "reason",
        )
        self.client_streams_cut = self._counter(
            "client_streams_cut",
            "Streams cut because the client did not read: nothing at all between two keep-alives"
            " (stalled), or for the longest time when too much waited (unread).",
            "reason",
        )
        self.client_stream_unread_bytes = self._gauge(
            "client_stream_unread_bytes", "Bytes that slow streaming clients have not taken yet."
        )
        self.client_stream_delay = LoopHistogram(
            PREFIX + "client_stream_delay_seconds",
            "Time from a change of flags to its message on a stream, for each stream.",
            LATENCY_SECONDS,
        )
        self.registry.register(self.client_stream_delay)

    def _web(self) -> None:
        web_evaluation_seconds = LoopHistogram(
            PREFIX + "web_evaluation_duration_seconds",
            "Time to resolve a deployment's web flags for a user.",
            EVALUATION_SECONDS,
        )
        self.registry.register(web_evaluation_seconds)
        self.web_evaluation_seconds = web_evaluation_seconds.labels()
        self.web_answers = self._counter(
            "web_answers",
            "Answers to pages that come from Amplitude (flags, scripts, previews), by outcome: hit"
            " (kept and fresh), miss (asked for), stale (kept; Amplitude did not answer), fallback"
            " (resolved here instead), failed.",
            "what",
            "outcome",
        )
        self.web_calls = self._counter(
            "web_calls",
            "Calls to Amplitude for pages, by outcome: answered, unchanged, refused, failed, or"
            " held_back (not made: too many, or all fail).",
            "what",
            "outcome",
        )
        self.web_kept_bytes = self._gauge(
            "web_kept_bytes", "Bytes of Amplitude's answers to pages that are kept.", "what"
        )
