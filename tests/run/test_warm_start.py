"""The whole proxy, twice on one data directory."""

import asyncio
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest

from proxy.metrics import Metrics
from proxy.secret import Secret
from proxy.settings.schema import Settings
from proxy.store.store import Store
from tests.builders import API_KEY, KEY, condition, flag, segment
from tests.fakes.upstream import FakeUpstream, json_answer, wait_for
from tests.run.whole import AUTHORISED, FLAGS, Running, pointed_at, running

GZIP_MAGIC = b"\x1f\x8b"
COHORT = "/sdk/v1/cohort/c1"
MEMBERS = {
    "cohortId": "c1",
    "groupType": "User",
    "lastModified": 7,
    "size": 1,
    "memberIds": ["alice"],
}
TARGETED = flag(
    "targeted",
    segment("on", condition(["context", "user", "cohort_ids"], "set contains any", "c1")),
)


async def variant(proxy: Running, user_id: str) -> str | None:
    """What a user gets of the targeted flag."""
    url = f"{proxy.clients}/sdk/v2/vardata"
    async with proxy.session.post(url, json={"user_id": user_id}, headers=AUTHORISED) as response:
        assert response.status == 200
        found = (await response.json()).get("targeted")
        return None if found is None else found["key"]


async def first_life(settings: Settings) -> None:
    async with running(settings) as proxy:
        await proxy.wait_for(proxy.operators + "/readyz", 200)
        assert await variant(proxy, "alice") == "on"
        assert await variant(proxy, "bob") is None


def serve_cohort(upstream: FakeUpstream) -> None:
    upstream.on("GET", FLAGS, json_answer([TARGETED]))
    upstream.on("GET", COHORT, json_answer(MEMBERS))


async def test_a_restart_while_upstream_is_down_answers_at_once(
    upstream: FakeUpstream, tmp_path: Path
) -> None:
    serve_cohort(upstream)
    settings = pointed_at(upstream.url, data_dir=str(tmp_path))
    await first_life(settings)
    await upstream.close()

    async with running(settings) as proxy:
        assert await variant(proxy, "alice") == "on"
        assert await variant(proxy, "bob") is None
        assert await proxy.status_of(proxy.operators + "/readyz") == 200

        page = await proxy.json_of(proxy.operators + "/status")
        [deployment] = page["deployments"]
        assert deployment["source"] == "disk"
        assert deployment["cohorts_missing"] == {}
        [cohorts] = page["cohorts"]
        assert cohorts["here"] == 1
        assert page["store"]["directory"] == str(tmp_path)
        for secret in (KEY, API_KEY, "test-secret"):
            assert secret not in str(page)
        async with proxy.session.get(proxy.operators + "/readyz") as response:
            text = await response.text()
        assert "restored from disk" in text
        assert "data directory" in text


async def test_cohorts_and_memberships_are_served_to_sdks(
    upstream: FakeUpstream, tmp_path: Path
) -> None:
    serve_cohort(upstream)
    settings = pointed_at(upstream.url, data_dir=str(tmp_path))
    async with running(settings) as proxy:
        await proxy.wait_for(proxy.operators + "/readyz", 200)
        pair = b64encode(f"{API_KEY}:test-secret".encode()).decode()
        basic = {"Authorization": f"Basic {pair}"}
        async with proxy.session.get(proxy.clients + COHORT, headers=basic) as response:
            assert response.status == 200
            assert (await response.json())["memberIds"] == ["alice"]
        for cohort_id, status in (("c2", 404), ("c1", 200)):
            url = f"{proxy.clients}/sdk/v1/cohort/{cohort_id}"
            async with proxy.session.get(url, headers=basic) as response:
                assert response.status == status
        url = f"{proxy.clients}/sdk/v2/memberships/User/alice"
        assert await proxy.json_of(url) == ["c1"]


@pytest.mark.parametrize("how", ["cut", "gone", "flipped"])
async def test_with_a_broken_body_users_are_evaluated_and_sdks_asked_to_come_again(
    upstream: FakeUpstream, tmp_path: Path, how: str
) -> None:
    serve_cohort(upstream)
    settings = pointed_at(upstream.url, data_dir=str(tmp_path))
    await first_life(settings)
    break_body(tmp_path, how)
    await upstream.close()

    async with running(settings) as proxy:
        assert await variant(proxy, "alice") == "on"
        assert await variant(proxy, "bob") is None
        status, headers, _ = await download(proxy)
        assert status == 503
        assert int(headers["Retry-After"]) > 0
        await upstream.open()
        await download_comes(proxy)


@pytest.mark.parametrize("how", ["cut", "gone"])
async def test_a_body_that_breaks_while_it_is_served_is_got_anew(
    upstream: FakeUpstream, tmp_path: Path, how: str
) -> None:
    serve_cohort(upstream)
    async with running(pointed_at(upstream.url, data_dir=str(tmp_path))) as proxy:
        await proxy.wait_for(proxy.operators + "/readyz", 200)
        await download_comes(proxy)
        break_body(tmp_path, how)
        assert (await download(proxy))[0] == 503
        await download_comes(proxy)


def break_body(data: Path, how: str) -> None:
    """Break the packed body of the only cohort."""
    [path] = [one for one in (data / "files").iterdir() if one.read_bytes()[:2] == GZIP_MAGIC]
    raw = path.read_bytes()
    path.unlink()
    if how == "cut":
        path.write_bytes(raw[:-1])
    elif how == "flipped":
        path.write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))


async def download(proxy: Running) -> tuple[int, Mapping[str, str], bytes]:
    pair = b64encode(f"{API_KEY}:test-secret".encode()).decode()
    basic = {"Authorization": f"Basic {pair}"}
    async with proxy.session.get(proxy.clients + COHORT, headers=basic) as response:
        return response.status, response.headers, await response.read()


async def download_comes(proxy: Running) -> None:
    """Ask as SDKs do until the cohort is there."""
    async with asyncio.timeout(60):
        while (answer := await download(proxy))[0] != 200:
            await wait_for(0.01)
    assert msgspec.json.decode(answer[2])["memberIds"] == ["alice"]


async def test_who_restores_for_long_listens_already(
    upstream: FakeUpstream, tmp_path: Path
) -> None:
    await upstream.close()
    store = Store(tmp_path, Metrics())
    await store.open()
    meta = {"changed_at": 1.0, "confirmed_at": 1.0, "source": "poll", "version": "x"}
    body = msgspec.json.encode([flag(f"flag-{n}") for n in range(2000)])
    store.keep("flags", Secret(KEY).label, meta, bodies={"body": body})
    await store.close()

    settings = pointed_at(upstream.url, data_dir=str(tmp_path))
    async with running(settings, longest_warm_start=0.0) as proxy:
        url = proxy.clients + "/sdk/v2/vardata"
        async with proxy.session.get(url, headers=AUTHORISED) as response:
            assert response.status == 503
            assert "Retry-After" in response.headers
        assert await proxy.status_of(proxy.operators + "/readyz") == 503
        async with proxy.session.get(proxy.operators + "/readyz") as response:
            assert "warm start" in await response.text()

        await proxy.wait_for(url, 200)
        assert await proxy.status_of(proxy.operators + "/readyz") == 200


async def test_a_directory_that_cannot_be_used_takes_nobody_out_of_service(
    upstream: FakeUpstream, tmp_path: Path
) -> None:
    taken = tmp_path / "file"
    taken.write_text("not a directory")
    async with running(pointed_at(upstream.url, data_dir=str(taken))) as proxy:
        await proxy.wait_for(proxy.operators + "/readyz", 200)
        async with proxy.session.get(proxy.operators + "/readyz") as response:
            text = await response.text()
        page = await proxy.json_of(proxy.operators + "/status")

    assert "data directory" in text
    assert page["store"]["trouble"]
