"""Traces and metrics for an OpenTelemetry collector: what is told of a request, and its sending.

`attributes` is the whole of what a span may say. Nothing of OpenTelemetry's own is loaded before
`encoding` is, and that is only where it is switched on.

Words: a *span* is one request or call with its beginning and end; a *trace* is all spans that one
request led to; *sampled* is what is recorded at all.
"""
