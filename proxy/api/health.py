"""What probes and people ask the clients' port: is it there, is it ready."""

from __future__ import annotations

from collections.abc import Callable

from proxy.api.messages import JSON, TEXT, Request, Response, unavailable

OK = Response(200, b"OK", TEXT)
HERE = Response(200, b"Amplitude Experiment evaluation proxy\n", TEXT)
READY = Response(200, b'{"ready":true}', JSON)


class Health:
    """Answers probes; `is_ready` tells whether requests should come here."""

    def __init__(self, is_ready: Callable[[], bool]) -> None:
        self._is_ready = is_ready

    def status(self, _request: Request) -> Response:
        """Answer `OK` as long as the process can serve."""
        return OK

    def root(self, _request: Request) -> Response:
        """Say what this is."""
        return HERE

    def ready(self, _request: Request) -> Response:
        """Answer 200 when ready, else 503; the reasons are on the operators' port."""
        return READY if self._is_ready() else unavailable("Not ready")
