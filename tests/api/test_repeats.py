"""Who asks the same again: answered from what is kept, or told that he holds the answer."""

import asyncio
import gzip
from typing import Any

import msgspec
import pytest

from proxy.api.features import Offer, Tools
from proxy.api.vardata import LONGEST_KEPT
from proxy.settings.answers import AnswerCache
from proxy.settings.schema import Limits
from tests import builders
from tests.builders import KEY, condition, flag, segment
from tests.serving import FLAGS, Answer, Served, encoded, serving

PATH = "/sdk/v2/vardata"
USER = encoded({"user_id": "u1"})
MANY = [flag(f"flag-{number}", payload={"n": "x" * 50}) for number in range(10)]
HUGE = [flag(f"flag-{number}", payload={"n": "x" * 500}) for number in range(60)]
SLOW = r"(a|aa)+(?=b)"


async def ask(served: Served, times: int = 1, user: str = USER, **headers: str) -> Answer:
    for _ in range(times - 1):
        await served.get(PATH, X_Amp_Exp_User=user, **headers)
    return await served.get(PATH, X_Amp_Exp_User=user, **headers)


def hits(served: Served) -> float:
    return served.counted("answer_cache_hits_total")


def evaluations(served: Served) -> float:
    return served.counted("evaluation_total")


async def test_the_third_time_nothing_is_evaluated(served: Served) -> None:
    first = await ask(served)

    again = await ask(served, times=4)

    assert (again.status, again.body) == (first.status, first.body)
    assert again.headers["content-type"] == first.headers["content-type"]
    assert (evaluations(served), hits(served)) == (2, 3)
    assert served.counted("answer_cache_answers") == 1
    assert served.counted("evaluation_request_total") == 5


@pytest.mark.parametrize("path", ["/sdk/v2/vardata", "/sdk/vardata", "/v1/vardata"])
async def test_all_forms_are_kept_apart(served: Served, path: str) -> None:
    body = msgspec.json.encode({"user_id": "u1"})
    target = f"{path}?user_id=u1"

    async def answers() -> list[bytes]:
        return [
            (await served.get(target, X_Amp_Exp_User=USER)).body,
            (await served.ask("POST", path, {}, body)).body,
            (await served.get(target, X_Amp_Exp_User=USER, X_Amp_Exp_Flag_Keys=KEYS)).body,
            (await served.get(f"{target}&flag_keys=child,plain", X_Amp_Exp_User=USER)).body,
            (await served.ask("POST", f"{path}?flag_key=child", {}, body)).body,
        ]

    seen = [await answers() for _ in range(4)]

    assert seen[1:] == seen[:1] * 3
    assert [len(msgspec.json.decode(one)) for one in seen[0]] in (KEPT_V1, KEPT_V2)
    assert hits(served) == 10


KEYS = encoded(["targeted", "plain"])
KEPT_V1, KEPT_V2 = [3, 3, 2, 2, 1], [7, 7, 2, 3, 2]


async def test_head_and_get_share_an_answer(served: Served) -> None:
    whole = await ask(served, times=2)

    head = await served.ask("HEAD", PATH, {"X-Amp-Exp-User": USER})

    assert head.body == b""
    assert hits(served) == 1
    assert {**head.headers, "date": ""} == {**whole.headers, "date": ""}


async def test_who_holds_the_answer_is_told_so(served: Served) -> None:
    first = await ask(served)
    tag = first.headers["etag"]

    told = [await ask(served, If_None_Match=one) for one in (tag, f'"x", {tag}', tag[2:], "*")]

    assert [answer.status for answer in told] == [304] * 4
    assert all(answer.body == b"" for answer in told)
    assert all(answer.headers["etag"] == tag for answer in told)
    assert all("content-length" not in answer.headers for answer in told)
    assert (await ask(served, If_None_Match='W/"other"')).body == first.body
    assert tag.startswith('W/"')


async def test_without_a_report_304_takes_no_evaluation_at_all(served: Served) -> None:
    tag = (await ask(served, X_Amp_Exp_Track="no-track")).headers["etag"]

    answer = await ask(served, X_Amp_Exp_Track="no-track", If_None_Match=tag)

    assert answer.status == 304
    assert evaluations(served) == 1
    assert served.tracked == []


async def test_what_cannot_be_read_is_refused_whatever_the_client_holds(served: Served) -> None:
    for held in ("*", " *", '"x"'):
        answer = await ask(served, user="%%", X_Amp_Exp_Track="no-track", If_None_Match=held)
        assert answer.status == 400


async def test_each_answer_is_offered_for_reporting_304_too(served: Served) -> None:
    tag = (await ask(served)).headers["etag"]
    for _ in range(4):
        await ask(served, If_None_Match=tag)
    await ask(served, X_Amp_Exp_Track="no-track")
    await ask(served, X_Amp_Exp_Track="no-track", X_Amp_Exp_Exposure_Track="track")

    assert hits(served) == 5
    assert len(served.tracked) == 5
    assert {one.user["user_id"] for one in served.tracked} == {"u1"}
    assert len({tuple(of.flag_key for of in one.outcomes) for one in served.tracked}) == 1
    assert sorted(one.at for one in served.tracked) == [one.at for one in served.tracked]
    assert [(one.user["user_id"], one.asked) for one in served.exposed] == [("u1", frozenset())]


async def test_an_exposure_of_a_kept_answer_tells_what_was_asked_for(served: Served) -> None:
    wish = {"X_Amp_Exp_Exposure_Track": "track", "X_Amp_Exp_Flag_Keys": encoded(["child"])}

    await ask(served, times=3, **wish)

    assert hits(served) == 1
    assert [set(one.asked) for one in served.exposed] == [{"child"}] * 3


async def test_new_flags_give_new_answers_and_tags(served: Served) -> None:
    before = await ask(served, times=3)

    served.board.publish(KEY, builders.snapshot(FLAGS[:1]))
    after = await ask(served, If_None_Match=before.headers["etag"])

    assert after.status == 200
    assert set(after.json) == {"plain"}
    assert after.headers["etag"] != before.headers["etag"]
    # Known from before, he need not come twice.
    hits_before = hits(served)
    assert (await ask(served)).body == after.body
    assert hits(served) == hits_before + 1


async def test_the_same_flags_again_are_the_same_answers(served: Served) -> None:
    tag = (await ask(served)).headers["etag"]
    served.board.publish(KEY, builders.snapshot(FLAGS[:1]))
    await ask(served)

    served.board.publish(KEY, builders.snapshot(FLAGS))

    assert (await ask(served, If_None_Match=tag)).status == 304


async def test_a_cohort_that_changes_changes_the_answer_and_the_tag(served: Served) -> None:
    outside = await ask(served, times=3)
    assert outside.json["members"]["key"] == "off"

    served.cohorts["User", "u1"] = ["c1"]
    inside = await ask(served, times=3, If_None_Match=outside.headers["etag"])

    assert inside.status == 200
    assert inside.json["members"]["key"] == "on"
    served.cohorts["User", "u1"] = []
    assert (await ask(served)).json["members"]["key"] == "off"


async def test_cohorts_that_no_flag_targets_change_nothing() -> None:
    async with serving(FLAGS[:3]) as served:
        tag = (await ask(served, times=3)).headers["etag"]
        served.cohorts["User", "u1"] = ["c1"]

        assert (await ask(served, If_None_Match=tag)).status == 304
        assert hits(served) == 2


async def test_a_key_that_is_revoked_is_refused_whatever_is_kept(served: Served) -> None:
    tag = (await ask(served, times=3)).headers["etag"]

    served.board.revoke(KEY)

    assert (await ask(served, If_None_Match=tag)).status == 401


async def test_a_deployment_that_is_described_anew_keeps_its_answers(served: Served) -> None:
    await ask(served, times=3)

    served.board.authorise(builders.deployment(label="renamed"))
    await ask(served)
    assert hits(served) == 2

    served.board.authorise(builders.deployment(project_index=1))
    await ask(served)
    assert hits(served) == 2
    assert served.tracked[-1].project_index == 1


async def test_errors_are_never_kept_and_have_no_tag(served: Served) -> None:
    for _ in range(3):
        answers = [
            await ask(served, user="%%"),
            await ask(served, user=encoded(b"[]")),
            await ask(served, user="\udc80\udcff"),
            await ask(served, X_Amp_Exp_Flag_Keys="\udc80"),
            await ask(served, X_Amp_Exp_Flag_Keys=encoded({"a": 1})),
            await served.get("/v1/vardata?context={"),
            await served.post(PATH, b"nothing"),
        ]

        assert [answer.status for answer in answers] == [400] * 7
        assert not any("etag" in answer.headers for answer in answers)
        assert not any("cache-control" in answer.headers for answer in answers)
    assert served.counted("answer_cache_answers") == 0


async def test_nobody_between_may_hold_answers_to_get(served: Served) -> None:
    for _ in range(3):
        for target in (PATH, "/sdk/vardata", "/v1/vardata?user_id=u1"):
            answer = await served.get(target)
            assert answer.headers["cache-control"] == "private, no-cache"
            assert "etag" in answer.headers


async def test_answers_to_post_have_no_tag(served: Served) -> None:
    for _ in range(3):
        answer = await served.post(PATH, b'{"user_id":"u1"}', If_None_Match="*")
        assert answer.status == 200
        assert not {"etag", "cache-control"} & answer.headers.keys()
    assert hits(served) == 1


async def test_a_long_request_is_answered_without_being_kept(served: Served) -> None:
    user = encoded({"user_id": "u1", "note": "x" * LONGEST_KEPT})

    answer = await ask(served, times=4, user=user, If_None_Match="*")

    assert answer.status == 200
    assert "etag" not in answer.headers
    assert answer.headers["cache-control"] == "private, no-cache"
    assert (evaluations(served), served.counted("answer_cache_answers")) == (4, 0)


@pytest.mark.parametrize(("flags", "packed_at"), [(FLAGS[:2], 9), (MANY, 3), (HUGE, 1)])
async def test_what_is_kept_is_packed_for_those_who_read_it(
    flags: list[dict[str, Any]], packed_at: int
) -> None:
    async with serving(flags) as served:
        answers = [await ask(served, Accept_Encoding="gzip, br") for _ in range(5)]
        plain = [await ask(served), await ask(served, Accept_Encoding="identity")]

    for number, answer in enumerate(answers, 1):
        is_packed = number >= packed_at
        assert answer.headers.get("content-encoding") == ("gzip" if is_packed else None)
        assert (gzip.decompress(answer.body) if is_packed else answer.body) == plain[0].body
        assert answer.headers["etag"] == plain[0].headers["etag"]
        if is_packed:
            assert answer.headers["vary"] == "Accept-Encoding"
    assert len(answers[-1].body) < 1024
    for answer in plain:
        assert "content-encoding" not in answer.headers
        assert answer.headers.get("vary") == ("Accept-Encoding" if packed_at < 9 else None)


async def test_a_packed_form_counts_in_the_bound() -> None:
    async with serving(MANY) as served:
        await ask(served, times=3)
        before = served.counted("answer_cache_bytes")
        packed = await ask(served, Accept_Encoding="gzip")

        assert served.counted("answer_cache_bytes") == before + len(packed.body)


async def test_many_who_want_a_large_answer_packed_at_once_all_get_it() -> None:
    async with serving(HUGE) as served:
        await ask(served, times=2)
        answers = await asyncio.gather(*(ask(served, Accept_Encoding="gzip") for _ in range(8)))

        whole = (await ask(served)).body
        assert {gzip.decompress(answer.body) for answer in answers} == {whole}
        again = await ask(served, Accept_Encoding="gzip", If_None_Match=answers[0].headers["etag"])
        assert again.status == 304


async def test_switched_off_nothing_is_kept_but_tags_are_given() -> None:
    async with serving(settings=builders.settings(answer_cache=AnswerCache(max_bytes=0))) as served:
        first = await ask(served, times=4)

        assert (await ask(served, If_None_Match=first.headers["etag"])).status == 304
        assert (evaluations(served), hits(served)) == (5, 0)
        assert served.counted("answer_cache_bytes") == 0
        assert len(served.tracked) == 5


async def test_an_answer_that_ran_out_of_time_is_neither_kept_nor_tagged() -> None:
    slow = flag("slow", segment("on", condition(["context", "user", "name"], "regex match", SLOW)))
    users = [encoded({"user_id": "u", "name": name}) for name in ("a" * 60, "b")]
    async with serving([slow]) as served:
        for _ in range(3):
            ran_out = await ask(served, user=users[0], If_None_Match="*")
            assert (ran_out.status, "etag" in ran_out.headers) == (200, False)
            assert "etag" in (await ask(served, user=users[1])).headers
        assert served.counted("answer_cache_answers") == 1


async def test_a_crowd_of_strangers_is_not_looked_for() -> None:
    handed: list[Tools] = []

    def look_at(tools: Tools) -> Offer:
        handed.append(tools)
        return Offer()

    async with serving(features=[look_at]) as served:
        tag = (await ask(served, times=3)).headers["etag"]
        handed[0].vardata.answers.credit = 0

        for asked in ("", tag):
            answer = await ask(served, If_None_Match=asked)
            assert (answer.status, "etag" in answer.headers) == (200, False)
            assert answer.headers["cache-control"] == "private, no-cache"
        assert hits(served) == 1

        handed[0].vardata.answers.credit = 1
        assert (await ask(served, If_None_Match=tag)).status == 304
        assert len(served.tracked) == 6


async def test_a_stray_number_of_flag_keys_is_refused_each_time() -> None:
    async with serving(settings=builders.settings(limits=Limits(max_flag_keys=1))) as served:
        for _ in range(4):
            assert (await ask(served, X_Amp_Exp_Flag_Keys=encoded(["a", "b"]))).status == 400
