"""`evaluation-proxy`: parse, do, return the exit code."""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import yaml

from proxy import __version__, logs
from proxy.cli.asking import own_base, own_login
from proxy.cli.evaluate import InputMistake, evaluate, read_flags, read_user
from proxy.cli.exits import DIED, DONE, WRONG_INPUT
from proxy.cli.lines import Lines
from proxy.cli.probe import own_url, probe
from proxy.cli.snapshot_options import add_snapshot
from proxy.cli.status import Look, add_status, login_of, show, target
from proxy.cli.terminal import harmless
from proxy.errors import SettingsError
from proxy.secret import Secret
from proxy.settings.load import load, load_operators_port
from proxy.settings.schema import OperatorsPort, Settings
from proxy.settings.source import Source

SANDBOX_FILE = "config/sandbox.yaml"
MOST_PORT = 65_535
VARIABLES = {
    "offline": "AMPLITUDE_OFFLINE_PATH",
    "verify_key": "AMPLITUDE_OFFLINE_VERIFY_KEY_FILE",
    "unsigned": "AMPLITUDE_OFFLINE_UNSIGNED",
}
"""Options that stand for settings: they win over the file and the environment."""

CHOSEN = (
    ("metrics", "bearerToken"),
    ("metrics", "basicPassword"),
    ("redis", "uri"),
    ("redis", "readOnlyUri"),
    ("otel", "headers"),
)
"""Secrets that people may have thought up: from a hash of such a one it could be guessed."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return 0, 1 (died, or lines failed), 2 (wrong input) or 3 (not started)."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.command(options))
    except SettingsError as error:
        return _complain("the configuration cannot be used:", *error.mistakes)
    except InputMistake as error:
        return _complain(str(error))
    except BrokenPipeError:
        # Whoever read our output has left; there is nobody to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE


def _serve(options: argparse.Namespace) -> int:
    # One that comes before the proxy can follow it must not end it.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    source = Source(_environ(options), options.config)
    settings = source.load()
    logs.configure(level=settings.log.level, style=settings.log.format)
    for notice in settings.notices:
        logs.get("cli").warning("note on the configuration", note=notice)
    # Most of the program: who only asks how it is need not wait for it.
    from proxy.run.serve import main as serve_proxy  # noqa: PLC0415

    return serve_proxy(settings, source=source)


def _check(options: argparse.Namespace) -> int:
    settings = _settings(options)
    for notice in settings.notices:
        _print(f"note: {notice}")
    _print("ok; the settings in force:")
    told = msgspec.to_builtins(settings, enc_hook=_hide)
    for part, name in CHOSEN:
        told[part][name] = told[part][name] and "(secret)"
    _print(yaml.safe_dump(told, sort_keys=False).rstrip())
    return DONE


def _sandbox(options: argparse.Namespace) -> int:
    from proxy.cli import demo  # noqa: PLC0415  the proxy itself starts without it

    logs.configure(level="INFO", style="console")
    return demo.main(
        demo.Demo(
            file=options.file,
            host=options.host,
            port=options.port,
            with_proxy=options.with_proxy,
            proxy_port=options.proxy_port,
            operators_port=options.operators_port,
        )
    )


def _evaluate(options: argparse.Namespace) -> int:
    if options.lines:
        failures = Lines().run(sys.stdin.buffer, sys.stdout.buffer)
        return DIED if failures else DONE
    if options.flags is None or options.user is None:
        raise InputMistake("evaluate needs --flags and --user (or --lines)")
    deployment = read_flags(options.flags)
    for problem in deployment.problems:
        sys.stderr.write(harmless(f"left out {problem.flag_key}: {problem.reason}") + "\n")
    keys = tuple(key for name in (options.flag_keys or "").split(",") if (key := name.strip()))
    for key in keys:
        if key not in deployment.flags:
            sys.stderr.write(harmless(f"there is no flag {key}") + "\n")
    user = read_user(options.user)
    _print(evaluate(deployment, user, keys, explain=options.explain, as_json=options.json))
    return DONE


def _probe(options: argparse.Namespace) -> int:
    if options.url is not None:
        is_well, says = probe(options.url, options.timeout, options.key_file)
    else:
        port = _operators_port(options)
        url = own_url(port, only_live=options.live)
        is_well, says = probe(url, options.timeout, options.key_file, own_login(port))
    _print(says)
    return DONE if is_well else DIED


def _status(options: argparse.Namespace) -> int:
    login = login_of(options.token_file, options.user, options.password_file)
    base = options.url and target(options.url)
    # A credential of ours goes nowhere else, unless the configuration is named for it.
    if base is None or options.config is not None:
        port = _operators_port(options)
        base, login = base or own_base(port), login or own_login(port)
    return show(
        Look(
            base=base,
            login=login,
            seconds=options.timeout,
            as_json=options.json,
            no_color=options.no_color or bool(os.environ.get("NO_COLOR")),  # noqa: TID251  no setting
            every=options.watch,
        )
    )


def _operators_port(options: argparse.Namespace) -> OperatorsPort:
    return load_operators_port(os.environ, options.config)  # noqa: TID251  handed on to settings


def _snapshot(options: argparse.Namespace) -> int:
    from proxy.cli import snapshot  # noqa: PLC0415  the proxy itself starts without it

    return snapshot.run(options, lambda given: _settings(given).data_dir)


def _settings(options: argparse.Namespace) -> Settings:
    return load(_environ(options), options.config)


def _environ(options: argparse.Namespace) -> Mapping[str, str]:
    """Return the environment, as the options for it would have it."""
    given = {name: getattr(options, option, None) for option, name in VARIABLES.items()}
    said = {name: str(value) for name, value in given.items() if value}
    return {**os.environ, **said}  # noqa: TID251  handed on to settings, its one reader


def _hide(value: object) -> str:
    if isinstance(value, Secret):
        return f"(secret {value.label})"
    raise NotImplementedError


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")


def _port(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text, re.ASCII) or not 0 < int(text) <= MOST_PORT:
        raise argparse.ArgumentTypeError(f"expected a port from 1 to {MOST_PORT}, got {text!r}")
    return int(text)


def _port_or_any(text: str) -> int:
    return 0 if text == "0" else _port(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 600:
        raise argparse.ArgumentTypeError(f"expected seconds up to 600, got {text!r}")
    return seconds


def _complain(*sentences: str) -> int:
    sys.stderr.write("\n".join(sentences) + "\n")
    return WRONG_INPUT


def _add_probe(commands: Any) -> None:
    asking = commands.add_parser("probe", help="ask a running proxy whether it is ready")
    asking.add_argument(
        "url", nargs="?", metavar="URL", help="default: /readyz of the operators' port, here"
    )
    asking.add_argument("--config", metavar="FILE", help="the configuration that names that port")
    asking.add_argument("--live", action="store_true", help="only whether it lives: /livez")
    asking.add_argument(
        "--key-file", metavar="FILE", help="send this deployment key, and expect variants"
    )
    asking.add_argument("--timeout", type=_seconds, default=5.0, help="default: %(default)s")
    asking.set_defaults(command=_probe)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="evaluation-proxy", description="An edge proxy for Amplitude Experiment."
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    serve = commands.add_parser("serve", help="run the proxy")
    check = commands.add_parser("check", help="check the configuration and show what is in force")
    for command, does in ((serve, _serve), (check, _check)):
        command.add_argument("--config", metavar="FILE", help="the configuration, YAML or JSON")
        command.add_argument(
            "--offline", metavar="PATH", help="serve a data directory, snapshot or file of flags"
        )
        command.add_argument("--verify-key", metavar="FILE", help="public keys for a snapshot, PEM")
        command.add_argument("--unsigned", action="store_true", help="take any snapshot")
        command.set_defaults(command=does)

    sandbox = commands.add_parser("sandbox", help="run a stand-in for Amplitude from a YAML file")
    sandbox.add_argument("--file", default=SANDBOX_FILE, help="default: %(default)s")
    sandbox.add_argument("--host", default="127.0.0.1", help="default: %(default)s")
    sandbox.add_argument(
        "--port", type=_port_or_any, default=3547, help="0 is any; default: %(default)s"
    )
    sandbox.add_argument("--with-proxy", action="store_true", help="run the proxy beside it")
    sandbox.add_argument("--proxy-port", type=_port, default=3546, help="default: %(default)s")
    sandbox.add_argument("--operators-port", type=_port, default=9090, help="default: %(default)s")
    sandbox.set_defaults(command=_sandbox)

    once = commands.add_parser("evaluate", help="evaluate without a server")
    once.add_argument("--flags", metavar="FILE", help="flags: JSON as served, or a sandbox's YAML")
    once.add_argument("--user", metavar="JSON", help="the user as JSON")
    once.add_argument("--flag-keys", metavar="A,B", help="only these flags (and what they need)")
    once.add_argument("--explain", action="store_true", help="show what led to each variant")
    once.add_argument("--json", action="store_true", help="with --explain: the trace as JSON")
    once.add_argument("--lines", action="store_true", help="JSON lines from standard input")
    once.set_defaults(command=_evaluate)

    _add_probe(commands)
    add_status(commands, _seconds, _status)
    add_snapshot(commands, _snapshot)
    return parser
