import asyncio
from collections.abc import Iterator

import pytest
import structlog
from structlog.testing import capture_logs

from proxy.errors import UpstreamGarbled
from proxy.sync.intake import Intake
from proxy.sync.telling import MOST_LINES_LOGGED
from tests.sync.rig import KEY, Rig, array, flag

BROKEN = {"key": "feature", "variants": 7}


@pytest.fixture
def intake(rig: Rig) -> Intake:
    return rig.desk().intake


@pytest.fixture
def lines() -> Iterator[list[structlog.typing.EventDict]]:
    with capture_logs() as captured:
        yield captured


async def test_a_body_is_in_force_at_once_and_byte_for_byte(rig: Rig, intake: Intake) -> None:
    body = b' [{"note": 1.50, "key":"feature","variants":{},"segments":[] } ] '

    assert await intake.take(body, "poll", 1) == "changed"

    slot = rig.board.find(KEY)
    assert slot is not None
    assert slot.snapshot is not None
    assert slot.snapshot.compiled.body == body
    assert (slot.snapshot.source, slot.snapshot.changed_at) == ("poll", rig.now)
    assert intake.body == body
    assert rig.metric("compile_duration_seconds_count") == 1


async def test_before_the_first_body_there_is_nothing_to_confirm(rig: Rig, intake: Intake) -> None:
    assert intake.confirm() == "unchanged"
    assert rig.slot().confirmed_at is None
    assert intake.targets is None


async def test_the_same_body_confirms_and_compiles_nothing(rig: Rig, intake: Intake) -> None:
    await intake.take(array(flag()), "poll", 1)
    before = rig.slot().snapshot
    rig.now += 60

    assert await intake.take(array(flag()), "poll", 2) == "unchanged"

    slot = rig.board.find(KEY)
    assert slot is not None
    assert slot.confirmed_at == rig.now
    assert rig.metric("compile_duration_seconds_count") == 1
    assert before is not None


@pytest.mark.parametrize("version", [1, 0, None])
async def test_content_decides_whatever_the_version_says(
    rig: Rig, intake: Intake, version: int | None
) -> None:
    await intake.take(array(flag()), "poll", 1)

    metadata = {"flagVersion": version} if version is not None else {}
    verdict = await intake.take(array(flag(variant="off", metadata=metadata)), "poll", 2)

    assert verdict == "changed"
    assert rig.variant() == "off"


async def test_an_older_answer_never_replaces_a_newer_one(rig: Rig, intake: Intake) -> None:
    await intake.take(array(flag(variant="new")), "poll", 10)

    assert await intake.take(array(flag(variant="old")), "stream", 9) == "stale"
    assert await intake.take(array(flag(variant="old")), "poll", 9) == "stale"
    assert rig.variant() == "new"
    assert await intake.take(array(flag(variant="newer")), "poll", 11) == "changed"


async def test_a_poll_asked_for_before_a_streams_word_is_in_force_knows_less(
    rig: Rig, intake: Intake
) -> None:
    now = asyncio.get_running_loop().time
    came = now()
    streamed = asyncio.create_task(intake.take(array(flag(variant="new")), "stream", came))
    await asyncio.sleep(0)
    asked = now()
    polled = asyncio.create_task(intake.take(array(flag(variant="old")), "poll", asked))

    assert await streamed == "changed"
    assert await polled == "stale"
    assert asked > came
    assert rig.variant() == "new"
    assert await intake.take(array(flag(variant="newer")), "poll", now()) == "changed"


async def test_of_simultaneous_answers_the_newest_wins(rig: Rig, intake: Intake) -> None:
    bodies = {moment: array(flag(variant=f"v{moment}")) for moment in (3, 1, 4, 2)}

    await asyncio.gather(*(intake.take(body, "poll", at) for at, body in bodies.items()))

    assert rig.variant() == "v4"


async def test_another_source_may_spell_the_same_flags_otherwise(rig: Rig, intake: Intake) -> None:
    body = array(flag("a"), flag("b"))
    await intake.take(body, "stream", 1)

    assert await intake.take(b" " + array(flag("b"), flag("a")), "poll", 2) == "unchanged"
    assert intake.body == body


@pytest.mark.parametrize(
    "body", [b"{}", b"null", b"<html>", b'[{"key":"feature"', b"[1,", b"\xff", b'"x"', b"[" * 9999]
)
async def test_what_is_no_array_changes_nothing(rig: Rig, intake: Intake, body: bytes) -> None:
    await intake.take(array(flag()), "poll", 1)

    with pytest.raises(UpstreamGarbled):
        await intake.take(body, "poll", 2)
    assert rig.variant() == "on"


async def test_flags_are_emptied_by_two_answers_only(rig: Rig, intake: Intake) -> None:
    await intake.take(array(flag()), "poll", 1)

    assert await intake.take(b"[]", "poll", 2) == "unconfirmed"
    assert await intake.take(array(flag()), "poll", 3) == "unchanged"
    assert await intake.take(b"[]", "poll", 4) == "unconfirmed"
    assert await intake.take(array(flag(variant="off")), "poll", 5) == "changed"
    assert await intake.take(b"[]", "poll", 6) == "unconfirmed"
    assert rig.variant() == "off"
    assert await intake.take(b" []", "stream", 7) == "changed"
    assert rig.flags() == {}
    assert rig.slot().snapshot is not None


async def test_a_deployment_without_flags_is_an_answer_at_once(rig: Rig, intake: Intake) -> None:
    assert await intake.take(b"[]", "poll", 1) == "changed"
    assert rig.slot().snapshot is not None


async def test_one_malformed_flag_among_ten_leaves_nine_updated(
    rig: Rig, intake: Intake, lines: list[structlog.typing.EventDict]
) -> None:
    await intake.take(array(*(flag(f"f{n}", "old") for n in range(10))), "poll", 1)
    new = [flag(f"f{n}", "new") for n in range(10)]
    new[4] = {"key": "f4", "variants": 7}

    assert await intake.take(array(*new), "poll", 2) == "changed"

    assert {key: rig.variant(name=key) for key in rig.flags()} == {
        f"f{n}": "old" if n == 4 else "new" for n in range(10)
    }
    [line] = [line for line in lines if line["log_level"] == "warning"]
    assert (line["flag"], line["in_force"]) == ("f4", True)


async def test_what_is_left_out_is_logged_once_per_change(
    intake: Intake, lines: list[structlog.typing.EventDict]
) -> None:
    broken = [{"key": f"f{n}", "variants": 7} for n in range(MOST_LINES_LOGGED + 5)]
    await intake.take(array(flag("ok"), *broken), "poll", 1)
    warnings = [line for line in lines if line["log_level"] == "warning"]
    assert len(warnings) == MOST_LINES_LOGGED + 1
    assert warnings[-1]["count"] == 5

    await intake.take(array(flag("ok", "off"), *broken), "poll", 2)

    assert len([line for line in lines if line["log_level"] == "warning"]) == len(warnings)


async def test_a_pattern_that_matches_nothing_is_told(
    intake: Intake, lines: list[structlog.typing.EventDict]
) -> None:
    condition = {"selector": ["context", "user", "x"], "op": "regex match", "values": ["["]}
    broken = flag(segments=[{"conditions": [[condition]], "variant": "on"}])

    await intake.take(array(broken), "poll", 1)

    assert any(line["event"] == "pattern of a flag matches nothing" for line in lines)


async def test_when_no_flag_can_be_used_the_old_ones_stay(rig: Rig, intake: Intake) -> None:
    assert await intake.take(array(BROKEN), "poll", 1) == "broken"
    assert rig.slot().snapshot is None
    await intake.take(array(flag()), "poll", 2)

    other = array({"key": "other", "variants": 7})
    assert await intake.take(other, "poll", 3) == "broken"
    compiles = rig.metric("compile_duration_seconds_count")
    assert await intake.take(other, "poll", 4) == "broken"

    assert rig.variant() == "on"
    assert rig.metric("compile_duration_seconds_count") == compiles


async def test_a_deployment_that_went_meanwhile_is_not_published(rig: Rig, intake: Intake) -> None:
    rig.board.revoke(KEY)

    await intake.take(array(flag()), "poll", 1)

    assert intake.body is None
    assert rig.board.find(KEY) is None


async def test_the_event_loop_goes_on_while_flags_compile(intake: Intake) -> None:
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.get_running_loop().create_task(count_turns())
    await intake.take(array(*(flag(f"f{n}") for n in range(500))), "poll", 1)
    counting.cancel()

    assert turns > 20


async def test_a_pattern_that_takes_too_long_is_counted_by_flag(rig: Rig, intake: Intake) -> None:
    condition = {
        "selector": ["context", "user", "x"],
        "op": "regex match",
        "values": [r"(a|aa)+(?<=b)\1"],
    }
    slow = flag(segments=[{"conditions": [[condition]], "variant": "on"}])
    await intake.take(array(slow), "poll", 1)
    snapshot = rig.slot().snapshot
    assert snapshot is not None

    snapshot.compiled.evaluate({"x": "a" * 60})

    assert rig.metric("regex_timeouts_total", flag="feature") == 1
