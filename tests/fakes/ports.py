"""Ports that stay a test's own while nobody listens there."""

import socket


def reserve() -> socket.socket:
    """Keep a port for those who come and go: nobody else gets it, and nobody listens here."""
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", 0))
    return held
