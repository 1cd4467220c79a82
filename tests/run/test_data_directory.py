"""The whole proxy on a data directory: what it restores, when, what lies there, and damage."""

import asyncio
import io
import re
import shutil
import stat
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import pytest
from aiohttp import ClientSession, web

from proxy.secret import Secret
from proxy.settings.schema import OperatorsPort, Project, Settings
from proxy.store import manifest
from proxy.upstream.deployments import PATH as DEPLOYMENTS
from tests.builders import API_KEY, KEY, condition, flag, segment
from tests.fakes.upstream import FakeUpstream, Request, Step, answer, cut, json_answer, wait_for
from tests.run.whole import AUTHORISED, BATCH, FLAGS, INGESTED, Running, pointed_at, running
from tests.store.conftest import missing, run
from tests.system.programs import free_ports

COHORT = "/sdk/v1/cohort/c1"
MANAGEMENT = "test-management-key"
MEMBER = "alice-the-member"
BASIC = b64encode(f"{API_KEY}:test-secret".encode()).decode()
SECRETS = (KEY, API_KEY, "test-secret", MANAGEMENT, BASIC)
TARGETED = flag(
    "targeted",
    segment("on", condition(["context", "user", "cohort_ids"], "set contains any", "c1")),
    segment("off"),
)
MEMBERS = {
    "cohortId": "c1",
    "groupType": "User",
    "lastModified": 7,
    "size": 1,
    "memberIds": [MEMBER],
}
LISTED = {"deployments": [{"projectId": "42", "key": KEY, "label": "the deployment"}]}
NO_ANSWER = 503


def serve_all(upstream: FakeUpstream) -> None:
    """One deployment, whose flag targets a cohort."""
    upstream.on("GET", DEPLOYMENTS, json_answer(LISTED))
    upstream.on("GET", FLAGS, json_answer([TARGETED]))
    upstream.on("GET", COHORT, json_answer(MEMBERS))
    upstream.on("POST", BATCH, json_answer(INGESTED))


def serve_nothing(upstream: FakeUpstream) -> None:
    for path in (DEPLOYMENTS, FLAGS, COHORT):
        upstream.on("GET", path, cut())


def settings(upstream: FakeUpstream, directory: Path, **changes: Any) -> Settings:
    project = Project(
        api_key=Secret(API_KEY),
        secret_key=Secret("test-secret"),
        management_key=Secret(MANAGEMENT),
    )
    return pointed_at(upstream.url, projects=(project,), data_dir=str(directory), **changes)


async def live(settings: Settings) -> None:
    """One whole life, to an orderly end."""
    async with running(settings) as proxy:
        await proxy.wait_for(proxy.operators + "/readyz", 200)
        assert await variant(proxy) == "on"


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory as a life leaves it that was written down once; copied, never used."""
    directory = tmp_path_factory.mktemp("left") / "data"

    async def first_life() -> None:
        async with FakeUpstream() as upstream:
            serve_all(upstream)
            await live(settings(upstream, directory))

    asyncio.run(first_life())
    (directory / "manifest.previous.json").unlink(missing_ok=True)
    named = (directory / "manifest.json").read_text()
    for path in (directory / "files").iterdir():
        if path.name not in named:
            path.unlink()
    return directory


@pytest.fixture
def data(left: Path, tmp_path: Path) -> Path:
    """A data directory that an earlier life left."""
    return shutil.copytree(left, tmp_path / "data")


async def variant(proxy: Running, name: str = "targeted") -> str | int | None:
    """What the member gets of a flag, or the status in place of an answer."""
    url = f"{proxy.clients}/sdk/v2/vardata"
    async with proxy.session.post(url, json={"user_id": MEMBER}, headers=AUTHORISED) as response:
        found = await response.json(content_type=None)
        return found.get(name, {}).get("key") if response.status == 200 else response.status


async def downloaded(proxy: Running) -> int:
    """The version of the cohort that SDKs get, or the status in place of one."""
    headers = {"Authorization": f"Basic {BASIC}"}
    async with proxy.session.get(proxy.clients + COHORT, headers=headers) as response:
        if response.status != 200:
            return response.status
        told = await response.json()
        assert told["memberIds"] == [MEMBER]
        return int(told["lastModified"])


async def until_downloaded(proxy: Running, version: int = 7) -> None:
    async with asyncio.timeout(30):
        while await downloaded(proxy) != version:
            await wait_for(0.01)


async def status_of(proxy: Running) -> Any:
    return await proxy.json_of(proxy.operators + "/status")


async def text_of(proxy: Running, page: str) -> str:
    async with proxy.session.get(f"{proxy.operators}/{page}") as response:
        return await response.text()


async def test_all_is_in_force_again_before_upstream_is_asked_anything(
    upstream: FakeUpstream, data: Path
) -> None:
    [port] = free_ports(1)
    seen: list[tuple[str, Any]] = []

    def looking(path: str) -> Step:
        """Before it answers, upstream looks at what the proxy has in force at this moment."""

        async def step(request: Request, raw: web.BaseRequest) -> web.StreamResponse:
            async with (
                ClientSession() as session,
                session.get(f"http://127.0.0.1:{port}/status") as response,
            ):
                seen.append((path, await response.json()))
            return await answer(503)(request, raw)

        return step

    for path in (DEPLOYMENTS, FLAGS, COHORT):
        upstream.on("GET", path, looking(path))
    operators = OperatorsPort(host="127.0.0.1", port=port)
    async with running(settings(upstream, data, metrics=operators)) as proxy:
        assert await variant(proxy) == "on"
        async with asyncio.timeout(30):
            while len({path for path, _ in seen}) < 3:
                await wait_for(0.01)

    for _, page in seen:
        assert page["ready"] is True
        [deployment], [cohorts], [project] = page["deployments"], page["cohorts"], page["projects"]
        assert (deployment["source"], deployment["flags"]) == ("disk", 1)
        assert (cohorts["here"], cohorts["members"]) == (1, 1)
        assert (project["known"], project["listed"]) == (True, False)


async def test_how_old_it_is_shows_everywhere(upstream: FakeUpstream, data: Path) -> None:
    first = grow_old(data, 7200)
    serve_nothing(upstream)

    async with running(settings(upstream, data)) as proxy:
        readyz, page = await text_of(proxy, "readyz"), await text_of(proxy, "status")
        metrics = await text_of(proxy, "metrics")

    told = re.findall(r"restored from disk, (\d+) s old", readyz)
    assert len(told) == 2
    ages = [float(age) for age in told]
    status = msgspec.json.decode(page)
    [deployment], [cohorts] = status["deployments"], status["cohorts"]
    [project] = status["projects"]
    ages += [deployment["age_seconds"], project["age_seconds"], cohorts["oldest_age_seconds"]]
    ages.append(cohorts["cohorts"][0]["age_seconds"])
    for name in ("snapshot_age_seconds", "cohort_oldest_age_seconds"):
        [line] = [
            text for text in metrics.splitlines() if text.startswith(f"amplitude_proxy_{name}{{")
        ]
        ages.append(float(line.rpartition(" ")[2]))
    # Some are told in whole seconds.
    assert all(7200 <= age <= time.time() - first + 0.5 for age in ages), ages


def grow_old(directory: Path, seconds: float) -> float:
    """Let all that lies there have been confirmed so much earlier; return when at the earliest."""
    path = directory / "manifest.json"
    found = manifest.decode(path.read_bytes())
    records, times = [], []
    for record in found.records:
        meta = msgspec.json.decode(record.meta)
        meta["confirmed_at"] -= seconds
        times.append(meta["confirmed_at"])
        raw = msgspec.Raw(msgspec.json.encode(meta))
        records.append(msgspec.structs.replace(record, meta=raw))
    path.write_bytes(manifest.encode(records, found.written_at))
    return float(min(times))


async def test_no_key_and_no_member_is_told_of_and_only_the_owner_may_read(
    upstream: FakeUpstream, tmp_path: Path, log_lines: io.StringIO
) -> None:
    data = tmp_path / "data"
    shown = ""
    serve_all(upstream)
    await live(settings(upstream, data))
    for step in (answer(401, MEMBER), json_answer({**MEMBERS, "memberIds": [MEMBER, 7]})):
        upstream.on("GET", COHORT, step)
        upstream.on("GET", FLAGS, answer(200, f'[{{"key": "{MEMBER}"'.encode()))
        upstream.on("GET", DEPLOYMENTS, answer(403, MANAGEMENT))
        async with running(settings(upstream, data)) as proxy:
            await until_all_is_in_trouble(proxy)
            await variant(proxy)
            for page in ("status", "readyz", "metrics", "livez"):
                shown += await text_of(proxy, page)

    paths = [data, *data.rglob("*")]
    for path in paths:
        mode = stat.S_IMODE(path.lstat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), path
    names = " ".join(map(str, paths))
    manifests = "".join(path.read_text() for path in data.glob("manifest*.json"))
    assert "c1" in manifests
    for secret in (*SECRETS, MEMBER):
        assert secret not in names
        assert secret not in manifests
        assert secret not in shown
        assert secret not in log_lines.getvalue()
    # What is secret lies inside one of the files that only the owner may read.
    assert any(KEY.encode() in path.read_bytes() for path in paths if path.is_file())
    for secret in (API_KEY, "test-secret", MANAGEMENT, BASIC):
        assert not [
            path for path in paths if path.is_file() and secret.encode() in path.read_bytes()
        ]


async def until_all_is_in_trouble(proxy: Running) -> None:
    async with asyncio.timeout(30):
        while True:
            page = await status_of(proxy)
            told = [*page["deployments"], *page["projects"], *page["cohorts"][0]["cohorts"]]
            if len(told) == 3 and all(one["trouble"] for one in told):
                return
            await wait_for(0.01)


Damage = Callable[[Path], None]


def flip(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 0x10
    path.write_bytes(raw)


def shorten(path: Path) -> None:
    raw = path.read_bytes()
    path.write_bytes(raw[: len(raw) * 9 // 10])


def overwrite(path: Path) -> None:
    """What a newer version might write there."""
    path.write_bytes(b'{"format": 99, "from": "the future"}')


WITHOUT_UPSTREAM = {
    "manifest": NO_ANSWER,
    "deployments": NO_ANSWER,
    "flags": NO_ANSWER,
    "index": "on",
    "packed": "on",
    "spool": "on",
}
"""What the member is answered in the end, by the file that is damaged."""


def file_of(what: str, data: Path) -> Path:
    if what == "spool":
        return data / "events" / "spool.db"
    path = data / "manifest.json"
    if what == "manifest":
        return path
    [name] = [
        file.name
        for record in manifest.decode(path.read_bytes()).records
        for role, file in record.files.items()
        if what in (role, record.kind)
    ]
    return data / "files" / name


def test_these_are_all_the_files_of_the_directory(data: Path) -> None:
    files = {path for path in data.rglob("*") if path.is_file() and path.stat().st_size}

    assert {file_of(what, data) for what in WITHOUT_UPSTREAM} == files


@pytest.mark.parametrize("damage", [flip, shorten, overwrite, Path.unlink])
@pytest.mark.parametrize("what", WITHOUT_UPSTREAM)
async def test_damage_to_any_one_file_means_no_wrong_answer_and_is_mended(
    upstream: FakeUpstream, data: Path, what: str, damage: Damage
) -> None:
    damage(file_of(what, data))
    serve_nothing(upstream)
    async with running(settings(upstream, data)) as proxy:
        async with asyncio.timeout(30):
            while (given := await variant(proxy)) != WITHOUT_UPSTREAM[what]:
                assert given == NO_ANSWER
                await wait_for(0.01)
        serve_all(upstream)
        async with asyncio.timeout(30):
            while (given := await variant(proxy)) != "on":
                assert given == NO_ANSWER
                await wait_for(0.01)
        await until_downloaded(proxy)

    serve_nothing(upstream)
    async with running(settings(upstream, data)) as proxy:
        assert (await variant(proxy), await downloaded(proxy)) == ("on", 7)
        store = (await status_of(proxy))["store"]
        assert (store["trouble"], store["damaged"]) == ("", 0)


@contextmanager
def disk_with(data: Path) -> Iterator[tuple[Path, Callable[[str], None]]]:
    """Copy a data directory to a disk of its own; the function mounts that again, `ro` or `rw`."""
    with TemporaryDirectory() as name:
        if not run("mount", "-t", "tmpfs", "-o", "size=8m,mode=0700", "small", name):
            missing("needs mount (as root)")

        def mount_again(how: str) -> None:
            assert run("mount", "-o", f"remount,{how}", name)

        try:
            yield shutil.copytree(data, Path(name) / "data"), mount_again
        finally:
            assert run("umount", "-l", name)


@pytest.mark.needs("mount")
async def test_a_disk_that_became_read_only_serves_and_is_written_when_it_may_be(
    upstream: FakeUpstream, data: Path
) -> None:
    with disk_with(data) as (directory, mount_again):
        mount_again("ro")
        serve_nothing(upstream)
        async with running(settings(upstream, directory)) as proxy:
            assert (await variant(proxy), await downloaded(proxy)) == ("on", 7)
            assert await proxy.status_of(proxy.operators + "/readyz") == 200
            assert "the file system is read-only" in await text_of(proxy, "readyz")
            assert "amplitude_proxy_store_ok 0.0" in await text_of(proxy, "metrics")

        serve_all(upstream)
        upstream.on("GET", FLAGS, json_answer([TARGETED, flag("newer")]))
        upstream.on("GET", COHORT, json_answer({**MEMBERS, "lastModified": 8}))
        async with running(settings(upstream, directory)) as proxy:
            await until_downloaded(proxy, 8)
            async with asyncio.timeout(60):
                while await variant(proxy, "newer") is None:
                    await wait_for(0.01)
                mount_again("rw")
                while (await status_of(proxy))["store"]["trouble"]:
                    await wait_for(0.01)

        serve_nothing(upstream)
        async with running(settings(upstream, directory)) as proxy:
            assert (await variant(proxy), await downloaded(proxy)) == ("on", 8)
            assert await variant(proxy, "newer") is not None
