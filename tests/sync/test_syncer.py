import asyncio
import itertools

import msgspec
import pytest
from aiohttp import web
from structlog.testing import capture_logs

from proxy.secret import Secret
from proxy.sync.cohort_verdicts import CohortTimings
from proxy.upstream.deployments import PATH as DEPLOYMENTS
from tests.fakes.upstream import Request, Step, Stream, answer, by_request, hang, json_answer
from tests.sync.rig import FLAGS, STREAM, Rig, array, flag, project, targeting, wait_until

COHORT = "/sdk/v1/cohort/c1"


def listed(*keys: str) -> object:
    return {"deployments": [{"projectId": "42", "key": key} for key in keys]}


async def test_static_keys_are_authorised_before_anything_is_asked(rig: Rig) -> None:
    syncer = rig.syncer(project("server-a", "b"))

    slot = rig.board.find("server-a")
    assert slot is not None
    assert slot.deployment.label == Secret("server-a").label
    assert (slot.deployment.type, slot.deployment.project_index) == ("server", 0)
    assert rig.board.pending is False
    assert syncer.knows_all_deployments()
    assert [ok for _, ok, _ in syncer.ready()] == [False, False]
    assert rig.up.requests == []


async def test_a_board_is_pending_until_each_project_was_listed_once(rig: Rig) -> None:
    known = answer(503)
    rig.up.on("GET", DEPLOYMENTS, json_answer(listed("server-a")), key="m-1")
    rig.up.on("GET", DEPLOYMENTS, known, key="m-2")
    projects = (
        project("server-s", management="m-1", api="api-1"),
        project(management="m-2", api="api-2"),
    )
    async with rig.syncing(*projects) as syncer:
        assert rig.board.pending
        await wait_until(lambda: rig.board.find("server-a"))
        await rig.up.received(2, DEPLOYMENTS, key="m-2")
        assert rig.board.pending
        assert not syncer.knows_all_deployments()

        rig.up.on("GET", DEPLOYMENTS, json_answer(listed()), key="m-2")
        await wait_until(lambda: not rig.board.pending)

    assert [status["known"] for status in syncer.project_status()] == [True, True]


async def test_a_flag_is_served_in_its_new_version_once_its_cohort_is_here(rig: Rig) -> None:
    comes = asyncio.Event()

    async def later(request: Request, raw: web.BaseRequest) -> web.StreamResponse:
        await comes.wait()
        members = {"cohortId": "c1", "groupType": "User", "lastModified": 1, "memberIds": ["u"]}
        return await json_answer(members)(request, raw)

    old = array(flag("a", "old"), flag("b", "old"))
    new = array(targeting("a", "c1", variant="new"), flag("b", "new"))
    rig.up.on("GET", FLAGS, answer(200, old), answer(200, new))
    rig.up.on("GET", COHORT, later)
    async with rig.syncing(project("server-a")) as syncer:
        await wait_until(lambda: rig.variant("server-a", "b") == "new")
        await rig.up.received(4, FLAGS)
        assert rig.variant("server-a", "a") == "old"
        assert rig.status(syncer)["waiting"] == [{"flag": "a", "cohorts": ["c1"]}]

        comes.set()
        await wait_until(lambda: rig.variant("server-a", "a") == "new")
        assert rig.status(syncer)["waiting"] == []
        assert rig.shelf.get(0, "c1") is not None


@pytest.mark.parametrize(("step", "why"), [(answer(404), "no such cohort"), (hang(), "loaded")])
async def test_a_flag_is_served_without_a_cohort_that_does_not_come(
    rig: Rig, step: Step, why: str
) -> None:
    rig.cohort_timings = CohortTimings(wait=0.3)
    rig.up.on("GET", FLAGS, answer(200, array(targeting("a", "c1"))))
    rig.up.on("GET", COHORT, step)
    async with rig.syncing(project("server-a")) as syncer:
        await wait_until(lambda: rig.variant("server-a", "a"))

        status = rig.status(syncer)
        assert why in status["cohorts_missing"]["c1"]
        assert status["waiting"] == []
        assert syncer.is_ready()
        [(_, ok, reason)] = syncer.ready()
        assert (ok, reason) == (True, "cohorts missing: c1")


async def test_a_deployment_that_goes_needs_no_cohorts_any_more(rig: Rig) -> None:
    rig.up.on("GET", DEPLOYMENTS, json_answer(listed("server-a")))
    rig.up.on("GET", FLAGS, answer(200, array(targeting("a", "c1"))))
    rig.up.on("GET", COHORT, answer(404))
    async with rig.syncing(project(management="m")) as syncer:
        await wait_until(lambda: rig.variant("server-a", "a"))
        assert syncer.may_target(0, "c1")
        assert not syncer.may_target(0, "c2")

        rig.up.on("GET", DEPLOYMENTS, json_answer(listed()))
        await wait_until(lambda: not syncer.may_target(0, "c1"))

        def needed_by() -> list[list[str]]:
            [status] = syncer.cohort_status()
            return [one["needed_by"] for one in status["cohorts"]]

        await wait_until(lambda: needed_by() == [[]])


async def test_a_new_deployment_is_served_in_one_step(rig: Rig) -> None:
    rig.up.on("GET", FLAGS, answer(200, array(flag())))
    rig.up.on("GET", DEPLOYMENTS, json_answer(listed()), json_answer(listed("server-a")))
    async with rig.syncing(project(management="m")):
        await wait_until(lambda: rig.variant("server-a") == "on")

    first = rig.up.at(FLAGS)[0]
    listings = [request for request in rig.up.at(DEPLOYMENTS) if request.at < first.at]
    assert len(listings) == 2


async def test_static_and_listed_deployments_are_served_together(rig: Rig) -> None:
    rig.up.on("GET", FLAGS, answer(200, array(flag())))
    rig.up.on("GET", DEPLOYMENTS, json_answer(listed("server-a", "server-b")))
    async with rig.syncing(project("server-a", "server-s", management="m")) as syncer:
        await wait_until(lambda: len([s for s in rig.board.slots() if s.snapshot]) == 3)
        rig.up.on("GET", DEPLOYMENTS, json_answer(listed()))
        await wait_until(lambda: rig.board.find("server-b") is None)

        assert [one["key"] for one in syncer.status()] == [
            Secret("server-a").label,
            Secret("server-s").label,
        ]


async def test_trouble_of_one_deployment_is_its_own(rig: Rig) -> None:
    rig.up.on("GET", FLAGS, hang(), key="server-hangs")
    rig.up.on("GET", FLAGS, answer(200, b"[" * 50_000), key="server-garbled")
    rig.up.on("GET", FLAGS, answer(401), key="server-refused")
    rig.up.on(
        "GET",
        FLAGS,
        by_request(lambda _: answer(200, array(flag(variant=f"v{len(rig.up.requests)}")))),
        key="server-fine",
    )
    keys = ("server-hangs", "server-garbled", "server-refused", "server-fine")
    async with rig.syncing(project(*keys)) as syncer:
        seen: set[str | None] = set()
        while len(seen) < 5:
            seen.add(rig.variant("server-fine"))
            await asyncio.sleep(0)

        ready = {label: (ok, reason) for label, ok, reason in syncer.ready()}
        assert ready[Secret("server-fine").label] == (True, "")
        assert ready[Secret("server-hangs").label][0] is False
        assert "401" in ready[Secret("server-refused").label][1]
        assert "not a JSON array" in ready[Secret("server-garbled").label][1]


async def test_a_fleet_of_deployments_starts_without_a_burst(rig: Rig) -> None:
    rig.times(parallel=4, flags=60.0)
    under_way = most = 0

    async def counted(request: Request, raw: web.BaseRequest) -> web.StreamResponse:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        for _turn in range(20):
            await asyncio.sleep(0)
        under_way -= 1
        return await answer(200, array(flag()))(request, raw)

    rig.up.on("GET", FLAGS, counted)
    async with rig.syncing(project(*(f"server-{n}" for n in range(60)))):
        await wait_until(lambda: all(slot.snapshot for slot in rig.board.slots()))

    assert len(rig.up.requests) == 60
    assert 1 < most <= 4


async def test_streams_that_hang_do_not_hold_up_first_polls(rig: Rig) -> None:
    rig.times(streams=True, parallel=1, flags=60.0)
    rig.up.on("GET", FLAGS, answer(200, array(flag())))
    rig.up.on("GET", STREAM, hang())
    rig.up.on("GET", DEPLOYMENTS, json_answer(listed()))
    async with rig.syncing(project("server-a", management="m")):
        await rig.up.received(1, STREAM)
        rig.up.on("GET", DEPLOYMENTS, json_answer(listed("server-b")))

        await rig.up.received(1, FLAGS, key="server-b", seconds=3)


async def test_only_so_many_streams_are_followed_and_the_others_take_turns(rig: Rig) -> None:
    rig.times(streams=True, most_streams=3, flags=60.0)
    rig.up.on("GET", FLAGS, answer(200, array(flag())))
    stream = Stream(array(flag()))
    rig.up.on("GET", STREAM, stream)
    async with rig.syncing(project(*(f"server-{n}" for n in range(8)))) as syncer:

        def states() -> list[str]:
            return sorted(one["stream"] for one in syncer.status())

        await wait_until(lambda: states() == ["delivers"] * 3 + ["waits"] * 5)
        assert all(slot.snapshot for slot in rig.board.slots())
        assert stream.opened == 3

        stream.hang_up()
        await wait_until(lambda: stream.opened == 6 and stream.connections == 3)


async def test_flags_are_wholly_old_or_wholly_new(rig: Rig) -> None:
    """Flags change all the time; whoever looks sees one set, never a mixture."""
    rig.times(streams=True, flags=0.001)
    rounds = itertools.count()

    def next_set(_: Request) -> Step:
        variant = f"v{next(rounds)}"
        return answer(200, array(*(flag(f"f{n}", variant) for n in range(20))))

    rig.up.on("GET", FLAGS, by_request(next_set))
    rig.up.on("GET", STREAM, answer(501))
    sets: set[str] = set()
    async with rig.syncing(project("server-a")):
        while len(sets) < 20:
            flags = rig.flags("server-a")
            variants = {next(iter(one.variants)) for one in flags.values()}
            assert (len(flags), len(variants)) in {(20, 1), (0, 0)}
            sets |= variants
            await asyncio.sleep(0)


async def test_no_key_is_in_a_log_a_status_or_a_metric(rig: Rig) -> None:
    keys = ["server-sesame-1", "unprefixed-sesame-2"]
    rig.times(streams=True)
    rig.up.on("GET", FLAGS, answer(200, array(flag())), answer(503), answer(200, b"<html>"))
    rig.up.on("GET", STREAM, Stream(array(flag())))
    rig.up.on("GET", DEPLOYMENTS, json_answer(listed("server-sesame-3")), answer(401))
    with capture_logs() as lines:
        async with rig.syncing(project(*keys, management="management-sesame")) as syncer:
            await rig.up.received(6, FLAGS)
            await rig.up.received(3, DEPLOYMENTS)
            told = (
                msgspec.json.encode(syncer.status())
                + msgspec.json.encode(syncer.project_status())
                + msgspec.json.encode(syncer.ready())
            )

    assert b"sesame" not in told
    assert "sesame" not in repr(lines)
    assert "sesame" not in repr(list(rig.metrics.registry.collect()))


@pytest.mark.parametrize("keys", [("server-a", "server-a"), ("server-a",)])
async def test_a_key_is_served_once_for_the_first_who_names_it(
    rig: Rig, keys: tuple[str, ...]
) -> None:
    rig.up.on("GET", DEPLOYMENTS, json_answer(listed("server-a")))
    async with rig.syncing(project(*keys), project("server-a", management="m", api="api-2")):
        await wait_until(lambda: not rig.board.pending)

        [slot] = rig.board.slots()
        assert slot.deployment.project_index == 0


async def test_after_a_stop_nothing_is_asked_and_the_board_still_answers(rig: Rig) -> None:
    rig.times(streams=True)
    stream = Stream(array(flag()))
    rig.up.on("GET", FLAGS, answer(200, array(flag())))
    rig.up.on("GET", STREAM, stream)
    async with rig.syncing(project("server-a")):
        await wait_until(lambda: stream.connections)
    asked = len(rig.up.requests)
    await wait_until(lambda: not stream.connections)

    assert rig.variant("server-a") == "on"
    assert len(rig.up.requests) == asked
    assert [task for task in asyncio.all_tasks() if "server" in task.get_name()] == []
