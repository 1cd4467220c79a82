"""The stand-in evaluates users, knowing more of them than a request says."""

import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from proxy.sandbox.server import CLIENT_KEY, SERVER_KEY, Sandbox

FILE = """
flags:
  all: {serve: on}
  pro: {mode: remote, segments: [{when: plan is pro, serve: on}]}
  beta: {mode: remote, segments: [{when: in cohort testers, serve: on}]}
  rich: {mode: remote, segments: [{when: org in cohort big, serve: on}]}
cohorts:
  testers: [ada]
  big: {group: org, members: [acme]}
users:
  ada: {plan: pro, age: 36}
  7: {plan: pro}
"""
KEY = {"Authorization": f"Api-Key {SERVER_KEY}"}
PATH = "/sdk/v2/vardata"


@pytest.fixture
async def http(tmp_path: Path) -> AsyncIterator[aiohttp.ClientSession]:
    path = tmp_path / "flags.yaml"
    path.write_text(FILE)
    sandbox = Sandbox(path, clock=lambda: 7.0)
    port = await sandbox.start("127.0.0.1", 0)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
        yield session
    await sandbox.stop()


def encoded(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


async def variants(http: aiohttp.ClientSession, user: Any, **headers: str) -> dict[str, Any]:
    """What each flag gives a user, asked for in both ways."""
    named = KEY | {name.replace("_", "-"): value for name, value in headers.items()}
    async with http.post(PATH, json=user, headers=named) as answer:
        posted = await answer.json()
    async with http.get(PATH, headers=named | {"X-Amp-Exp-User": encoded(user)}) as answer:
        assert await answer.json() == posted
    return {key: variant["key"] for key, variant in posted.items()}


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ({}, {"all": "on", "pro": "off", "beta": "off", "rich": "off"}),
        ({"user_id": "ada"}, {"all": "on", "pro": "on", "beta": "on", "rich": "off"}),
        ({"user_id": 7}, {"all": "on", "pro": "on", "beta": "off", "rich": "off"}),
        (
            {"user_id": "ada", "user_properties": {"plan": "free"}, "groups": {"org": ["acme"]}},
            {"all": "on", "pro": "off", "beta": "on", "rich": "on"},
        ),
        (
            {"user_id": "bob", "cohort_ids": ["testers"], "user_properties": None},
            {"all": "on", "pro": "off", "beta": "off", "rich": "off"},
        ),
    ],
)
async def test_it_knows_properties_and_cohorts_but_what_is_said_wins(
    http: aiohttp.ClientSession, user: dict[str, Any], expected: dict[str, str]
) -> None:
    assert await variants(http, user) == expected


async def test_some_flags_may_be_asked_for(http: aiohttp.ClientSession) -> None:
    keys = encoded(["pro", "none"])

    assert await variants(http, {"user_id": "ada"}, X_Amp_Exp_Flag_Keys=keys) == {"pro": "on"}


async def test_it_notes_assignments_unless_it_is_told_not_to(http: aiohttp.ClientSession) -> None:
    await variants(http, {"user_id": "ada"}, X_Amp_Exp_Track="no-track")
    await variants(http, {})
    async with http.get("/events") as answer:
        assert (await answer.json())["events"] == []

    async with http.post(PATH, json={"user_id": "ada"}, headers=KEY) as answer:
        assert answer.status == 200
    async with http.get("/events") as answer:
        (event,) = (await answer.json())["events"]

    assert (event["event_type"], event["user_id"]) == ("[Experiment] Assignment", "ada")
    assert event["library"] == "remote-evaluation"
    assert event["event_properties"]["pro.variant"] == "on"


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({"Authorization": "Api-Key other"}, b"{}", 401),
        ({"Authorization": f"Api-Key {CLIENT_KEY}"}, b"{}", 200),
        ({"Authorization": f"Api-Key {CLIENT_KEY}"}, b"", 200),
        (KEY, b"[]", 400),
        (KEY, b"{", 400),
        ({**KEY, "X-Amp-Exp-User": "%"}, b"", 400),
        ({**KEY, "X-Amp-Exp-Flag-Keys": encoded({})}, b"", 400),
    ],
)
async def test_what_it_cannot_read_it_refuses(
    http: aiohttp.ClientSession, headers: dict[str, str], body: bytes, status: int
) -> None:
    async with http.post(PATH, data=body, headers=headers) as answer:
        assert answer.status == status
