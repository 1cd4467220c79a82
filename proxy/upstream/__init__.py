"""Whom we ask: Amplitude, over HTTP, one module per endpoint.

The only HTTP client of the house lives here, and the only place that knows its errors: above it
one sees `UpstreamUnavailable`, `UpstreamRefused` and `UpstreamGarbled`. Nothing here decides when
to ask, keeps what came, or repeats by itself. Keys are revealed here, on the wire, and never in
an error or a log line.

Words: an *answer* is one response read to its end; a *stream* is one that does not end; a
*message* is what an event stream says at a time.
"""
