"""Image, systemd unit and compose file: each agrees with the program that it starts."""

import configparser
import json
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import yaml

import proxy
from proxy.cli.main import _parser
from proxy.sandbox.server import SERVER_KEY
from proxy.settings.load import load
from proxy.settings.schema import Settings
from tests.bill_of_materials import LOCK, bill, pinned
from tests.clients.running import skip_for_lack_of
from tests.deploy.charts import CHART, ROOT
from tests.system.programs import Pair, call, get_json, wait_for

USER = 65532
DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "config" / "compose.yaml").read_text())
PROJECTS = "projects: [{apiKey: a, secretKey: b, managementKey: c}]\n"


def instructions(stage: int) -> list[tuple[str, str]]:
    """The instructions of one stage of the Dockerfile, continued lines joined."""
    lines = re.sub(r"\\\n\s*", "", re.sub(r"^\s*#.*\n", "", DOCKERFILE, flags=re.MULTILINE))
    split = [line.partition(" ") for line in lines.splitlines() if line]
    starts = [at for at, (name, _, _) in enumerate(split) if name == "FROM"] + [len(split)]
    return [(name, rest) for name, _, rest in split[starts[stage] : starts[stage + 1]]]


def only(stage: int, name: str) -> str:
    (found,) = [rest for each, rest in instructions(stage) if each == name]
    return found


def test_the_image_runs_the_proxy_as_nobody_in_particular() -> None:
    entry, command = json.loads(only(1, "ENTRYPOINT")), json.loads(only(1, "CMD"))
    check = json.loads(only(1, "HEALTHCHECK").partition("CMD ")[2])

    assert [*entry, *command] == ["evaluation-proxy", "serve"]
    assert check == ["evaluation-proxy", "probe"]
    assert only(1, "USER") == f"{USER}:{USER}"
    assert not [rest for name, rest in instructions(1) if name == "RUN"], "no shell in what runs"
    environ = dict(each.split("=", 1) for each in only(1, "ENV").split())
    assert environ["AMPLITUDE_METRICS_HOST"] == "0.0.0.0", "or no probe and no port reaches it"
    assert only(1, "EXPOSE") == f"{Settings().port} {Settings().metrics.port}"
    assert f"ARG VERSION={proxy.__version__}\n" in DOCKERFILE
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert values["podSecurityContext"]["runAsUser"] == USER


def test_what_the_build_copies_is_there_and_not_ignored() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    allowed = [line[1:] for line in ignored if line.startswith("!")]
    copied = [
        source
        for name, rest in instructions(0)
        if name == "COPY"
        for source in rest.split()[:-1]
        if not source.startswith("--")
    ]

    assert "*" in ignored
    assert copied
    for source in copied:
        assert (ROOT / source).exists()
        assert any(fnmatch(source, pattern) for pattern in allowed), source


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-build.lock"])
def test_everything_that_the_image_installs_is_held_by_hash(name: str) -> None:
    text = (ROOT / name).read_text()
    blocks = re.split(r"^(?=\S)", text, flags=re.MULTILINE)[1:]

    assert blocks
    assert all("--hash=sha256:" in block and "==" in block for block in blocks)


def test_the_bill_of_materials_has_every_locked_package_and_only_those() -> None:
    made = bill(LOCK.read_text())
    parts = {part["name"]: part for part in made["components"]}
    text = LOCK.read_text()

    assert made["bomFormat"] == "CycloneDX"
    assert set(parts) == set(re.findall(r"^([a-z0-9._-]+)==", text, re.MULTILINE)) - {"colorama"}
    assert all(part["properties"] for part in parts.values())
    assert parts["aiohttp"]["purl"].startswith("pkg:pypi/aiohttp@3.")
    assert made["dependencies"][0]["dependsOn"] == [part["bom-ref"] for part in parts.values()]


def test_only_what_linux_installs_is_billed() -> None:
    lock = (
        f"one==1 \\\n    --hash=sha256:{'a' * 64}\n"
        f"two==2 ; sys_platform == 'win32' \\\n    --hash=sha256:{'b' * 64}\n"
        f"three==3 ; sys_platform != 'win32' \\\n    --hash=sha256:{'c' * 64} \\\n"
        f"    --hash=sha256:{'d' * 64}\n"
    )

    assert pinned(lock) == [("one", "1", ["a" * 64]), ("three", "3", ["c" * 64, "d" * 64])]


@pytest.fixture(scope="module")
def installed() -> Iterator[Path]:
    """A folder with what the wheel holds, built from what the image's build copies."""
    with TemporaryDirectory() as name:
        place = Path(name)
        place.chmod(0o755)
        source = place / "source"
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / "proxy", source / "proxy", ignore=ignore)
        for each in ("pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(ROOT / each, source)
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
        command += ["--no-build-isolation", "--disable-pip-version-check"]
        subprocess.run([*command, "--wheel-dir", place, source], check=True, timeout=120)
        (wheel,) = place.glob("*.whl")
        with zipfile.ZipFile(wheel) as packed:
            packed.extractall(place / "installed")
        yield place / "installed"


def test_the_wheel_holds_every_file_of_the_package(installed: Path) -> None:
    def inside(folder: Path) -> set[str]:
        found = {path for path in folder.rglob("*") if "__pycache__" not in path.parts}
        return {str(path.relative_to(folder)) for path in found if path.is_file()}

    assert inside(installed / "proxy") == inside(ROOT / "proxy")
    (entries,) = installed.glob("*.dist-info/entry_points.txt")
    assert "evaluation-proxy = proxy.__main__:main" in entries.read_text()


def read_only(place: Path, installed: Path, *arguments: str) -> list[str]:
    """A command that runs the wheel as the image would: as nobody, all but two places read-only."""
    # /tmp holds what the test made; the data directory is a disk of its own, as a volume would be.
    # Python and its packages may be where only root gets: they are made to appear where all do.
    script = (
        f"mount -t tmpfs -o uid={USER},gid={USER},mode=0700 data {place}/data && "
        f"mount --bind {sys.base_prefix} {place}/python && "
        f"mount --bind {sysconfig.get_path('purelib')} {place}/packages && "
        "mount -o remount,bind,ro / && "
        f"exec setpriv --reuid {USER} --regid {USER} --clear-groups --no-new-privs "
        f'--bounding-set -all --inh-caps -all "$@"'
    )
    program = f"{place}/python/bin/python3.{sys.version_info.minor}"
    environ = [f"PYTHONPATH={installed}:{place}/packages", f"AMPLITUDE_DATA_DIR={place}/data"]
    environ += ["HOME=/nonexistent", "PYTHONUNBUFFERED=1", f"LD_LIBRARY_PATH={place}/python/lib"]
    python = [program, "-B", "-m", "proxy", *arguments]
    return ["unshare", "--mount", "sh", "-c", script, "sh", "env", *environ, *python]


def may_mount() -> bool:
    trial = ["unshare", "--mount", "mount", "-o", "remount,bind,ro", "/"]
    return subprocess.run(trial, capture_output=True, check=False).returncode == 0


@contextmanager
def running(command: list[str], log: Path, ready: Callable[[], bool]) -> Iterator[None]:
    with log.open("wb") as said:
        process = subprocess.Popen(command, cwd="/", stdout=said, stderr=said)

    def arrived() -> bool:
        assert process.poll() is None, log.read_text()
        return ready()

    try:
        wait_for(arrived, "readiness")
        yield
        process.terminate()
        assert process.wait(60) == 0, log.read_text()
    finally:
        process.kill()
        process.wait()


def text(pair: Pair, page: str) -> str:
    return call(f"{pair.operators}/{page}")[1].decode()


@pytest.mark.system
@pytest.mark.needs("mount")
def test_the_wheel_serves_as_another_user_on_a_read_only_root(installed: Path) -> None:
    if not may_mount():
        skip_for_lack_of("mount (as root)")
    with TemporaryDirectory() as name:
        place = Path(name)
        place.chmod(0o755)
        for each in ("data", "python", "packages"):
            (place / each).mkdir()
        pair = Pair(place, "flags: {a: {serve: on}}\n")
        config = ("--config", str(pair.config_file))
        serve = read_only(place, installed, "serve", *config)

        def ready() -> bool:
            return call(f"{pair.operators}/readyz")[0] == 200

        with pair.sandbox(), running(serve, place / "log", ready):
            assert pair.variants({"user_id": "ada"})["a"]["key"] == "on"
            wait_for(lambda: "store_ok 1.0" in text(pair, "metrics"), "committed state")
            assert get_json(f"{pair.operators}/status")["spool"]["place"] == "disk"
            (place / "key").write_text(SERVER_KEY)
            asking = (f"{pair.proxy}/sdk/v2/vardata", "--key-file", str(place / "key"))
            for arguments in (config, asking):
                probe = read_only(place, installed, "probe", *arguments)
                done = subprocess.run(probe, capture_output=True, cwd="/", timeout=60, check=False)
                assert done.returncode == 0, done.stderr.decode() + done.stdout.decode()


def test_the_compose_file_starts_what_the_proxy_understands(tmp_path: Path) -> None:
    service = COMPOSE["services"]["proxy"]
    (secret,) = service["secrets"]
    environ = dict(service["environment"])
    assert environ["PROXY_PROJECTS_FILE_PATH"] == f"/run/secrets/{secret}"
    (tmp_path / secret).write_text(PROJECTS)
    environ["PROXY_PROJECTS_FILE_PATH"] = str(tmp_path / secret)
    settings = load(environ, default_path=str(tmp_path / "none"))

    assert service["ports"] == [
        f"{settings.port}:{settings.port}",
        f"127.0.0.1:{settings.metrics.port}:{settings.metrics.port}",
    ]
    assert settings.metrics.host == "0.0.0.0"
    assert service["image"] == f"evaluation-proxy:{proxy.__version__}"
    assert (
        int(service["stop_grace_period"].removesuffix("s")) * 1000 > settings.drain_deadline_millis
    )
    assert only(1, "VOLUME") == json.dumps([service["volumes"][0].partition(":")[2]])
    for each in COMPOSE["services"].values():
        assert each["read_only"] is True
        assert each["cap_drop"] == ["ALL"]
    sandbox = _parser().parse_args(COMPOSE["services"]["sandbox"]["command"])
    (mount,) = COMPOSE["services"]["sandbox"]["volumes"]
    assert mount.split(":")[1] == sandbox.file
    assert (ROOT / "config" / mount.split(":")[0]).exists()


def test_the_hints_of_the_compose_file_are_settings(tmp_path: Path) -> None:
    text = (ROOT / "config" / "compose.yaml").read_text()
    hints = dict(re.findall(r"# (AMPLITUDE_\w+): (\S+)", text))
    (tmp_path / "projects.yaml").write_text(PROJECTS)
    hints["PROXY_PROJECTS_FILE_PATH"] = str(tmp_path / "projects.yaml")
    (tmp_path / "operators-token").write_text("a-token")
    hints["AMPLITUDE_METRICS_BEARER_TOKEN_FILE"] = str(tmp_path / "operators-token")

    settings = load(hints, default_path=str(tmp_path / "none"))

    assert len(hints) == 7
    assert settings.metrics.bearer_token is not None
    assert not settings.notices
    assert settings.urls.flags.startswith("http://sandbox:3547")


def unit() -> configparser.ConfigParser:
    parsed = configparser.ConfigParser(strict=False, interpolation=None)
    parsed.optionxform = str  # type: ignore[assignment,method-assign]
    parsed.read(ROOT / "config" / "evaluation-proxy.service")
    return parsed


def test_the_systemd_unit_starts_what_the_proxy_understands() -> None:
    service = unit()["Service"]
    program, *arguments = shlex.split(service["ExecStart"])
    options = _parser().parse_args(arguments)

    assert program.endswith("/bin/evaluation-proxy")
    # The file itself: a copy as a credential would not change before the next start.
    assert options.config == "/etc/evaluation-proxy-config.yaml"
    assert service["ExecReload"] == "/bin/kill -HUP $MAINPID"
    assert f"%S/{service['StateDirectory']}" in service["Environment"]
    assert int(service["TimeoutStopSec"]) * 1000 > Settings().drain_deadline_millis
    assert service["RestartPreventExitStatus"] == "2"


def test_the_systemd_unit_gives_away_nothing() -> None:
    service = unit()["Service"]

    assert service["User"] == "evaluation-proxy"
    assert service["CapabilityBoundingSet"] == ""
    assert service["ProtectSystem"] == "strict"
    assert service["NoNewPrivileges"] == "yes"
    # Building cohorts steps back behind answering: os.nice is among @resources.
    assert "@resources" not in service["SystemCallFilter"]


@pytest.mark.needs("systemd-analyze")
def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        skip_for_lack_of("systemd-analyze")
    text = (ROOT / "config" / "evaluation-proxy.service").read_text()
    text = text.replace("/opt/evaluation-proxy/bin/evaluation-proxy", shutil.which("true") or "")
    text = re.sub(r"^(User|Group)=.*", r"\1=root", text, flags=re.MULTILINE)
    file = tmp_path / "evaluation-proxy.service"
    file.write_text(text)

    done = subprocess.run(
        ["systemd-analyze", "verify", str(file)], capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")
