"""A port that answers what a test says."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

Answers = dict[str, tuple[int, bytes]]
Served = tuple[str, Answers, list[dict[str, Any]]]


@contextmanager
def answering() -> Iterator[Served]:
    """Serve; the body of a redirection is where it leads to. What has no answer is not there."""
    answers: Answers = {}
    asked: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(dict(self.headers))
            status, body = answers.get(self.path.partition("?")[0], (404, b"{}"))
            self.send_response(status)
            if status // 100 == 3:
                self.send_header("Location", body.decode())
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", answers, asked
        finally:
            server.shutdown()
            thread.join()
