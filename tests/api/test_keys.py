"""Which key opens what: nothing of another deployment, and to pages nothing that is for servers."""

import base64
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from proxy.api.ofrep import ofrep
from tests import builders
from tests.api.stored import stored
from tests.builders import API_KEY, KEY, flag
from tests.serving import Served, encoded, serving

PAGE, LEGACY = "client-page-key", "0123456789abcdef"
OWN = {KEY: "of-server", PAGE: "of-page", LEGACY: "of-legacy"}
PATHS = ("/sdk/v2/flags", "/v1/flags", "/sdk/v2/vardata", "/sdk/vardata", "/v1/vardata")
COHORT, MEMBERSHIPS = "/sdk/v1/cohort/c1", "/sdk/v2/memberships/User/u1"


def plain(key: str) -> dict[str, str]:
    return {"Authorization": f"Api-Key {key}"}


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


@pytest.fixture
async def three() -> AsyncIterator[Served]:
    """A server's, a page's and an older deployment, each with a flag of its own."""
    async with serving([flag(OWN[KEY])], features=[ofrep]) as served:
        for number, key in enumerate((PAGE, LEGACY), 1):
            of = builders.deployment(key, label=key[:4], project_index=number)
            served.board.authorise(of)
            served.board.publish(key, builders.snapshot([flag(OWN[key])], of))
        yield served


def named(found: Any) -> set[str]:
    """The names that an answer holds, in whatever form."""
    text = msgspec.json.encode(found).decode()
    return {name for name in OWN.values() if f'"{name}"' in text}


@pytest.mark.parametrize("key", OWN)
async def test_a_key_opens_its_own_deployment_and_no_other(three: Served, key: str) -> None:
    everything = encoded(list(OWN.values()))
    for path in PATHS:
        found = await three.ask("GET", path, plain(key))
        assert (found.status, named(found.json)) == (200, {OWN[key]})
        asked = {**plain(key), "X-Amp-Exp-Flag-Keys": everything}
        assert named((await three.ask("GET", path, asked)).json) == {OWN[key]}
    listed = await three.ask("GET", f"/v1/flags?flag_keys={','.join(OWN.values())}", plain(key))
    assert named(listed.json) == {OWN[key]}
    batch = await three.ask("POST", "/sdk/v2/vardata", plain(key), b'{"user_id":"u1"}')
    assert named(batch.json) == {OWN[key]}
    bulk = b'{"context":{"targetingKey":"u1"}}'
    found = await three.ask("POST", "/ofrep/v1/evaluate/flags", plain(key), bulk)
    assert named(found.json) == {OWN[key]}


@pytest.mark.parametrize(
    "key",
    ["", KEY[:-1], KEY + "x", KEY.upper(), f"{KEY},{PAGE}", f"{KEY} {PAGE}", API_KEY, "%s", "*"],
)
async def test_what_is_not_exactly_a_key_opens_nothing(three: Served, key: str) -> None:
    for path in PATHS:
        found = await three.ask("GET", path, plain(key))
        assert (found.status, found.body) == (401, b"Invalid deployment")


async def test_a_revoked_key_opens_nothing_from_then_on(three: Served) -> None:
    three.board.revoke(PAGE)

    for path in PATHS:
        assert (await three.ask("GET", path, plain(PAGE))).status == 401
        assert (await three.ask("GET", path, plain(KEY))).status == 200


async def test_only_the_keys_of_a_project_open_cohorts(three: Served, tmp_path: Any) -> None:
    three.held[0, "c1"] = stored(tmp_path, "u1", "u2")
    for key in OWN:
        bearer = {"Authorization": f"Bearer {key}"}
        for given in (plain(key), bearer, {"X-API-Key": key}, basic(key, key), basic(API_KEY, key)):
            found = await three.ask("GET", COHORT, {"Authorization": "", **given})
            assert found.status == 401
            assert b"u1" not in found.body

    assert (await three.ask("GET", COHORT, basic(API_KEY, "test-secret"))).status == 200


async def test_only_server_keys_learn_who_is_in_which_cohort(three: Served) -> None:
    three.cohorts["User", "u1"] = ["c1"]
    for key, status in ((KEY, 200), (PAGE, 403), (LEGACY, 403)):
        for given in (plain(key), {"Authorization": f"Bearer {key}"}, {"X-API-Key": key}):
            found = await three.ask("GET", MEMBERSHIPS, {"Authorization": "", **given})
            assert found.status == status
            assert status == 200 or b"c1" not in found.body
    assert (await three.ask("GET", MEMBERSHIPS, basic(API_KEY, "test-secret"))).status == 401
