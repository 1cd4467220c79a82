"""The stream of one user's variants, as the browser SDK's unreleased branch reads it."""

from typing import Any

import msgspec
import pytest

from proxy.api.stream_variants import VARIANTS
from tests import builders
from tests.api.streaming import KEEP_ALIVE, Client, settings, streaming
from tests.builders import KEY, condition, flag, segment
from tests.serving import FLAGS, encoded, serving

VARDATA = "/sdk/v2/vardata"
USER = {"X_Amp_Exp_User": encoded({"user_id": "u1"})}


async def pushed(client: Client) -> Any:
    """The variants of the next event that is no keep-alive."""
    name, data = (await client.message()).decode().removesuffix("\n\n").split("\n")
    assert name == "event: push_data"
    return msgspec.json.decode(data.removeprefix("data: "))


async def test_the_variants_of_the_user_come_at_once_and_when_they_change() -> None:
    async with streaming(FLAGS) as ours, ours.stream(VARIANTS, **USER) as client:
        head = await client.head()
        assert head.startswith("HTTP/1.1 200 ")
        assert "Content-Type: text/event-stream\r\n" in head
        first = await pushed(client)
        assert first == (await ours.served.get(VARDATA, **USER)).json
        assert first["targeted"]["key"] == "on"

        changed = [one for one in FLAGS if one["key"] != "targeted"]
        ours.served.board.publish(KEY, builders.snapshot(changed))
        assert await pushed(client) == {key: first[key] for key in first if key != "targeted"}


async def test_a_change_that_is_none_for_the_user_is_not_told() -> None:
    def flags(others: str) -> list[dict[str, Any]]:
        aimed = segment("on", condition(["context", "user", "user_id"], "is", others))
        return [flag("aimed", aimed, segment("off"))]

    async with streaming(flags("u2")) as ours, ours.stream(VARIANTS, **USER) as client:
        await client.head()
        assert (await pushed(client))["aimed"]["key"] == "off"
        ours.served.board.publish(KEY, builders.snapshot(flags("u3")))
        ours.served.board.publish(KEY, builders.snapshot(flags("u1")))
        assert (await pushed(client))["aimed"]["key"] == "on"
        assert [len(tracked.outcomes) for tracked in ours.served.tracked] == [1, 1]


async def test_only_the_flags_that_were_asked_for_are_told() -> None:
    keys = encoded(["child"])
    async with (
        streaming(FLAGS) as ours,
        ours.stream(VARIANTS, X_Amp_Exp_Flag_Keys=keys) as client,
        ours.stream(f"{VARIANTS}?flag_keys=dark", **USER) as other,
    ):
        for one, expected in ((client, {"child", "parent"}), (other, {"dark"})):
            await one.head()
            assert set(await pushed(one)) == expected


async def test_what_is_told_is_reported_as_the_headers_wish() -> None:
    async with streaming([flag("old")]) as ours:
        for wish, tracked, exposed in (("no-track", 0, 0), ("track", 1, 1)):
            headers = {"X_Amp_Exp_Track": wish, "X_Amp_Exp_Exposure_Track": wish}
            async with ours.stream(VARIANTS, **USER, **headers) as client:
                await client.head()
                await pushed(client)
                assert (len(ours.served.tracked), len(ours.served.exposed)) == (tracked, exposed)


async def test_a_user_who_enters_a_cohort_hears_of_it_before_long() -> None:
    often = settings(keep_alive_millis=100)
    async with streaming(FLAGS, often) as ours, ours.stream(VARIANTS, **USER) as client:
        await client.head()
        assert (await pushed(client))["members"]["key"] == "off"
        ours.served.cohorts["User", "u1"] = ["c1"]
        assert (await pushed(client))["members"]["key"] == "on"


async def test_silence_is_broken_by_keep_alives() -> None:
    often = settings(keep_alive_millis=100)
    async with streaming(settings=often) as ours, ours.stream(VARIANTS, **USER) as client:
        await client.head()
        await client.chunk()
        for _ in range(3):
            assert await client.chunk() == KEEP_ALIVE


@pytest.mark.parametrize(
    "headers",
    [
        {"X_Amp_Exp_User": "%%%"},
        {"X_Amp_Exp_User": encoded([])},
        {"X_Amp_Exp_Flag_Keys": encoded({})},
    ],
)
async def test_what_is_wrong_is_told_before_anything_streams(headers: dict[str, str]) -> None:
    async with streaming() as ours:
        assert (await ours.served.get(VARIANTS, **headers)).status == 400
        assert (await ours.served.get(VARIANTS, Authorization="Api-Key x")).status == 401


async def test_streams_of_both_kinds_are_bounded_together() -> None:
    few = settings(max_connections=1)
    async with streaming(settings=few) as ours, ours.stream() as client:
        await client.head()
        assert (await ours.served.get(VARIANTS, **USER)).status == 503


async def test_the_streams_of_a_revoked_deployment_end() -> None:
    async with streaming() as ours, ours.stream(VARIANTS, **USER) as client:
        await client.head()
        await pushed(client)
        assert ours.variants.status() == {"open": 1}
        ours.served.board.revoke(KEY)
        assert await client.message() == b""
        assert await client.reader.read() == b""
        assert ours.variants.status() == {"open": 0}


async def test_it_is_not_there_unless_it_is_switched_on() -> None:
    async with serving() as served:
        assert (await served.get(VARIANTS, **USER)).status == 404
