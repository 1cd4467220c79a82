"""Snapshots and offline serving by the real program: killed, carried, served."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from proxy.sandbox.server import API_KEY, SECRET_KEY, SERVER_KEY
from proxy.secret import Secret
from tests.archives.rig import NOW, exported, files_in, filled, flags_of, held, let_in, pair, same
from tests.archives.test_archives import OTHER, large_packed
from tests.system.programs import ROOT, Pair, Program, call, get_json, wait_for

pytestmark = pytest.mark.system
LARGE = 24 << 20
FLAGS = """
flags: {plain: {serve: on}, beta: {segments: [{when: in cohort testers, serve: on}]}}
cohorts: {testers: [ada]}
"""


def wait_until_larger(program: Program, folder: Path, size: int) -> bool:
    """Wait until a file in the folder has so many bytes; False when the program ended before."""
    while program.process.poll() is None:
        for path in folder.iterdir():
            try:
                if path.stat().st_size >= size:
                    return True
            except FileNotFoundError:
                continue
        time.sleep(0.001)
    return False


@pytest.mark.parametrize("part", [0.01, 0.5, 1.0])
def test_a_kill_in_the_middle_of_an_import_leaves_the_old_state(
    tmp_path: Path, part: float
) -> None:
    keys, site = pair(tmp_path), filled(tmp_path / "site", OTHER, NOW - 500)
    source = filled(tmp_path / "source")
    large_packed(source, LARGE)
    path = exported(source, keys)
    before = flags_of(held(site))

    arguments = ("import", str(path), "--data-dir", str(site), "--verify-key", str(keys.public))
    with Program(tmp_path, "snapshot", *arguments) as program:
        arrived = wait_until_larger(program, site / "files", int(LARGE * part))
        killed = program.stop(signal.SIGKILL) == -signal.SIGKILL

    if killed and part < 1.0:
        assert arrived
        assert flags_of(held(site)) == before
        assert max(one.stat().st_size for one in (site / "files").iterdir()) >= LARGE * part
    else:
        # The last moments may have been enough; then all of it is there.
        assert flags_of(held(site)) in (before, flags_of(held(source)))
    let_in(path, site, keys)
    assert flags_of(held(site)) == flags_of(held(source))
    assert sum(one.stat().st_size for one in (site / "files").iterdir()) < LARGE * 1.1


def test_a_disk_that_takes_no_more_leaves_everything_as_it_was(tmp_path: Path) -> None:
    keys, site = pair(tmp_path), filled(tmp_path / "site", OTHER, NOW - 500)
    source = filled(tmp_path / "source")
    large_packed(source, 4 << 20)
    path = exported(source, keys)
    before, good, there = flags_of(held(site)), path.read_bytes(), files_in(site)

    for action in (
        f"import {path} --data-dir {site} --verify-key {keys.public}",
        f"export --data-dir {source} --out {path} --sign-key {keys.private}",
    ):
        # No file may be longer than a megabyte.
        command = f"ulimit -f 1024; exec {sys.executable} -m proxy snapshot {action}"
        done = subprocess.run(
            ["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 1, done.stderr
        assert done.stderr.startswith("refused (no_room): ")

    assert flags_of(held(site)) == before
    assert files_in(site) == there
    assert path.read_bytes() == good
    assert [one.name for one in tmp_path.iterdir() if one.name.startswith(".")] == []


def go_offline(site: Pair, **offline: Any) -> dict[str, Any]:
    """The configuration of a site that has no way to Amplitude, nor its management key."""
    config = site.config()
    nowhere = "http://127.0.0.1:9"
    urls = {name: nowhere for name in config["configuration"] if name.endswith("ServerUrl")}
    config["configuration"] |= urls | {"serverUrl": nowhere, "offline": offline}
    config["projects"] = [
        {"apiKey": API_KEY, "secretKey": SECRET_KEY, "deploymentKeys": [SERVER_KEY]}
    ]
    site.config_file.write_text(json.dumps(config))
    return config


def test_options_serve_a_file_of_flags_on_a_development_machine(tmp_path: Path) -> None:
    here = Pair(tmp_path, FLAGS)
    go_offline(here)
    arguments = ("--config", str(here.config_file), "--offline", str(here.flag_file))
    with Program(tmp_path, "serve", *arguments) as program:
        wait_for(lambda: call(f"{here.operators}/readyz")[0] == 200, "ready proxy")
        assert here.variants({"user_id": "ada"})["beta"]["key"] == "on"
        here.flag_file.write_text(FLAGS.replace("[ada]", "[bob]"))
        wait_for(lambda: here.variants({"user_id": "ada"})["beta"]["key"] == "off", "change")
        assert program.stop() == 0


def test_a_directory_that_is_served_can_be_imported_into(tmp_path: Path) -> None:
    here, keys = Pair(tmp_path, FLAGS), pair(tmp_path)
    site = tmp_path / "site"
    let_in(exported(filled(tmp_path / "one"), keys), site, keys)
    newer = exported(filled(tmp_path / "two", OTHER, NOW - 1), keys)
    config = go_offline(here, path=str(site), pollMillis=100)
    config["projects"] = [
        {"apiKey": "an-api-key", "secretKey": "s", "deploymentKeys": ["server-key-one"]}
    ]
    here.config_file.write_text(json.dumps(config))
    with here.serve():
        assert here.variants({}, "server-key-one")["plain"]["key"] == "on"
        let_in(newer, site, keys)
        wait_for(lambda: "more" in here.variants({}, "server-key-one"), "new flags")
    assert same(held(site), held(tmp_path / "two"))


def test_a_deployment_key_that_is_added_is_served_as_well(tmp_path: Path) -> None:
    here, site = Pair(tmp_path, FLAGS), filled(tmp_path / "site")
    config = go_offline(here, path=str(site), pollMillis=100)
    project = {"apiKey": "an-api-key", "secretKey": "s", "deploymentKeys": ["server-key-one"]}
    config["projects"] = [project]
    here.config_file.write_text(json.dumps(config))
    key = {"Authorization": "Api-Key server-key-two"}
    with here.serve() as program:
        assert call(f"{here.proxy}/sdk/v2/vardata", {}, key)[0] == 401
        project["deploymentKeys"] = ["server-key-one", "server-key-two"]
        here.config_file.write_text(json.dumps(config))
        program.process.send_signal(signal.SIGHUP)
        wait_for(lambda: call(f"{here.proxy}/sdk/v2/vardata", {}, key)[0] == 200, "second key")
        assert here.variants({}, "server-key-one")["plain"]["key"] == "on"

        # Another project takes its place: its cohorts are not those of the snapshot.
        other = {"apiKey": "another", "secretKey": "s", "deploymentKeys": ["server-key-two"]}
        config["projects"] = [other]
        here.config_file.write_text(json.dumps(config))
        old = {"Authorization": "Api-Key server-key-one"}
        wait_for(lambda: call(f"{here.proxy}/sdk/v2/vardata", {}, old)[0] == 401, "farewell")
        wait_for(lambda: call(f"{here.proxy}/sdk/v2/vardata", {}, key)[0] == 200, "its flags")
        status = get_json(f"{here.operators}/status")
        assert [one["here"] for one in status["cohorts"]] == [0]
        metrics = call(f"{here.operators}/metrics")[1].decode()
        gone = Secret("an-api-key").label
        assert not [line for line in metrics.splitlines() if "cohort" in line and gone in line]
