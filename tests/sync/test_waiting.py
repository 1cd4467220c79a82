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
from proxy.sync.kept import KeptFlags
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

    def restore(self, body: bytes, *saved: str) -> None:
        """Restore flags; of these cohorts only the body is whole."""
        self.cohorts.saved = users(*saved)
        kept = KeptFlags(body=body, changed_at=self.rig.now - 90, confirmed_at=self.rig.now - 60)
        self.intake.restore(kept, compile_deployment(body))

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


async def test_restored_flags_wait_for_cohorts_that_are_rebuilt(waiting: Waiting) -> None:
    rig, began = waiting.rig, waiting.rig.now
    waiting.restore(NEW, "c1")
    assert rig.slot().snapshot is None
    assert waiting.intake.waiting == {"a": users("c1")}
    assert waiting.cohorts.needed[Secret(KEY)] == users("c1") == waiting.intake.targets

    rig.now += 5
    waiting.cohorts.come("c1")
    await waiting.settled()

    snapshot = rig.slot().snapshot
    assert snapshot is not None
    assert (snapshot.source, snapshot.changed_at) == ("disk", began - 90)
    assert rig.slot().confirmed_at == began - 60
    assert waiting.intake.restored
    assert waiting.variants() == {"a": "new", "b": "new"}


async def test_restored_flags_do_not_wait_for_cohorts_of_which_nothing_is_left(
    waiting: Waiting,
) -> None:
    waiting.restore(array(targeting("a", "c1"), targeting("b", "c2")), "c3")

    assert waiting.intake.waiting == {}
    assert set(waiting.variants()) == {"a", "b"}
    assert waiting.intake.missing().keys() == users("c1", "c2")


async def test_restored_flags_wait_no_longer_for_what_is_given_up(waiting: Waiting) -> None:
    waiting.restore(NEW, "c1")
    waiting.cohorts.give_up("c1")
    await waiting.settled()

    assert waiting.variants() == {"a": "new", "b": "new"}
    assert waiting.intake.missing().keys() == users("c1")


async def test_upstream_may_confirm_restored_flags_that_wait(waiting: Waiting) -> None:
    waiting.restore(NEW, "c1")

    assert await waiting.intake.take(NEW, "poll", 1) == "waits"
    confirmed = waiting.rig.now
    waiting.rig.now += 5
    waiting.cohorts.come("c1")
    await waiting.settled()

    assert waiting.rig.slot().confirmed_at == confirmed
    assert not waiting.intake.restored
    assert waiting.variants() == {"a": "new", "b": "new"}


async def test_newer_flags_that_need_not_wait_take_the_place_of_restored_ones_that_do(
    waiting: Waiting,
) -> None:
    waiting.restore(NEW, "c1")

    assert await waiting.intake.take(OLD, "poll", 1) == "changed"

    assert waiting.variants() == {"a": "old", "b": "old"}
    waiting.cohorts.come("c1")
    await waiting.intake.take(NEW, "poll", 2)
    assert waiting.variants() == {"a": "new", "b": "new"}


async def test_restored_flags_answer_while_newer_ones_wait_for_more(waiting: Waiting) -> None:
    waiting.restore(array(targeting("a", "c1"), flag("b", "old")), "c1")
    newer = array(targeting("a", "c1", "c2", variant="new"), flag("b", "new"))
    for body in (b"[]", newer):
        await waiting.intake.take(body, "poll", 1)
    assert waiting.rig.slot().snapshot is None
    assert waiting.cohorts.needed[Secret(KEY)] == users("c1", "c2")

    waiting.cohorts.come("c1")
    await wait_until(lambda: waiting.variants() == {"a": "on", "b": "new"})
    assert waiting.intake.waiting == {"a": users("c2")}
    assert waiting.cohorts.needed[Secret(KEY)] == users("c1", "c2")

    waiting.cohorts.come("c2")
    await waiting.settled()
    assert waiting.variants() == {"a": "new", "b": "new"}
    assert not waiting.intake.restored


async def test_newer_flags_that_are_ready_first_do_not_wait_for_restored_ones(
    waiting: Waiting,
) -> None:
    waiting.restore(array(targeting("a", "c1")), "c1")
    await waiting.intake.take(array(targeting("a", "c2", variant="new")), "poll", 1)
    generation = waiting.rig.board.generation

    waiting.cohorts.come("c2")
    await waiting.settled()

    assert waiting.variants() == {"a": "new"}
    assert waiting.rig.board.generation == generation + 1
    assert not waiting.intake.restored
    assert waiting.cohorts.needed[Secret(KEY)] == users("c2")


async def test_a_flag_that_cannot_be_used_keeps_the_version_that_waits_to_be_restored(
    waiting: Waiting,
) -> None:
    waiting.restore(NEW, "c1")
    broken = {"key": "a", "variants": 7}

    assert await waiting.intake.take(array(broken, flag("b", "newer")), "poll", 1) == "waits"
    waiting.cohorts.come("c1")
    await waiting.settled()

    assert waiting.variants() == {"a": "new", "b": "newer"}
    await waiting.intake.take(array(flag("a", "newest"), flag("b", "newer")), "poll", 2)
    await waiting.intake.take(array(broken, flag("b", "newest")), "poll", 3)
    assert waiting.variants() == {"a": "newest", "b": "newest"}


IDS = st.sampled_from(["c1", "c2", "c3"])
BODIES = st.lists(
    st.tuples(
        st.sampled_from("abcd"),
        st.sampled_from(["on", "off"]),
        st.lists(IDS, max_size=2, unique=True),
        st.lists(st.sampled_from("abcd"), max_size=1),
    ),
    max_size=4,
    unique_by=lambda one: one[0],
).map(
    lambda flags: [
        targeting(key, *ids, variant=variant, dependencies=needed)
        for key, variant, ids, needed in flags
    ]
)
STEPS = st.one_of(
    st.tuples(st.just("body"), BODIES),
    st.tuples(st.sampled_from(["come", "give_up"]), IDS),
    st.tuples(st.just("yield"), st.integers(1, 5)),
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kept=BODIES, saved=st.sets(IDS), steps=st.lists(STEPS, max_size=12))
async def test_in_the_end_the_last_body_is_in_force_and_never_what_was_not_served(
    rig: Rig, kept: list[Any], saved: set[str], steps: list[tuple[str, Any]]
) -> None:
    """At every moment each flag is in its newest version, or in one that was served before.

    None that is in the newest body is taken out of service. None is in force whose cohorts are
    on their way, but for a restored one whose cohorts are lost.
    """
    rig.board = Board()
    slot = rig.slot()
    old = raws(kept)
    served = {key: {raw} for key, raw in old.items()}
    newest = dict(old)
    last = array(*kept)
    before: set[str] = set()

    def look() -> None:
        nonlocal before
        if slot.snapshot is not None:
            compiled = slot.snapshot.compiled
            for key, raw in compiled.raw_flags.items():
                assert raw == newest.get(key) or raw in served.get(key, ())
                served.setdefault(key, set()).add(raw)
                pending = one.cohorts.pending(compiled.cohorts.get(key, frozenset()))
                assert not pending or (raw == old.get(key) and not pending & users(*saved))
            assert before & set(compile_deployment(last).raw_flags) <= set(compiled.raw_flags)
            before = set(compiled.raw_flags)

    async def watch() -> None:
        while True:
            await rig.board.changed()
            look()

    async with taking(rig) as one, asyncio.TaskGroup() as group:
        watching = group.create_task(watch())
        await asyncio.sleep(0)
        if kept:
            one.restore(last, *saved)
            look()
        for at, (what, of) in enumerate(steps):
            if what == "body":
                body = array(*of)
                if await one.intake.take(body, "poll", at) in ACCEPTED:
                    newest |= raws(of)
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
        watching.cancel()
        in_force = {} if slot.snapshot is None else dict(slot.snapshot.compiled.raw_flags)
        assert in_force == dict(compile_deployment(last).raw_flags)


def raws(flags: list[Any]) -> dict[str, bytes]:
    return {flag["key"]: msgspec.json.encode(flag) for flag in flags}
