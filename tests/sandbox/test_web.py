"""The stand-in serves web experiments as Amplitude does: flags for one user, script, previews."""

import asyncio
import base64
import json
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from proxy.sandbox.reading import FileMistake
from proxy.sandbox.server import API_KEY, CLIENT_KEY, SERVER_KEY, Sandbox
from proxy.sandbox.world import read_world
from tests.clients.running import skip_for_lack_of

FILE = """
flags:
  server: {serve: on}
  page:
    delivery: web
    mode: remote
    by: device_id
    segments:
      - {when: plan is gold, serve: on}
      - {when: in cohort testers, serve: off}
    rollout: 100%
cohorts: {testers: [bob]}
users: {ada: {plan: gold}}
"""
FLAGS, WEB = "/sdk/v2/flags", "/sdk/v2/flags?delivery_method=web"
ALWAYS = [{"selector": [], "op": "is", "values": ["(none)"]}]
NEVER = [{"selector": [], "op": "is not", "values": ["(none)"]}]


@pytest.fixture
async def http(tmp_path: Path) -> AsyncIterator[aiohttp.ClientSession]:
    path = tmp_path / "flags.yaml"
    path.write_text(FILE)
    sandbox = Sandbox(path)
    port = await sandbox.start("127.0.0.1", 0)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
        yield session
    await sandbox.stop()


async def page_for(http: aiohttp.ClientSession, user: Any, key: str = API_KEY) -> dict[str, Any]:
    headers = {"Authorization": f"Api-Key {key}"}
    if user is not None:
        raw = base64.urlsafe_b64encode(json.dumps(user).encode()).decode().rstrip("=")
        headers["X-Amp-Exp-User"] = raw
    async with http.get(WEB, headers=headers) as answer:
        assert answer.status == 200
        (flag,) = await answer.json()
    found: dict[str, Any] = flag
    return found


async def test_web_flags_are_resolved_with_what_is_known_of_the_user(
    http: aiohttp.ClientSession,
) -> None:
    of_ada = await page_for(http, {"user_id": "ada", "device_id": "d"})
    of_bob = await page_for(http, {"user_id": "bob"}, CLIENT_KEY)
    of_nobody = await page_for(http, None, SERVER_KEY)

    assert of_ada["metadata"]["evaluationMode"] == "local"
    assert [one.get("conditions") for one in of_ada["segments"]] == [[ALWAYS], [NEVER], None]
    assert of_ada["segments"][2]["variant"] == "on"
    assert of_bob["segments"][1]["conditions"] == [ALWAYS]
    assert of_bob["segments"][2]["bucket"]["selector"] == ["context", "user", "device_id"]
    assert "values" in str(of_nobody["segments"][0]["conditions"])


@pytest.mark.parametrize(
    ("path", "key", "status"),
    [
        (WEB, API_KEY, 200),
        (WEB, "other", 401),
        (FLAGS, API_KEY, 401),
        (FLAGS, SERVER_KEY, 200),
        ("/web/v1/configs", API_KEY, 200),
        ("/web/v1/configs", "other", 401),
    ],
)
async def test_a_projects_key_opens_what_pages_ask_for(
    http: aiohttp.ClientSession, path: str, key: str, status: int
) -> None:
    async with http.get(path, headers={"Authorization": f"Api-Key {key}"}) as answer:
        assert answer.status == status


async def test_a_broken_user_is_refused(http: aiohttp.ClientSession) -> None:
    headers = {"Authorization": f"Api-Key {API_KEY}", "X-Amp-Exp-User": "!"}
    async with http.get(WEB, headers=headers) as answer:
        assert answer.status == 400


async def test_previews_show_web_flags_with_their_rules(http: aiohttp.ClientSession) -> None:
    headers = {"Authorization": f"Api-Key {API_KEY}"}
    async with http.get("/web/v1/configs", headers=headers) as answer:
        told = await answer.json()

    assert [flag["key"] for flag in told["flags"]] == ["page"]
    assert "gold" in str(told)
    assert told["pageObjects"] == {}


@pytest.mark.parametrize("key", [API_KEY, CLIENT_KEY])
async def test_the_script_carries_flags_without_rules_and_is_javascript(
    http: aiohttp.ClientSession, key: str
) -> None:
    async with http.get(f"/script/{key}.experiment.js?integration=segment") as answer:
        text = await answer.text()
        headers = answer.headers

    assert headers["Content-Type"] == "application/javascript; charset=utf-8"
    assert headers["Cache-Control"] == "public, max-age=60"
    assert headers["ETag"]
    assert key in text
    assert '"integration":"segment"' in text
    assert '"key":"page"' in text
    assert "gold" not in text
    if shutil.which("node") is None:
        skip_for_lack_of("node")
    await asyncio.to_thread(
        subprocess.run, ["node", "--check", "-"], input=text.encode(), check=True, timeout=60
    )


async def test_what_is_asked_for_cannot_end_the_script(http: aiohttp.ClientSession) -> None:
    path = f"/script/{API_KEY}.experiment.js"
    async with http.get(path, params={"integration": "</script><b>"}) as answer:
        assert "</" not in await answer.text()


@pytest.mark.parametrize("name", ["other.experiment.js", f"{API_KEY}.js", f"{API_KEY}"])
async def test_there_is_no_other_script(http: aiohttp.ClientSession, name: str) -> None:
    async with http.get(f"/script/{name}") as answer:
        assert answer.status == 404


async def test_there_is_a_relay_page(http: aiohttp.ClientSession) -> None:
    async with http.get(f"/script/{API_KEY}.relay.html") as answer:
        assert answer.content_type == "text/html"


def test_a_flag_says_how_it_is_delivered() -> None:
    (flag,) = json.loads(read_world("flags: {f: {delivery: web}}").flags)
    (plain,) = json.loads(read_world("flags: {f: {}}").flags)

    assert flag["metadata"]["deliveryMethod"] == "web"
    assert "deliveryMethod" not in plain["metadata"]
    with pytest.raises(FileMistake, match="delivery must be one of feature, web"):
        read_world("flags: {f: {delivery: pigeon}}")
