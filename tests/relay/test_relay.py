"""Asking: once for all who ask the same, within a deadline, not while it is of no use."""

import asyncio
import io
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from proxy.errors import UpstreamGarbled, UpstreamRefused, UpstreamUnavailable
from proxy.metrics import Metrics
from proxy.relay.breaker import MOST_FAILURES
from proxy.relay.line import Trouble
from proxy.relay.relay import Flight, Relay, Reply
from proxy.settings.remote import RemoteEvaluation
from proxy.snapshots.board import Board
from proxy.snapshots.snapshot import Deployment
from proxy.upstream.remote import Question
from tests import builders

HERE = builders.deployment()
THERE = builders.deployment("server-other-key", label="other")
BODY = b'{"a":{"key":"on"}}'
VARIANTS = {"a": b'"a":{"key":"on"}'}
USER = b'{"user_id":"secret-user"}'


class Rig:
    """A relay whose upstream is a function of the test's."""

    def __init__(self, chance: float = 1.0, **bounds: Any) -> None:
        self.board, self.metrics = Board(), Metrics()
        for deployment in (HERE, THERE):
            self.board.authorise(deployment)
        self.asked: list[Question] = []
        self.answer: Callable[[], Any] = lambda: BODY
        given = {"mode": "merge", "timeout_millis": 60_000, **bounds}
        self.relay = Relay(
            self._call, RemoteEvaluation(**given), self.board, self.metrics, lambda: chance
        )

    async def _call(self, question: Question) -> bytes:
        self.asked.append(question)
        answer = self.answer()
        if isinstance(answer, Exception):
            raise answer
        found: bytes = answer if isinstance(answer, bytes) else await answer
        return found

    async def ask(
        self, *, of: Deployment = HERE, version: str = "1", user: bytes = USER, **more: Any
    ) -> Reply:
        found = self.relay.ask(of, Question(key=of.key, user=user, **more), version)
        return await found.landing() if isinstance(found, Flight) else found

    async def fail(self, error: Exception) -> Trouble:
        self.answer = lambda: error
        found = await self.ask(user=b'{"n":%d}' % len(self.asked))
        assert isinstance(found, Trouble)
        return found

    def counted(self) -> dict[str, float]:
        """The outcomes that were counted, without the zeros."""
        samples = next(iter(self.metrics.relay_requests.collect())).samples
        return {
            one.labels["outcome"]: one.value
            for one in samples
            if one.name.endswith("_total") and one.value
        }

    def sample(self, name: str) -> float:
        return self.metrics.registry.get_sample_value(f"amplitude_proxy_relay_{name}") or 0.0


@asynccontextmanager
async def rigged(**bounds: Any) -> AsyncIterator[Rig]:
    rig = Rig(**bounds)
    try:
        yield rig
    finally:
        await rig.relay.close()


async def test_the_same_question_is_asked_once() -> None:
    async with rigged() as rig:
        answers = [await rig.ask() for _ in range(3)]

        assert answers == [VARIANTS] * 3
        assert len(rig.asked) == 1
        assert rig.counted() == {"miss": 1, "hit": 2}
        assert rig.sample("call_seconds_count") == 1
        assert rig.sample("kept_bytes") == rig.relay.status()["bytes_kept"] > len(BODY)


async def test_every_part_of_a_question_tells_it_apart() -> None:
    questions: list[dict[str, Any]] = [
        {},
        {"of": THERE},
        {"version": "2"},
        {"user": b'{"user_id":"secret-user" }'},
        {"flag_keys": ("a",)},
        {"flag_keys": ("a", "b")},
        {"flag_keys": ("a,b",)},
        {"flag_keys": ("b", "a")},
        {"track": "no-track"},
        {"expose": "no-track"},
        {"user": b'["a"]{"user_id":"secret-user"}'},
    ]
    async with rigged() as rig:
        for question in questions * 2:
            await rig.ask(**question)

        assert len(rig.asked) == len(questions)


async def test_a_change_of_the_flags_drops_what_was_kept_of_that_deployment_alone() -> None:
    async with rigged() as rig:
        for of in (HERE, THERE):
            await rig.ask(of=of)

        await rig.ask(version="2")
        await rig.ask(of=THERE)

        assert [question.key for question in rig.asked] == [HERE.key, THERE.key, HERE.key]


@pytest.mark.looptime
async def test_answers_live_an_hour() -> None:
    async with rigged() as rig:
        await rig.ask()
        await asyncio.sleep(3599)
        await rig.ask()
        assert len(rig.asked) == 1

        await asyncio.sleep(2)
        await rig.ask()

        assert len(rig.asked) == 2


async def test_a_stampede_is_one_call() -> None:
    gate = asyncio.Event()

    async def slow() -> bytes:
        await gate.wait()
        return BODY

    async with rigged() as rig:
        rig.answer = slow
        crowd = [asyncio.ensure_future(rig.ask()) for _ in range(200)]
        while not rig.asked:
            await asyncio.sleep(0)
        assert rig.relay.status()["calls"] == 1
        gate.set()

        assert await asyncio.gather(*crowd) == [VARIANTS] * 200
        assert len(rig.asked) == 1
        assert rig.counted() == {"miss": 1, "joined": 199}
        assert rig.relay.status()["calls"] == 0


async def test_who_stops_waiting_takes_nothing_from_the_others() -> None:
    gate = asyncio.Event()

    async def slow() -> bytes:
        await gate.wait()
        return BODY

    async with rigged() as rig:
        rig.answer = slow
        impatient, patient = (asyncio.ensure_future(rig.ask()) for _ in range(2))
        while not rig.asked:
            await asyncio.sleep(0)
        impatient.cancel()
        gate.set()

        assert await patient == VARIANTS
        assert impatient.cancelled()


@pytest.mark.looptime
async def test_nobody_waits_beyond_the_deadline_not_even_for_a_turn() -> None:
    async with rigged(timeout_millis=400, max_calls=2) as rig:
        rig.answer = asyncio.Event().wait
        began = asyncio.get_running_loop().time()
        crowd = [asyncio.ensure_future(rig.ask(user=b'{"n":%d}' % n)) for n in range(4)]

        answers = await asyncio.gather(*crowd)

        assert asyncio.get_running_loop().time() - began == pytest.approx(0.4)
        assert answers == [Trouble(outcome="failed")] * 4
        assert len(rig.asked) == 2
        assert rig.counted() == {"failed": 4}


async def test_no_more_calls_at_once_than_allowed() -> None:
    busy, most = 0, 0
    gate = asyncio.Event()

    async def slow() -> bytes:
        nonlocal busy, most
        busy += 1
        most = max(most, busy)
        await gate.wait()
        busy -= 1
        return BODY

    async with rigged(max_calls=3) as rig:
        rig.answer = slow
        crowd = [asyncio.ensure_future(rig.ask(user=b'{"n":%d}' % n)) for n in range(20)]
        while busy < 3:
            await asyncio.sleep(0)
        gate.set()
        assert await asyncio.gather(*crowd) == [VARIANTS] * 20

    assert most == 3


@pytest.mark.parametrize(
    "error",
    [
        UpstreamUnavailable("answered 500", status=500),
        UpstreamUnavailable("no answer in time"),
        UpstreamGarbled("too long"),
        UpstreamRefused("answered 404", status=404),
        UpstreamRefused("redirected 302", status=302),
    ],
)
@pytest.mark.looptime
async def test_failures_in_a_row_let_a_deployment_rest_until_one_try_succeeds(
    error: Exception, log_lines: io.StringIO
) -> None:
    async with rigged() as rig:
        for _ in range(MOST_FAILURES):
            assert (await rig.fail(error)).outcome == "failed"
        calls = len(rig.asked)

        assert await rig.fail(error) == Trouble(outcome="open", seconds=1)
        assert len(rig.asked) == calls
        (resting,) = rig.relay.status()["resting"]
        assert (resting["deployment"], resting["reason"]) == ("test", str(error))
        assert rig.sample("resting") == 1

        # Another deployment does not notice.
        rig.answer = lambda: BODY
        assert await rig.ask(of=THERE) == VARIANTS

        await asyncio.sleep(1)
        assert await rig.ask() == VARIANTS
        assert await rig.ask(user=b"{}") == VARIANTS
        assert rig.relay.status()["resting"] == []
        assert rig.counted() == {"failed": MOST_FAILURES, "open": 1, "miss": 3}
    said = log_lines.getvalue()
    assert said.count("remote evaluation rests") == said.count("remote evaluation is back") == 1
    for secret in ("secret-user", HERE.key.reveal()):
        assert secret not in said


@pytest.mark.looptime
async def test_of_many_who_come_after_the_pause_one_tries() -> None:
    async with rigged() as rig:
        for _ in range(MOST_FAILURES):
            await rig.fail(UpstreamUnavailable("down"))
        calls = len(rig.asked)
        await asyncio.sleep(1)
        rig.answer = asyncio.Event().wait

        crowd = [asyncio.ensure_future(rig.ask(user=b'{"m":%d}' % n)) for n in range(20)]
        done, trying = await asyncio.wait(crowd, timeout=0.01)

        assert (len(done), len(trying), len(rig.asked)) == (19, 1, calls + 1)
        assert {one.result().outcome for one in done} == {"open"}  # type: ignore[union-attr]
        assert isinstance(await trying.pop(), Trouble)


@pytest.mark.looptime
async def test_a_flapping_upstream_costs_few_calls_and_few_lines(log_lines: io.StringIO) -> None:
    is_up = False

    def flapping() -> object:
        return BODY if is_up else UpstreamUnavailable("down", retry_after=0.0)

    async with rigged(chance=0.0) as rig:
        rig.answer = flapping
        for n in range(600):
            is_up = n % 2 == 0
            await rig.ask(user=b'{"n":%d}' % n)
            await asyncio.sleep(0.1)

    assert log_lines.getvalue().count("remote evaluation") <= 4


@pytest.mark.looptime
async def test_a_wish_to_rest_is_kept() -> None:
    async with rigged() as rig:
        busy = UpstreamUnavailable("answered 429", status=429, retry_after=30.0)
        assert await rig.fail(busy) == Trouble(outcome="failed", seconds=30)

        await asyncio.sleep(12.5)
        assert await rig.fail(busy) == Trouble(outcome="open", seconds=18)
        assert len(rig.asked) == 1

        await asyncio.sleep(17.6)
        rig.answer = lambda: BODY
        assert await rig.ask() == VARIANTS


@pytest.mark.looptime
async def test_a_refused_key_is_not_asked_with_all_the_time() -> None:
    async with rigged() as rig:
        refused = UpstreamRefused("answered 403", status=403)
        assert await rig.fail(refused) == Trouble(outcome="refused", status=401)
        assert await rig.fail(refused) == Trouble(outcome="open", status=401, seconds=1)
        assert len(rig.asked) == 1

        await asyncio.sleep(1)
        await rig.fail(UpstreamUnavailable("down"))
        assert (await rig.fail(refused)).status == 503


@pytest.mark.parametrize("status", [400, 413, 431])
async def test_a_refused_request_speaks_of_nobody_else(status: int) -> None:
    async with rigged() as rig:
        for _ in range(2 * MOST_FAILURES):
            found = await rig.fail(UpstreamRefused("answered", status=status))
            assert found == Trouble(outcome="refused", status=status)

        assert len(rig.asked) == 2 * MOST_FAILURES


async def test_garbage_is_a_failure_and_never_kept() -> None:
    async with rigged() as rig:
        rig.answer = lambda: b"<html>"
        for _ in range(2):
            assert await rig.ask() == Trouble(outcome="failed")
        rig.answer = lambda: BODY

        assert await rig.ask() == VARIANTS
        assert len(rig.asked) == 3


async def test_what_is_kept_is_bounded() -> None:
    bound = 20_000
    async with rigged(max_bytes=bound) as rig:
        for n in range(100):
            await rig.ask(user=b'{"n":%d}' % n)

        status = rig.relay.status()
        assert bound / 2 < status["bytes_kept"] <= bound
        assert 0 < status["answers_kept"] < 100
        assert await rig.ask(user=b'{"n":99}') == VARIANTS
        assert len(rig.asked) == 100


async def test_what_goes_wrong_here_is_a_failure_and_logged(log_lines: io.StringIO) -> None:
    async with rigged() as rig:
        assert (await rig.fail(LookupError("a bug"))).outcome == "failed"
        rig.answer = lambda: BODY

        assert await rig.ask() == VARIANTS
    assert "relaying failed" in log_lines.getvalue()


async def test_having_waited_for_a_turn_is_not_amplitudes_failure() -> None:
    async def slow() -> bytes:
        await asyncio.sleep(0.3)
        return BODY

    async with rigged(timeout_millis=400, max_calls=10) as rig:
        rig.answer = slow
        crowd = await asyncio.gather(*(rig.ask(user=b'{"n":%d}' % n) for n in range(30)))

        assert crowd[:10] == [VARIANTS] * 10
        assert all(isinstance(one, Trouble) for one in crowd[10:])
        assert rig.relay.status()["resting"] == []
        assert await rig.ask(user=b'{"n":"later"}') == VARIANTS


async def test_lines_of_deployments_that_are_gone_are_forgotten() -> None:
    async with rigged() as rig:
        for n in range(50):
            of = builders.deployment(f"server-{n}", label=f"gone {n}")
            rig.board.authorise(of)
            rig.answer = lambda: UpstreamUnavailable("down", retry_after=3000.0)
            await rig.ask(of=of)
            rig.board.revoke(of.key.reveal())

        assert len(rig.relay.status()["resting"]) <= 1


async def test_closing_ends_the_calls() -> None:
    rig = Rig()
    rig.answer = asyncio.Event().wait
    waiting = asyncio.ensure_future(rig.ask())
    while not rig.asked:
        await asyncio.sleep(0)

    await rig.relay.close()

    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert rig.relay.status()["calls"] == 0


async def test_neither_users_nor_keys_are_shown() -> None:
    async with rigged() as rig:
        await rig.ask()
        await rig.fail(UpstreamUnavailable("down", retry_after=30.0))

        for secret in ("secret-user", HERE.key.reveal()):
            assert secret not in str(rig.relay.status())
