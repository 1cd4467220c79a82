"""What comes of the answers about cohorts: real downloads, real builds, short periods."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from proxy.evaluation.cohorts import Target
from proxy.secret import Secret
from proxy.sync.turns import Turns
from proxy.upstream.cohorts import PATH, Credentials
from tests.fakes.upstream import (
    Request,
    Step,
    answer,
    by_request,
    cut_after,
    drip,
    gzip_answer,
    hang,
    raw_answer,
)
from tests.sync.cohort_rig import (
    FIRST,
    SECOND,
    CohortRig,
    body,
    cohort,
    one_of,
    rigged,
    targets,
    wait_until,
)

C = targets("c")
ANN = ["ann", "bob", "cid", "dot"]


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[CohortRig]:
    async with rigged(tmp_path / "data") as one:
        yield one


async def test_a_cohort_that_flags_target_is_loaded_at_once(rig: CohortRig) -> None:
    rig.on(cohort(ANN, 5))
    async with rig.wanting() as loop:
        assert loop.pending(C) == C
        await loop.settled(C)

        assert rig.holds("ann")
        assert not rig.holds("eve")
        assert loop.pending(C) == frozenset()
        assert loop.missing(C) == {}

    [query] = (await rig.asked(1))[:1]
    assert query == {"maxCohortSize": "1000"}
    assert rig.metric("cohorts", project="p", state="here") == 1
    assert rig.metric("cohorts", project="p", state="missing") == 0
    assert rig.metric("cohort_members", project="p") == 4
    assert rig.metric("cohort_load_seconds_count") == 1
    assert rig.metric("cohort_bytes_total", project="p") == len(gzip.compress(body(ANN, 5)))
    assert rig.metric("cohort_download_total") == len(rig.up.requests)


async def test_newer_versions_replace_and_204_confirms(rig: CohortRig) -> None:
    rig.on(cohort(ANN, 5), answer(204), cohort(["eve"], 6), answer(204))
    async with rig.wanting() as loop:
        await loop.settled(C)
        rig.now += 100
        await wait_until(lambda: rig.version() == 6)
        rig.now += 7
        await rig.asked(5)
        await wait_until(lambda: one_of(loop)["age_seconds"] == 0)

    assert not rig.holds("ann")
    assert rig.holds("eve")
    assert [query.get("lastModified") for query in await rig.asked(5)][:5] == [
        None,
        "5",
        "5",
        "6",
        "6",
    ]
    assert rig.outcomes("changed") == 2
    assert rig.metric("cohort_download_failure_total") == 0


async def test_groups_have_cohorts_too_and_a_flag_for_another_type_learns_why(
    rig: CohortRig,
) -> None:
    rig.on(cohort(["acme"], group_type="org"))
    users, orgs = targets("c"), targets("c", group_type="org")
    async with rig.wanting() as loop:
        await loop.settled(users | orgs)

        assert loop.missing(orgs) == {}
        assert loop.missing(users) == {Target("User", "c"): "is of group type org"}
    assert rig.holds("acme", group_type="org")
    assert not rig.holds("acme")


async def test_an_older_version_is_ignored_and_an_equal_one_is_no_change(rig: CohortRig) -> None:
    rig.on(cohort(ANN, 5), cohort(["old"], 4), cohort(["same"], 5), answer(204))
    async with rig.wanting():
        await rig.asked(5)

    assert rig.holds("ann")
    assert rig.version() == 5
    assert rig.outcomes("older") == 1
    assert rig.outcomes("unchanged") >= 1
    await rig.tidy()


async def test_a_cohort_that_becomes_empty_loses_all_members(rig: CohortRig) -> None:
    rig.on(cohort(ANN, 5), answer(200, body([], 6, memberIds=None)), answer(204))
    with capture_logs() as lines:
        async with rig.wanting() as loop:
            await loop.settled(C)
            await wait_until(lambda: rig.version() == 6)

    assert not any(map(rig.holds, ANN))
    assert rig.metric("cohort_members", project="p") == 0
    assert "cohort has no members any more" in [line["event"] for line in lines]


async def test_a_shrinking_cohort_shrinks_and_a_large_loss_is_told(rig: CohortRig) -> None:
    rig.on(cohort(ANN, 5), cohort(ANN[:2], 6), cohort(ANN[:2], 7, group_type="org"), answer(204))
    with capture_logs() as lines:
        async with rig.wanting() as loop:
            await loop.settled(C)
            rig.on(cohort(ANN[:1], 8, group_type="org"), answer(204))
            await wait_until(lambda: rig.version() == 8)

    told = [line["event"] for line in lines if line["log_level"] == "warning"]
    assert told == ["cohort has another group type than before", "cohort lost most of its members"]
    assert rig.holds("ann", group_type="org")
    assert not rig.holds("bob", group_type="org")


BOMB = gzip.compress(b" " * (80 * 2**20))
BAD: dict[str, Step] = {
    "500": answer(500),
    "503": answer(503),
    "429": answer(429),
    "401": answer(401),
    "302": answer(302, b"", Location="/elsewhere"),
    "unasked status": answer(206, body(ANN, 9)),
    "hanging up": cut_after(0, body(ANN, 9)),
    "length too long": raw_answer(body(["x"], 9), Content_Length="100000"),
    "length too short": raw_answer(body(["x"], 9), Content_Length="40"),
    "no length, cut": raw_answer(body(["x"], 9)[:-4]),
    "gzip cut, length fits": raw_answer(
        gzip.compress(body(["x"], 9))[:-12], Content_Encoding="gzip"
    ),
    "not gzip": answer(200, b"junk", Content_Encoding="gzip"),
    "gzip bomb": answer(200, BOMB, Content_Encoding="gzip"),
    "HTML": answer(200, b"<html></html>"),
    "empty": answer(200, b""),
    "null": answer(200, b"null"),
    "array": answer(200, b"[]"),
    "another cohort": cohort(["x"], 9, cohort_id="other"),
    "no lastModified": answer(200, body(["x"], 9, lastModified=None)),
    "a member that is no text": answer(200, body(["x"], 9, memberIds=[[1]])),
    "no group type": answer(200, body(["x"], 9, groupType=7)),
    "packed oddly": answer(200, b"?", Content_Encoding="br"),
}


async def test_nothing_bad_replaces_what_is_good_and_leaves_nothing_behind(rig: CohortRig) -> None:
    bad = list(BAD.values())
    rig.on(cohort(ANN, 5), *bad, cohort(["eve"], 9), answer(204))
    async with rig.wanting() as loop:
        await loop.settled(C)
        while rig.version() == 5:
            assert rig.holds("ann")
            assert not rig.holds("x")
            await asyncio.sleep(0)
        await rig.asked(len(bad) + 3)
        assert one_of(loop)["trouble"] == ""

    assert rig.holds("eve")
    assert rig.metric("cohort_download_failure_total") == len(bad)
    assert sum(map(rig.outcomes, ["unavailable", "refused", "garbled", "broken"])) == len(bad)
    await rig.tidy()


@pytest.mark.parametrize("packed", [True, False])
async def test_a_connection_cut_at_every_tenth_of_the_body_means_another_try(
    rig: CohortRig, packed: bool
) -> None:
    whole = body((f"user-{n}" for n in range(900)), 5)
    sent = gzip.compress(whole) if packed else whole
    coding = {"Content_Encoding": "gzip"} if packed else {}
    cuts = [cut_after(len(sent) * tenth // 10, sent, **coding) for tenth in range(10)]
    rig.on(*cuts, answer(200, sent, **coding))
    async with rig.wanting() as loop:
        await loop.settled(C)

    assert rig.holds("user-0")
    assert rig.holds("user-899")
    assert rig.outcomes("unavailable") == 10
    assert rig.metric("cohort_download_failure_total") == 10


async def test_after_fifty_bad_answers_in_a_row_a_good_one_is_taken(rig: CohortRig) -> None:
    bad = [list(BAD.values())[n % 10] for n in range(50)]
    rig.on(*bad, cohort(ANN, 5))
    async with rig.wanting():
        await wait_until(lambda: rig.holds("ann"))

    assert rig.metric("cohort_download_failure_total") == 50


async def test_what_upstream_prepares_is_asked_for_again(rig: CohortRig) -> None:
    rig.on(answer(202), answer(202), cohort(ANN, 5))
    async with rig.wanting() as loop:
        await rig.asked(1)
        assert loop.pending(C) == C
        await loop.settled(C)

    assert rig.holds("ann")
    assert rig.outcomes("preparing") == 2
    assert rig.metric("cohort_download_failure_total") == 0


async def test_a_cohort_that_outgrows_the_limit_stays_as_it_was_and_is_flagged(
    rig: CohortRig,
) -> None:
    rig.max_size = 4
    rig.on(cohort(ANN, 5), answer(413), cohort([*ANN, "eve"], 7), answer(204))
    async with rig.wanting() as loop:
        await loop.settled(C)
        queries = await rig.asked(5)
        await wait_until(lambda: rig.outcomes("too_large") >= 3)
        told = one_of(loop)
        assert told["state"] == "here"
        assert "maxCohortSize (4)" in told["trouble"]
        age = told["age_seconds"]

        # What was refused once is not downloaded each time only to be refused again.
        assert [query.get("lastModified") for query in queries[:5]] == [None, "5", "5", "7", "7"]
        # It shrinks, and is taken again.
        rig.on(cohort(["eve"], 6), answer(204))
        await wait_until(lambda: rig.version() == 6)
        await wait_until(lambda: one_of(loop)["trouble"] == "")

    assert age == 0
    assert rig.holds("eve")
    await rig.tidy()


async def test_a_cohort_that_is_too_large_at_first_is_given_up(rig: CohortRig) -> None:
    rig.max_size = 3
    rig.on(cohort(ANN, 5))
    async with rig.wanting() as loop:
        await loop.settled(C)

        assert rig.version() is None
        assert loop.missing(C) == {
            Target("User", "c"): "it has more than maxCohortSize (3) members"
        }
        await rig.tidy()


async def test_a_cohort_that_is_unknown_three_times_in_a_row_goes(rig: CohortRig) -> None:
    rig.on(
        cohort(ANN, 5),
        *[answer(404), answer(404), answer(204), answer(404), answer(503), answer(404)],
        hang(),
    )
    with capture_logs() as lines:
        async with rig.wanting() as loop:
            await loop.settled(C)
            await rig.asked(8)
            assert rig.holds("ann")
            rig.on(answer(404))
            await cut_off(rig)
            await wait_until(lambda: rig.version() is None)

            assert loop.missing(C) == {Target("User", "c"): "upstream knows no such cohort"}
            assert loop.pending(C) == frozenset()
            await rig.tidy()
            # And it may come back.
            rig.on(cohort(["eve"], 3))
            await wait_until(lambda: rig.holds("eve"))
            assert loop.missing(C) == {}

    assert [line["event"] for line in lines].count("cohort is gone upstream") == 1


async def cut_off(rig: CohortRig) -> None:
    """Cut all connections, those that hang too."""
    await rig.up.close()
    await rig.up.open()


async def test_a_cohort_is_unknown_from_upstreams_404_until_it_says_otherwise(
    rig: CohortRig,
) -> None:
    steps = [answer(503), answer(404), answer(503), answer(202), answer(404), cohort(ANN, 5)]
    knows = [False, True, True, False, True, False]
    gates = [asyncio.Event() for _ in steps]

    def gated(at: int) -> Step:
        async def step(request: Request, raw: web.BaseRequest) -> web.StreamResponse:
            await gates[at].wait()
            return await steps[at](request, raw)

        return step

    rig.on(*[gated(at) for at in range(len(steps))], hang())
    async with rig.wanting() as loop:
        assert not loop.is_unknown("x")
        for at, unknown in enumerate(knows):
            assert loop.is_unknown("c") == (at > 0 and knows[at - 1])
            gates[at].set()
            await rig.asked(at + 2)
            assert loop.is_unknown("c") == unknown
        rig.on(answer(404), hang())
        await cut_off(rig)
        await wait_until(lambda: rig.outcomes("unknown") == 3)
        # What is here is not unknown, whatever is said of it once.
        assert not loop.is_unknown("c")
        rig.on(answer(404))
        await cut_off(rig)
        await wait_until(lambda: rig.version() is None)
        assert loop.is_unknown("c")


async def test_who_needs_a_cohort_anew_gets_it_at_once(rig: CohortRig) -> None:
    """Whatever became of it before."""
    rig.times(first_retry=3600, longest_retry=3600)
    rig.on(answer(404))
    async with rig.wanting() as loop:
        await loop.settled(C)
        assert loop.pending(C) == frozenset()
        loop.need(FIRST, frozenset())
        rig.on(cohort(ANN, 5))
        loop.need(FIRST, C)
        assert loop.pending(C) == C
        await loop.settled(C)
        assert rig.holds("ann")


async def test_four_are_downloaded_at_a_time_over_all_projects_and_first_loads_go_first(
    rig: CohortRig,
) -> None:
    names = [f"c{n}" for n in range(9)]
    gates = {name: asyncio.Event() for name in names}
    under_way: set[str] = set()
    seen: list[int] = []
    order: list[str] = []

    def choose(request: Request) -> Step:
        name = request.path.rpartition("/")[2]
        gate = gates[name]
        order.append(name)

        async def step(request: Request, raw: web.BaseRequest) -> web.StreamResponse:
            under_way.add(name)
            seen.append(len(under_way))
            await gate.wait()
            under_way.discard(name)
            return await answer(204 if "lastModified" in request.query else 503)(request, raw)

        return step

    for name in names:
        rig.on(by_request(choose), cohort_id=name)
    one, other = rig.loop(), rig.loop("q", 1)
    async with rig.running(one), rig.running(other):
        one.need(FIRST, targets(*names[:5]))
        other.need(SECOND, targets(*names[5:8]))
        await wait_until(lambda: len(under_way) == 4)
        assert order == names[:4]
        states = {told["id"]: told["loading"] for told in one.status()["cohorts"]}
        assert states["c0"]["stage"] == "downloading"
        assert states["c4"]["stage"] == "waiting"
        gates["c0"].set()
        # c0 failed, and waits behind all that were never tried.
        await wait_until(lambda: len(order) == 5)
        one.need(FIRST, targets(*names[:5], names[8]))
        for name in names[1:]:
            gates[name].set()
        await wait_until(lambda: set(order) == set(names))

    assert order[:8] == [*names[:8]]
    assert order.index("c8") < order.index("c0", 1)
    assert max(seen) == 4


async def test_a_cohort_goes_some_time_after_its_last_flag(rig: CohortRig) -> None:
    rig.times(grace=0.1, progress=0.01)
    rig.on(cohort(ANN, 5), answer(204))
    rig.on(cohort(["x"], 5, cohort_id="d"), answer(204), cohort_id="d")
    async with rig.wanting("c", "d") as loop:
        loop.need(SECOND, C)
        await loop.settled(targets("c", "d"))
        loop.need(FIRST, frozenset())
        assert one_of(loop, "c")["needed_by"] == [SECOND.label]
        assert one_of(loop, "d")["needed_by"] == []
        await wait_until(lambda: rig.version("d") is None)
        asked = len(rig.up.at("/sdk/v1/cohort/d"))

        assert rig.holds("ann")
        assert loop.missing(targets("d")) == {Target("User", "d"): "is not wanted by any flag"}
        assert loop.pending(targets("d")) == frozenset()
        await rig.tidy()
        await rig.asked(len(rig.up.at("/sdk/v1/cohort/c")) + 2)
        assert len(rig.up.at("/sdk/v1/cohort/d")) == asked


async def test_a_cohort_that_is_wanted_again_in_time_stays(rig: CohortRig) -> None:
    rig.times(grace=3600, progress=0.01)
    rig.on(cohort(ANN, 5), answer(204))
    async with rig.wanting() as loop:
        await loop.settled(C)
        loop.need(FIRST, frozenset())
        await asyncio.sleep(0)
        asked = len(rig.up.requests)
        loop.need(SECOND, C)
        assert loop.pending(C) == frozenset()
        await rig.asked(asked + 2)

    assert rig.holds("ann")
    assert rig.outcomes("changed") == 1


async def test_nothing_is_dropped_while_a_cohort_loads_for_the_first_time(rig: CohortRig) -> None:
    rig.times(grace=0.05, progress=0.01)
    rig.on(cohort(ANN, 5), answer(204))
    rig.on(hang(), cohort_id="d")
    async with rig.wanting() as loop:
        await loop.settled(C)
        loop.need(FIRST, targets("d"))
        await rig.asked(1, "d")
        gone = asyncio.get_running_loop().time() + 0.3
        await wait_until(lambda: asyncio.get_running_loop().time() > gone)
        assert rig.holds("ann")
        await rig.up.close()
        await wait_until(lambda: rig.version() is None)


async def test_a_key_pair_that_is_refused_is_told_without_the_keys(rig: CohortRig) -> None:
    rig.on(cohort(ANN, 5), answer(401), answer(403))
    with capture_logs() as lines:
        async with rig.wanting() as loop:
            await loop.settled(C)
            await wait_until(lambda: rig.outcomes("refused") >= 3)
            told = one_of(loop)

    assert rig.holds("ann")
    assert "upstream does not take the project's API key and secret key" in told["trouble"]
    warnings = [line for line in lines if line["log_level"] == "warning"]
    assert [line["why"][:12] for line in warnings] == ["answered 401", "answered 403"]
    assert "the-secret-key" not in repr(lines) + repr(told)
    assert "the-api-key" not in repr(lines) + repr(told)


async def test_who_stops_leaves_no_half_download(rig: CohortRig) -> None:
    rig.on(drip(body(ANN, 5), 2, 3600))
    async with rig.wanting() as loop:
        await wait_until(lambda: (one_of(loop)["loading"] or {}).get("bytes"))
        assert len(rig.strays()) == 1

    assert rig.strays() == []


async def test_a_build_that_is_stopped_leaves_nothing(rig: CohortRig) -> None:
    rig.max_size = 10**6
    rig.on(cohort((f"user-{n}" for n in range(400_000)), 5))
    async with rig.wanting() as loop:
        await wait_until(lambda: (one_of(loop)["loading"] or {}).get("stage") == "building")
        assert one_of(loop)["loading"]["members"] > 0
        here = rig.version()

    assert rig.strays() == []
    # Who looked too late sees the same version built once more.
    assert rig.version() == here


async def test_long_loads_are_told_each_time(rig: CohortRig) -> None:
    rig.times(progress=0.02)
    rig.on(drip(body(ANN, 5), 10, 0.05))
    with capture_logs() as lines:
        async with rig.wanting() as loop:
            await loop.settled(C)

    told = [line for line in lines if line["event"] == "cohort loads"]
    assert len(told) >= 3
    # The first may be from before the answer began.
    keys = {"project", "cohort", "stage", "bytes", "total_bytes", "bytes_per_second"}
    assert [line for line in told if line["bytes"] and keys <= line.keys()]
    assert [line["bytes"] for line in told] == sorted(line["bytes"] for line in told)


async def test_two_deployments_share_a_cohort(rig: CohortRig) -> None:
    rig.on(cohort(ANN, 5), answer(204))
    async with rig.wanting() as loop:
        loop.need(SECOND, C)
        loop.need(SECOND, C | targets("d"))
        loop.need(SECOND, C)
        await loop.settled(C)
        assert one_of(loop)["needed_by"] == sorted([FIRST.label, SECOND.label])
        loop.need(FIRST, frozenset())
        assert one_of(loop)["needed_by"] == [SECOND.label]

    assert rig.outcomes("changed") == 1


async def test_an_id_that_is_no_text_is_missing_and_shown(rig: CohortRig) -> None:
    async with rig.wanting("\ud800", "..") as loop:
        await loop.settled(targets("\ud800", ".."))
        assert {told["id"] for told in loop.status()["cohorts"]} == {"?", ".."}
        assert len(loop.missing(targets("\ud800", ".."))) == 2


async def test_without_a_place_to_write_to_nothing_is_asked_for(tmp_path: Path) -> None:
    async with rigged(None, tmp_path / "nowhere") as rig:
        rig.times(wait=0.1)
        async with rig.wanting() as loop:
            await loop.settled(C)

            assert loop.missing(C) == {Target("User", "c"): "there is no place to write to"}
            assert rig.up.requests == []
            # The store looks for a place again and again.
            rig.on(cohort(ANN, 5))
            (tmp_path / "nowhere").mkdir()
            await wait_until(lambda: rig.holds("ann"))


async def test_a_builder_that_died_is_an_outcome_and_tried_again(rig: CohortRig) -> None:
    rig.on(cohort(ANN, 5))
    good, rig.builder = rig.builder, type(rig.builder)(command=("/bin/false",))
    async with rig.wanting() as loop:
        await wait_until(lambda: rig.outcomes("builder_died") >= 2)
        assert loop.pending(C) == C
    rig.builder = good
    await rig.tidy()


async def test_turns_may_be_shared_and_narrow(rig: CohortRig) -> None:
    rig.turns = Turns(1)
    for name in "cde":
        rig.on(cohort(ANN, 5, cohort_id=name), answer(204), cohort_id=name)
    async with rig.wanting("c", "d", "e") as loop:
        await loop.settled(targets("c", "d", "e"))

    assert all(rig.holds("ann", name) for name in "cde")


async def test_gzip_is_not_needed(rig: CohortRig) -> None:
    rig.on(answer(200, body(ANN, 5)), gzip_answer(body(["eve"], 6)), answer(204))
    async with rig.wanting():
        await wait_until(lambda: rig.version() == 6)

    assert rig.holds("eve")


async def test_other_keys_are_used_at_once_where_the_old_ones_failed(rig: CohortRig) -> None:
    rig.times(period=3600.0, first_retry=3600.0, longest_retry=3600.0)
    other = Credentials(Secret("the-api-key"), Secret("rotated"))
    rig.up.on("GET", PATH + "c", cohort(ANN, 5))
    rig.up.on("GET", PATH + "d", answer(401), cohort(["eve"], 6, cohort_id="d"))
    async with rig.wanting("c", "d") as loop:
        await wait_until(lambda: rig.version("c") and rig.outcomes("refused"))

        loop.use(other)
        loop.use(other)

        await wait_until(lambda: rig.version("d") == 6)
        assert rig.version("c") == 5
    asked = [(each.path, each.headers["Authorization"]) for each in rig.up.requests]
    assert asked.count((PATH + "d", other.header()["Authorization"])) == 1
    assert [path for path, _ in asked].count(PATH + "c") == 1


async def test_a_project_that_is_served_no_more_leaves_no_series(rig: CohortRig) -> None:
    async with rig.running() as loop:
        assert rig.metric("cohorts", project="p", state="here") == 0

    loop.close()

    assert rig.metric("cohorts", project="p", state="here") is None
    assert rig.metric("cohort_members", project="p") is None
