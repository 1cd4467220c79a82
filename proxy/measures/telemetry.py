"""What becomes of traces and metrics on their way to a collector."""

from __future__ import annotations

from proxy.measures.registered import Registered


class Telemetry(Registered):
    """What becomes of traces and metrics on their way to a collector."""

    def _send_telemetry(self) -> None:
        self.otel_spans = self._counter(
            "otel_spans",
            "Spans by what became of them: sent, dropped (too many waited) or failed (the"
            " collector did not take them).",
            "outcome",
        )
        self.otel_spans_pending = self._gauge(
            "otel_spans_pending", "Spans waiting to be sent to the collector."
        )
        self.otel_exports = self._counter(
            "otel_exports",
            "Requests to the OpenTelemetry collector by signal (traces, metrics) and outcome: sent"
            " or failed.",
            "signal",
            "outcome",
        )
