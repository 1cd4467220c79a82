"""The options of `evaluation-proxy snapshot`; what does the work is loaded when it is asked for."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, Final

MOST_BYTES: Final = 1 << 36


def add_snapshot(commands: Any, does: Callable[[argparse.Namespace], int]) -> None:
    """Add the command and its actions to a parser."""
    snapshot = commands.add_parser("snapshot", help="carry flags and cohorts to another site")
    snapshot.set_defaults(command=does)
    actions = snapshot.add_subparsers(required=True, metavar="ACTION", dest="action")

    out = actions.add_parser("export", help="write what a data directory holds to a signed file")
    out.add_argument("--config", metavar="FILE", help="the configuration that names dataDir")
    out.add_argument("--data-dir", metavar="DIR", help="the data directory; a proxy may use it")
    out.add_argument("--out", metavar="FILE", required=True, help="replaced in one step")
    out.add_argument("--sign-key", metavar="FILE", required=True, help="the private key, PEM")

    into = actions.add_parser("import", help="let a data directory hold what such a file holds")
    into.add_argument("file", metavar="FILE")
    into.add_argument("--config", metavar="FILE", help="the configuration that names dataDir")
    into.add_argument("--data-dir", metavar="DIR", help="the data directory, made if need be")
    into.add_argument("--verify-key", metavar="FILE", required=True, help="public keys, PEM")
    into.add_argument("--force", action="store_true", help="also if it is older, or empty")
    into.add_argument(
        "--max-bytes",
        type=int,
        default=MOST_BYTES,
        help="refuse what unpacks to more; default: %(default)s",
    )

    look = actions.add_parser("inspect", help="say what such a file holds, and check it")
    look.add_argument("file", metavar="FILE")
    look.add_argument("--verify-key", metavar="FILE", help="public keys, PEM")
    look.add_argument("--json", action="store_true", help="all of it, as JSON")

    keygen = actions.add_parser("keygen", help="make a pair of keys")
    keygen.add_argument(
        "--out", metavar="NAME", default="snapshot", help="NAME.key and NAME.pub; %(default)s"
    )
