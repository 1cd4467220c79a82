"""Nobody can tell from answers or reports that answers are kept; equal tags are equal answers."""

import asyncio
import gzip
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import msgspec
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from proxy.api.assembly import build_router
from proxy.api.cohorts import Library
from proxy.api.messages import Response
from proxy.api.reports import Reports
from proxy.api.routes import Exchange
from proxy.events.event import ASSIGNMENT, EXPOSURE
from proxy.events.retelling import retelling
from proxy.events.sieve import Memo
from proxy.metrics import Metrics
from proxy.settings.answers import AnswerCache
from proxy.snapshots.board import Board
from tests import builders
from tests.builders import KEY, condition, flag, segment
from tests.events.test_retelling import told
from tests.events.test_sieve import Sieving
from tests.serving import FLAGS, DictHoldings, encoded, memberships

LONG = [flag(f"long-{number}", payload="x" * 400) for number in range(50)]
BY_PLAN = flag("plan", segment("on", condition(["context", "user", "plan"], "is", "pro")))
# The last has the content of the first, and is another object.
CONFIGS = [[*FLAGS, BY_PLAN], [*FLAGS[2:], BY_PLAN], [BY_PLAN, *LONG], [*FLAGS, BY_PLAN]]
SNAPSHOTS = [builders.snapshot(flags) for flags in CONFIGS]
COHORTS: list[dict[tuple[str, str], list[str]]] = [
    {},
    {("User", "u1"): ["c1"]},
    {("User", "u1"): ["c1"], ("org", "acme"): ["g1"]},
]
USERS: list[Any] = [
    {},
    {"user_id": "u1"},
    {"user_id": "u1", "plan": "pro", "groups": {"org": ["acme"]}},
    {"device_id": "d", "cohort_ids": ["c1"], "groups": {"org": ["acme"]}},
    {"user_id": "u2", "cohort_ids": {"c1": {}}, "group_cohort_ids": {"org": {"acme": ["g1"]}}},
    {"user_id": 7, "device_id": "ü"},
    b"{",
    b"\xff",
]
KEYS: list[Any] = [None, [], ["plan"], ["child", "nowhere"], ["plan", "child"], {"a": 1}, b"["]


class Asked(NamedTuple):
    """One request, as a client makes it."""

    path: str
    user: Any
    by: str
    keys: Any = None
    named: str = ""
    gzip: bool = False
    track: str = ""
    expose: str = ""

    @property
    def method(self) -> str:
        return {"header": "GET", "query": "GET", "head": "HEAD", "body": "POST"}[self.by]

    @property
    def raw(self) -> bytes:
        return self.user if isinstance(self.user, bytes) else msgspec.json.encode(self.user)

    @property
    def target(self) -> str:
        parts = [f"flag_keys={self.named}"] if self.named else []
        if self.by == "query":
            parts += [f"context={''.join(f'%{byte:02x}' for byte in self.raw)}", "user_id=u3"]
        return f"{self.path}?{'&'.join(parts)}" if parts else self.path

    def headers(self, held: str = "") -> dict[str, str]:
        given = {
            "authorization": f"Api-Key {KEY}",
            "x-amp-exp-user": encoded(self.raw) if self.by in {"header", "head"} else "",
            "x-amp-exp-flag-keys": "" if self.keys is None else encoded(self.keys),
            "x-amp-exp-track": self.track,
            "x-amp-exp-exposure-track": self.expose,
            "accept-encoding": "gzip" if self.gzip else "",
            "if-none-match": held,
        }
        return {name: value for name, value in given.items() if value}


class Instance:
    """A proxy without sockets; what it would report goes through a filter of its own."""

    def __init__(self, most_bytes: int, capacity: int = 100, **changes: Any) -> None:
        self.now = 1_000_000_000.0
        self.board, self.metrics, self.sieving = Board(), Metrics(), Sieving(capacity)
        self.cohorts: dict[tuple[str, str], list[str]] = {}
        self.board.authorise(SNAPSHOTS[0].deployment)
        sieve = self.sieving.sieve
        self._router = build_router(
            self.board,
            Reports(
                partial(sieve.offer, ASSIGNMENT),
                lambda project, user, outcomes, asked, at: sieve.offer(
                    EXPOSURE, project, user, outcomes, at, asked=asked
                ),
                retell=lambda *of: retelling(sieve, *of, assigned=Memo()),
            ),
            builders.settings(answer_cache=AnswerCache(max_bytes=most_bytes), **changes),
            self.metrics,
            lambda: self.now,
            is_ready=lambda: True,
            library=Library(
                memberships_of=lambda _, *member: memberships(self.cohorts, member),
                holdings=DictHoldings(self.cohorts),
            ),
        )
        self.publish(0)

    def publish(self, number: int) -> None:
        self.board.publish(KEY, SNAPSHOTS[number])

    def put_cohorts(self, number: int) -> None:
        self.cohorts.clear()
        self.cohorts.update(COHORTS[number])

    async def answer(self, asked: Asked, held: str = "") -> Response:
        _, found = self._router.begin(asked.method, asked.target, asked.headers(held))
        assert isinstance(found, Exchange)
        answer = self._router.finish(found, asked.raw if asked.by == "body" else b"")
        return await self._router.wait(answer)


def plain(answer: Response) -> tuple[int, bytes]:
    is_packed = b"Content-Encoding: gzip" in answer.lines
    return answer.status, gzip.decompress(answer.body) if is_packed else answer.body


def tag_of(answer: Response) -> str:
    _, _, tag = answer.lines.partition(b"ETag: ")
    return tag.partition(b"\r\n")[0].decode()


asked = st.builds(
    Asked,
    path=st.sampled_from(["/sdk/v2/vardata", "/sdk/vardata", "/v1/vardata"]),
    user=st.sampled_from(USERS),
    by=st.sampled_from(["header", "header", "body", "query", "head"]),
    keys=st.sampled_from(KEYS),
    named=st.sampled_from(["", "", "plan", "child", "%ff"]),
    gzip=st.booleans(),
    track=st.sampled_from(["", "track", "no-track", "read-only"]),
    expose=st.sampled_from(["", "track"]),
)


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[str, Any]]:
    """What happens to an instance: few requests, asked again and again, between changes."""
    few = draw(st.lists(asked, min_size=1, max_size=3))
    step = st.one_of(
        st.tuples(st.just("ask"), st.sampled_from(few)),
        st.tuples(st.just("ask"), st.sampled_from(few)),
        st.tuples(st.just("ask"), st.sampled_from(few)),
        st.tuples(st.just("ask"), asked),
        st.tuples(st.just("hold"), st.sampled_from(few)),
        st.tuples(st.just("publish"), st.integers(0, len(SNAPSHOTS) - 1)),
        st.tuples(st.just("put_cohorts"), st.integers(0, len(COHORTS) - 1)),
        st.tuples(st.just("wait"), st.sampled_from([1.0, 50_000.0])),
    )
    return draw(st.lists(step, min_size=5, max_size=40))


async def live(instance: Instance, history: list[tuple[str, Any]]) -> list[tuple[Asked, Response]]:
    """Let all of it happen; return what was answered to whom."""
    answers: list[tuple[Asked, Response]] = []
    held: dict[str, str] = {}
    for verb, of in history:
        if verb == "wait":
            instance.now += of
        elif verb in {"ask", "hold"}:
            tag = held.get(repr(of), "")
            answer = await instance.answer(of, tag if verb == "hold" else "")
            held[repr(of)] = tag_of(answer) or tag
            answers.append((of, answer))
        else:
            getattr(instance, verb)(of)
    instance.sieving.sieve.sift()
    return answers


def run(test: Callable[[], Any]) -> None:
    with asyncio.Runner() as runner:
        runner.run(test())


@given(histories(), st.sampled_from([1 << 14, 1 << 26]), st.sampled_from([0, 1, 3, 100]))
@hypothesis_settings(max_examples=150)
def test_kept_answers_change_neither_answers_nor_reports(
    history: list[tuple[str, Any]], most_bytes: int, capacity: int
) -> None:
    async def compare() -> None:
        keeping, forgetful = Instance(most_bytes, capacity), Instance(0, capacity)

        ours, theirs = await live(keeping, history), await live(forgetful, history)

        assert [plain(one) for _, one in ours] == [plain(one) for _, one in theirs]
        assert [tag_of(one) for _, one in ours] == [tag_of(one) for _, one in theirs]
        assert told(keeping.sieving) == told(forgetful.sieving)
        assert keeping.sieving.counts() == forgetful.sieving.counts()

    run(compare)


@given(st.lists(st.tuples(histories(), st.booleans()), min_size=2, max_size=3))
@hypothesis_settings(max_examples=100)
def test_equal_tags_are_equal_answers_whoever_gives_them_and_when(
    lives: list[tuple[list[tuple[str, Any]], bool]],
) -> None:
    async def compare() -> None:
        bodies: dict[str, bytes] = {}
        for history, trusts in lives:
            instance = Instance(1 << 20, trust_client_cohorts=trusts)
            for of, answer in await live(instance, history):
                tag, (status, body) = tag_of(answer), plain(answer)
                assert bool(tag) == (of.method != "POST" and status in {200, 304})
                if tag and status == 200:
                    assert bodies.setdefault(tag, body) == body

    run(compare)


@given(asked, st.integers(0, 3), st.integers(0, 2), st.booleans())
@hypothesis_settings(max_examples=100)
def test_a_tag_is_the_same_on_every_instance(
    of: Asked, flags: int, cohorts: int, trusts: bool
) -> None:
    async def compare() -> None:
        tags = set()
        for _ in range(2):
            instance = Instance(1 << 20, trust_client_cohorts=trusts)
            instance.publish(flags)
            instance.put_cohorts(cohorts)
            tags |= {tag_of(await instance.answer(of)) for _ in range(3)}

        assert len(tags) == 1

    run(compare)


@given(asked, asked)
@hypothesis_settings(max_examples=150)
def test_different_requests_have_different_tags(one: Asked, other: Asked) -> None:
    """But for what decides no answer: method, encoding and what is to be reported."""

    def decisive(of: Asked) -> tuple[Any, ...]:
        headers, query = of.headers(), of.target.partition("?")[2]
        wanted = headers.get("x-amp-exp-flag-keys", query if of.named else "")
        if of.path == "/v1/vardata":
            return "v1", "query", query, wanted
        return of.path, headers.get("x-amp-exp-user", ""), wanted

    async def compare() -> None:
        instance = Instance(1 << 20)
        tags = [tag_of(await instance.answer(of)) for of in (one, other)]
        if all(tags):  # neither is posted, neither is refused
            assert (tags[0] == tags[1]) == (decisive(one) == decisive(other))

    run(compare)
