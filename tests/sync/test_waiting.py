"""Bodies whose flags need cohorts that are on their way."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from proxy import tasks
from proxy.evaluation.deployment import compile_deployment
from proxy.secret import Secret
from proxy.snapshots.board import Board
from proxy.sync.desk import Desk
from proxy.sync.intake import ACCEPTED, Intake
from tests.sync.arrivals import Arrivals, users
from tests.sync.rig import KEY, Rig, array, flag, targeting, wait_until

OLD = array(flag("a", "old"), flag("b", "old"))
NEW = array(targeting("a", "c1", variant="new"), flag("b", "new"))


class Waiting:
    """An intake at work beside cohorts that come when a test says so."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.cohorts = Arrivals()
        self.desk = Desk(rig.slot(), rig.means(), self.cohorts)
        self.intake: Intake = self.desk.intake

    def variants(self) -> dict[str, str | None]:
        """What everybody gets of each flag in force, whoever is in which cohort."""
        return {key: self.rig.variant(name=key) for key in self.rig.flags()}

    async def settled(self) -> None:
        """Wait until nothing waits."""
        await wait_until(lambda: not self.intake.waiting)


@pytest.fixture
async def waiting(rig: Rig) -> AsyncIterator[Waiting]:
    async with taking(rig) as one:
        yield one


@asynccontextmanager
async def taking(rig: Rig) -> AsyncIterator[Waiting]:
    one = Waiting(rig)
    running = tasks.start("intake", one.intake.run())
    try:
        yield one
    finally:
        await tasks.stop(running)


async def test_first_flags_wait_for_their_cohorts_as_a_whole(waiting: Waiting) -> None:
    assert await waiting.intake.take(NEW, "poll", 1) == "waits"
    assert waiting.rig.slot().snapshot is None
    assert waiting.intake.body == NEW

    waiting.cohorts.come("c1")
    await waiting.settled()

    assert waiting.variants() == {"a": "new", "b": "new"}
    snapshot = waiting.rig.slot().snapshot
    assert snapshot is not None
    assert snapshot.compiled.body == NEW


async def test_a_cohort_that_is_given_up_is_waited_for_no_longer(waiting: Waiting) -> None:
    await waiting.intake.take(NEW, "poll", 1)
    with capture_logs() as lines:
        waiting.cohorts.give_up("c1")
        await waiting.settled()

    assert waiting.variants() == {"a": "new", "b": "new"}
    assert waiting.intake.missing() == dict.fromkeys(users("c1"), "not asked for")
    [line] = [line for line in lines if line["log_level"] == "warning"]
    assert (line["cohort"], line["deployment"]) == ("c1", "alpha")


async def test_cohorts_that_come_late_or_go_are_told_at_once(waiting: Waiting) -> None:
    waiting.cohorts.give_up("c1")
    await waiting.intake.take(NEW, "poll", 1)
    for turn in (waiting.cohorts.come, waiting.cohorts.go, waiting.cohorts.come):
        with capture_logs() as lines:
            turn("c1")
            await wait_until(lambda: lines)
        missing = turn == waiting.cohorts.go
        begins = "cohort missing" if missing else "cohorts not missing any more"
        [line] = lines
        assert line["event"].startswith(begins)

    # A body that comes meanwhile is waited for all the same.
    await waiting.intake.take(array(targeting("a", "c2")), "poll", 2)
    assert waiting.intake.waiting == {"a": users("c2")}
    waiting.cohorts.come("c2")
    await waiting.settled()


async def test_later_only_the_flag_that_needs_a_cohort_waits(waiting: Waiting) -> None:
    await waiting.intake.take(OLD, "poll", 1)

    assert await waiting.intake.take(NEW, "poll", 2) == "changed"
    assert waiting.variants() == {"a": "old", "b": "new"}
    assert waiting.intake.waiting == {"a": users("c1")}

    waiting.cohorts.come("c1")
    await waiting.settled()
    assert waiting.variants() == {"a": "new", "b": "new"}


async def test_where_only_a_waiting_flag_changed_nothing_changes(waiting: Waiting) -> None:
    await waiting.intake.take(array(flag("a", "old")), "poll", 1)
    before = waiting.rig.slot().snapshot
    generation = waiting.rig.board.generation

    assert await waiting.intake.take(array(targeting("a", "c1")), "poll", 2) == "waits"

    assert waiting.rig.board.generation == generation
    assert before is not None


async def test_the_same_body_again_does_not_begin_the_wait_anew(waiting: Waiting) -> None:
    await waiting.intake.take(NEW, "poll", 1)
    await wait_until(lambda: waiting.cohorts.waited_for)

    assert await waiting.intake.take(NEW, "poll", 2) == "waits"
    assert await waiting.intake.take(b" " + NEW, "stream", 3) == "waits"
    assert waiting.intake.confirm() == "waits"

    assert waiting.rig.metric("compile_duration_seconds_count") == 1
    assert len(waiting.cohorts.waited_for) == 1
    assert waiting.intake.as_of == 3


async def test_a_newer_body_takes_the_place_of_one_that_waits_at_once(waiting: Waiting) -> None:
    await waiting.intake.take(NEW, "poll", 1)
    await wait_until(lambda: waiting.cohorts.waited_for)

    assert await waiting.intake.take(OLD, "poll", 2) == "changed"
    assert waiting.variants() == {"a": "old", "b": "old"}

    waiting.cohorts.come("c1")
    other = array(targeting("a", "c2", variant="newest"), flag("b", "old"))
    assert await waiting.intake.take(other, "poll", 3) == "waits"
    waiting.cohorts.come("c2")
    await waiting.settled()
    assert waiting.variants() == {"a": "newest", "b": "old"}


async def test_a_newer_body_that_waits_for_others_is_not_held_up(waiting: Waiting) -> None:
    await waiting.intake.take(array(targeting("a", "c1")), "poll", 1)
    await wait_until(lambda: waiting.cohorts.waited_for)
    await waiting.intake.take(array(targeting("a", "c2", variant="newer")), "poll", 2)

    waiting.cohorts.come("c2")
    await waiting.settled()

    assert waiting.variants() == {"a": "newer"}
    assert waiting.cohorts.pending(users("c1"))


async def test_an_older_body_does_not_take_the_place_of_one_that_waits(waiting: Waiting) -> None:
    await waiting.intake.take(NEW, "stream", 10)

    assert await waiting.intake.take(OLD, "poll", 9) == "stale"

    waiting.cohorts.come("c1")
    await waiting.settled()
    assert waiting.variants() == {"a": "new", "b": "new"}


async def test_a_body_that_goes_back_to_what_is_in_force_ends_the_wait(waiting: Waiting) -> None:
    await waiting.intake.take(OLD, "poll", 1)
    await waiting.intake.take(NEW, "poll", 2)

    assert await waiting.intake.take(OLD, "poll", 3) == "changed"

    assert waiting.intake.waiting == {}
    assert waiting.variants() == {"a": "old", "b": "old"}
    assert waiting.cohorts.needed[Secret(KEY)] == frozenset()


async def test_flags_that_wait_are_emptied_by_two_answers_only(waiting: Waiting) -> None:
    await waiting.intake.take(NEW, "poll", 1)

    assert await waiting.intake.take(b"[]", "poll", 2) == "unconfirmed"
    assert await waiting.intake.take(b"[]", "poll", 3) == "changed"

    assert waiting.intake.waiting == {}
    assert waiting.rig.flags() == {}


async def test_a_body_of_which_nothing_can_be_used_leaves_the_wait_alone(waiting: Waiting) -> None:
    await waiting.intake.take(NEW, "poll", 1)

    assert await waiting.intake.take(array({"key": "a", "variants": 7}), "poll", 2) == "broken"

    waiting.cohorts.come("c1")
    await waiting.settled()
    assert waiting.variants() == {"a": "new", "b": "new"}


async def test_all_that_is_in_force_or_waits_is_needed(waiting: Waiting) -> None:
    needed = waiting.cohorts.needed
    waiting.cohorts.come("c1")
    await waiting.intake.take(array(targeting("a", "c1")), "poll", 1)
    assert needed[Secret(KEY)] == users("c1")

    await waiting.intake.take(array(targeting("a", "c2")), "poll", 2)
    assert needed[Secret(KEY)] == users("c1", "c2") == waiting.intake.targets

    waiting.cohorts.come("c2")
    await waiting.settled()
    assert needed[Secret(KEY)] == users("c2") == waiting.intake.targets


async def test_flags_are_as_old_as_upstreams_last_word_for_them(waiting: Waiting) -> None:
    rig = waiting.rig
    await waiting.intake.take(array(flag("a", "old")), "poll", 1)
    began = rig.now
    rig.now += 10
    await waiting.intake.take(array(targeting("a", "c1", variant="new")), "poll", 2)
    rig.now += 10
    waiting.intake.confirm()
    assert rig.slot().confirmed_at == began

    rig.now += 10
    waiting.cohorts.come("c1")
    await waiting.settled()

    assert rig.slot().confirmed_at == began + 20


async def test_what_waits_is_told(waiting: Waiting) -> None:
    await waiting.intake.take(OLD, "poll", 1)
    with capture_logs() as lines:
        await waiting.intake.take(NEW, "poll", 2)

    [line] = [line for line in lines if line["event"] == "flags wait for cohorts"]
    assert (line["flags"], line["cohorts"], line["count"]) == (["a"], ["c1"], 1)
    assert waiting.rig.metric("flags", deployment="alpha") == 2


STEPS = st.one_of(
    st.tuples(
        st.just("body"),
        st.lists(
            st.tuples(
                st.sampled_from("abcd"),
                st.sampled_from(["on", "off"]),
                st.lists(st.sampled_from(["c1", "c2", "c3"]), max_size=2, unique=True),
                st.lists(st.sampled_from("abcd"), max_size=1),
            ),
            max_size=4,
            unique_by=lambda one: one[0],
        ),
    ),
    st.tuples(st.sampled_from(["come", "give_up"]), st.sampled_from(["c1", "c2", "c3"])),
    st.tuples(st.just("yield"), st.integers(1, 5)),
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEPS, max_size=12))
async def test_in_the_end_the_last_body_is_in_force_and_never_what_was_not_served(
    rig: Rig, steps: list[tuple[str, Any]]
) -> None:
    """At every moment each flag is in its newest version, or in one that was served before.

    And none that is in the newest body is taken out of service.
    """
    rig.board = Board()
    slot = rig.slot()
    served: dict[str, set[bytes]] = {}
    newest: dict[str, bytes] = {}
    last = b"[]"
    before: set[str] = set()

    def look() -> None:
        nonlocal before
        if slot.snapshot is not None:
            in_force = slot.snapshot.compiled.raw_flags
            for key, raw in in_force.items():
                assert raw == newest.get(key) or raw in served.get(key, ())
                served.setdefault(key, set()).add(raw)
            assert before & set(compile_deployment(last).raw_flags) <= set(in_force)
            before = set(in_force)

    async with taking(rig) as one:
        for at, (what, of) in enumerate(steps):
            if what == "body":
                flags = [
                    targeting(key, *ids, variant=variant, dependencies=needed)
                    for key, variant, ids, needed in of
                ]
                body = array(*flags)
                if await one.intake.take(body, "poll", at) in ACCEPTED:
                    newest |= {flag["key"]: msgspec.json.encode(flag) for flag in flags}
                    last = body
            elif what == "yield":
                for _ in range(of):
                    await asyncio.sleep(0)
            else:
                getattr(one.cohorts, what)(of)
            look()
        one.cohorts.come("c1", "c2", "c3")
        await one.settled()
        look()
        in_force = {} if slot.snapshot is None else dict(slot.snapshot.compiled.raw_flags)
        assert in_force == dict(compile_deployment(last).raw_flags)
