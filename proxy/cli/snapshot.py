"""`evaluation-proxy snapshot`: carry what one site knows to a site that cannot ask Amplitude."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from proxy import tasks
from proxy.archives.exporting import export
from proxy.archives.facts import Facts
from proxy.archives.importing import Terms, import_archive
from proxy.archives.inspecting import inspect
from proxy.archives.keys import make_pair, read_signer, read_trusted
from proxy.cli.exits import DIED, DONE
from proxy.errors import ArchiveError
from proxy.run.serve import raise_file_limit
from proxy.sync.cohort_records import KIND as COHORTS
from proxy.sync.cohort_records import Kept as KeptCohort
from proxy.sync.kept import BODY, FlagsMeta

DataDir = Callable[[argparse.Namespace], str | None]
"""Gives the data directory of the configuration that the options name."""


def run(options: argparse.Namespace, data_dir: DataDir) -> int:
    """Do what `options.action` says; return the exit code, 1 when the file was refused."""
    actions: Mapping[str, Callable[[], int]] = {
        "export": lambda: _export(options, data_dir),
        "import": lambda: _import(options, data_dir),
        "inspect": lambda: _inspect(options),
        "keygen": lambda: _keygen(options),
    }
    try:
        return actions[options.action]()
    except ArchiveError as refused:
        sys.stderr.write(f"refused ({refused.reason}): {refused}\n")
        return DIED


def _export(options: argparse.Namespace, data_dir: DataDir) -> int:
    # Each large file is held open until it is written.
    raise_file_limit()
    signer = read_signer(Path(options.sign_key))
    out, directory = Path(options.out), _directory(options, data_dir)
    facts, left_out = export(directory, out, signer, tasks.wall_clock())
    for what in left_out:
        sys.stderr.write(f"left out {what}\n")
    _print(f"{out}: {out.stat().st_size} bytes, signed by {signer.fingerprint}")
    _print(_summary(facts))
    return DONE


def _import(options: argparse.Namespace, data_dir: DataDir) -> int:
    trusted = read_trusted(Path(options.verify_key))
    terms = Terms(trusted, options.max_bytes, force=options.force)
    directory = _directory(options, data_dir)
    done = import_archive(Path(options.file), directory, terms, tasks.wall_clock())
    happened = "holds it now" if done.changed else "held it already"
    _print(f"{directory} {happened}; signed by {done.signer}")
    _print(_summary(done.facts))
    if done.problems:
        sys.stderr.write(f"{done.problems} flags cannot be used as they came\n")
    return DONE


def _inspect(options: argparse.Namespace) -> int:
    trusted = None if options.verify_key is None else read_trusted(Path(options.verify_key))
    facts, signer = inspect(Path(options.file), trusted)
    verified = trusted is not None
    if options.json:
        found = {"signer": signer, "verified": verified, "facts": facts}
        _print(msgspec.json.format(msgspec.json.encode(found)).decode())
        return DONE
    _print(f"made        {_at(facts.made_at)} by {_clean(facts.program)}, id {_clean(facts.id)}")
    _print(f"as of       {_at(facts.as_of)} (Amplitude's last word)")
    _print(f"signed by   {signer}{', verified' if verified else ', NOT verified: no --verify-key'}")
    _print(f"unpacks to  {facts.plain_bytes} bytes")
    for line in _rows(facts):
        _print(line)
    return DONE


def _keygen(options: argparse.Namespace) -> int:
    private, public = Path(f"{options.out}.key"), Path(f"{options.out}.pub")
    try:
        name = make_pair(private, public)
    except OSError as error:
        raise ArchiveError("no_room", f"cannot write {error.filename}: {error.strerror}") from None
    _print(f"{private}  signs; keep it where snapshots are exported, readable by nobody else")
    _print(f"{public}  verifies; it goes to the sites that import ({name})")
    return DONE


def _rows(facts: Facts) -> list[str]:
    names = {one.key: one.label for one in facts.deployments}
    rows = []
    for record in facts.records:
        if record.kind == COHORTS:
            cohort = msgspec.json.decode(record.meta, type=KeptCohort)
            what = f"{cohort.cohort_id}, {cohort.size} members, of type {cohort.group_type}"
            rows.append(_clean(f"cohort      {what}, as of {_at(cohort.confirmed_at)}"))
        else:
            flags = msgspec.json.decode(record.meta, type=FlagsMeta)
            name = f" ({names[record.id]})" if record.id in names else ""
            size = record.files[BODY].plain_size
            what = f"{record.id}{name}, version {flags.version}, {size} bytes"
            rows.append(_clean(f"deployment  {what}, as of {_at(flags.confirmed_at)}"))
    return rows


def _summary(facts: Facts) -> str:
    kinds = [record.kind for record in facts.records]
    flags, cohorts = kinds.count("flags"), kinds.count("cohorts")
    return f"flags of {flags} deployments, {cohorts} cohorts, as of {_at(facts.as_of)}"


def _directory(options: argparse.Namespace, data_dir: DataDir) -> Path:
    found = options.data_dir or data_dir(options)
    if found is None:
        raise ArchiveError("unreadable", "the configuration has no dataDir; name one by --data-dir")
    return Path(found)


def _at(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):
        return f"{seconds:g} s after 1970"


def _clean(text: str) -> str:
    # What was signed by a stranger must not move the cursor.
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")
