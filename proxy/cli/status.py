"""`status`: what the status page shows of a running proxy, in a terminal."""

from __future__ import annotations

import argparse
import re
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import msgspec

from proxy.cli.asking import NOBODY, NoAnswer, ask, basic, bearer, checked, secret_of
from proxy.cli.evaluate import InputMistake
from proxy.cli.exits import DIED, DONE, NO_ANSWER
from proxy.cli.seen import Changes, Readiness, Seen, Status, Traffic
from proxy.cli.sheet import sheet
from proxy.cli.terminal import Terminal, escaped, harmless
from proxy.cli.verdict import Verdict, judge

MOST_BYTES: Final = 64 * 1_048_576
NARROWEST, WIDEST = 80, 132
HOME, REST_OF_LINE, REST = "\x1b[H", "\x1b[K", "\x1b[J"
Said = TypeVar("Said")


@dataclass(frozen=True, kw_only=True)
class Look:
    """Where to look, with which credential, and how to show what is there."""

    base: str
    login: Mapping[str, str]
    seconds: float
    as_json: bool
    no_color: bool
    every: float | None


def add_status(
    commands: Any, seconds: Callable[[str], float], run: Callable[[argparse.Namespace], int]
) -> None:
    """Add the command to the parser; `seconds` reads a span of time."""
    command = commands.add_parser("status", help="show how a running proxy is")
    command.add_argument(
        "--url", metavar="URL", help="the operators' port; default: that of the configuration"
    )
    command.add_argument(
        "--config", metavar="FILE", help="the configuration that names the port and its credential"
    )
    command.add_argument("--token-file", metavar="FILE", help="log in with the token it holds")
    command.add_argument("--user", metavar="NAME", help="log in by name, with --password-file")
    command.add_argument("--password-file", metavar="FILE", help="the file of that password")
    command.add_argument("--json", action="store_true", help="everything, for programs")
    command.add_argument(
        "--watch", metavar="SECONDS", type=seconds, help="look again and again, until Ctrl-C"
    )
    command.add_argument("--no-color", action="store_true", help="no colours; NO_COLOR does it too")
    command.add_argument("--timeout", type=seconds, default=5.0, help="default: %(default)s")
    command.set_defaults(command=run)


def login_of(
    token_file: str | None, user: str | None, password_file: str | None
) -> Mapping[str, str]:
    """Return the header for the credential on the command line; raises InputMistake."""
    if (user is None) != (password_file is None):
        raise InputMistake("--user and --password-file go together")
    if token_file is not None and user is not None:
        raise InputMistake("give --token-file, or --user with --password-file, not both")
    if token_file is not None:
        return bearer(secret_of(token_file, "token"))
    if user is not None and password_file is not None:
        return basic(user, secret_of(password_file, "password"))
    return NOBODY


def show(look: Look) -> int:
    """Look once, or again and again; return the exit code of the last look."""
    if look.every is None:
        return _show_once(look, _terminal(look))
    code = DONE
    clears = sys.stdout.isatty() and not look.as_json
    try:
        while True:
            code = _show_once(look, _terminal(look), clears=clears)
            time.sleep(look.every)
    except KeyboardInterrupt:
        return code


def _show_once(look: Look, terminal: Terminal, *, clears: bool = False) -> int:
    try:
        seen = see(look)
    except NoAnswer as reason:
        told = f"{look.base}: no answer: {harmless(str(reason))}"
        line = json_line({"url": look.base, "no_answer": str(reason)})
        _write(line if look.as_json else told, clears=clears)
        return NO_ANSWER
    verdict = judge(seen)
    if look.as_json:
        _write(json_line(_everything(seen, verdict), indented=look.every is None), clears=clears)
    else:
        _write(sheet(seen, verdict, terminal).rstrip("\n"), clears=clears)
    return DONE if verdict.is_well else DIED


def see(look: Look) -> Seen:
    """Ask for everything; raises NoAnswer, or InputMistake when the credential does not open."""
    raw = {name: _fetch(look, path) for name, path in PATHS.items()}
    return Seen(
        url=look.base,
        readiness=_read(raw["ready"], Readiness),
        status=_read(raw["status"], Status),
        traffic=_read(raw["traffic"] or {}, Traffic),
        changes=_read(raw["changes"] or {}, Changes),
        raw=raw,
    )


PATHS: Final = {
    "ready": "/readyz",
    "status": "/status",
    "traffic": "/status/traffic",
    "changes": "/status/changes",
}
OPTIONAL: Final = frozenset({"/status/traffic", "/status/changes"})


def _fetch(look: Look, path: str) -> Any:
    status, body = ask(look.base + path, look.seconds, look.login, MOST_BYTES)
    if status == 404 and path in OPTIONAL:
        return None
    if status in (401, 403):
        raise InputMistake(f"{harmless(look.base)} refuses: {_refusal(body)}{_hint(status)}")
    if status != 200 and not (path == "/readyz" and status == 503):
        raise NoAnswer(f"{path} is answered with {status}: is this the operators' port?")
    try:
        return msgspec.json.decode(body)
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        raise NoAnswer(
            f"{path} is not answered as a proxy does: is this the operators' port?"
        ) from None


def _hint(status: int) -> str:
    return "; give --token-file, or --user with --password-file" if status == 401 else ""


def _refusal(body: bytes) -> str:
    try:
        said = msgspec.json.decode(body, type=dict[str, Any]).get("error")
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        said = None
    return harmless(said)[:200] if isinstance(said, str) else "without a reason"


def _read(value: Any, kind: type[Said]) -> Said:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError:
        raise NoAnswer("the answer is not a proxy's: is this the operators' port?") from None


def _everything(seen: Seen, verdict: Verdict) -> dict[str, Any]:
    judged = {"url": seen.url, "well": verdict.is_well}
    return {**judged, "alarms": verdict.alarms, "notes": verdict.notes, **seen.raw}


def json_line(value: Any, *, indented: bool = False) -> str:
    """Return a value as JSON in ASCII: no text in it can steer a terminal."""
    encoded = msgspec.json.encode(value)
    text = (msgspec.json.format(encoded, indent=2) if indented else encoded).decode()
    return re.sub(r"[^\n -~]", lambda found: escaped(found[0]), text)


def _terminal(look: Look) -> Terminal:
    out = sys.stdout
    if not out.isatty():
        return Terminal(NARROWEST, unicode=_has_unicode())
    columns = min(max(shutil.get_terminal_size().columns, NARROWEST), WIDEST)
    return Terminal(columns, colour=not look.no_color, unicode=_has_unicode())


def _has_unicode() -> bool:
    return (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"


def _write(text: str, *, clears: bool) -> None:
    if clears:
        text = HOME + text.replace("\n", REST_OF_LINE + "\n") + REST_OF_LINE + "\n" + REST
    else:
        text += "\n"
    sys.stdout.write(text)
    sys.stdout.flush()


def target(url: str) -> str:
    """Return the URL of an operators' port without what may have been copied with it."""
    return checked(url).rstrip("/").removesuffix("/status")
