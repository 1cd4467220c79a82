"""Upstream as the crash tests script it: the sandbox's flags, and an ingestion with moods.

It lives in a thread of the test. What it was sent stands in its diary, by event.
"""

import asyncio
import gzip
import json
import random
import threading
from codecs import BOM_UTF8
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Self

from aiohttp import web

from proxy.sandbox.server import API_KEY, Sandbox
from tests.fakes.ports import reserve
from tests.system.programs import PATIENCE

INVALID, CURSED = "invalid-", "cursed-"
"""How the ids of those users begin whose events are refused: named by their index, or unnamed."""
MOST_OF_A_SMALL_BATCH = 40
LONGEST_ANSWER_SECONDS = 0.3
SHORTEST_BODY = 100
"""No packed batch is shorter, be it of one event."""

Event = dict[str, Any]
Answer = web.StreamResponse


def name_of(event: Event) -> str:
    """Say which event of which evaluation or upload this is."""
    flag = event.get("event_properties", {}).get("[Experiment] Flag Key", "")
    return f"{event['event_type']} {event['user_id']} {flag}".rstrip()


class Diary:
    """What became of each event that was ever sent, by its name."""

    def __init__(self) -> None:
        self.ids: dict[str, set[str]] = defaultdict(set)
        self.taken: Counter[str] = Counter()  # answered 200, and the answer was complete
        self.maybe: Counter[str] = Counter()  # read, and there was no (complete) answer
        self.refused: Counter[str] = Counter()  # read by somebody else
        self.named: Counter[str] = Counter()  # said to be wrong
        self.requests: Counter[str] = Counter()  # by what was answered

    def read(self, events: Sequence[Event]) -> None:
        for event in events:
            self.ids[name_of(event)].add(event["insert_id"])

    def note(self, what: str, kind: Counter[str], events: Sequence[Event]) -> None:
        self.requests[what] += 1
        kind.update(map(name_of, events))


class Analytics:
    """The ingestion: answers as its mood is, and chance by a seed."""

    def __init__(self, seed: int) -> None:
        self.diary = Diary()
        self.mood = "well"
        self._chance = random.Random(seed)
        self._moods: dict[str, Callable[[web.BaseRequest, list[Event]], Awaitable[Answer]]] = {
            "well": self._well,
            "slow": self._well_but_later,
            "throttling": self._throttle,
            "small": self._refuse_large,
            "failing": self._fail,
            "silent": self._hang,
            "deaf": self._cut_without_answer,
            "babbling": self._cut_in_answer,
            "captive": self._show_a_page,
        }

    async def serve(self, request: web.BaseRequest) -> Answer:
        mood = self.mood
        if mood == "mixed":
            mood = self._chance.choice(["well", "cutting", "choking", *self._moods])
        if mood == "cutting":
            # Half-way: of a body in one piece, everything before it.
            self.diary.requests["cut"] += 1
            return _cut(request)
        if mood == "choking":
            await request.content.readexactly(self._chance.randrange(1, SHORTEST_BODY))
            self.diary.requests["cut in mid-body"] += 1
            return _cut(request)
        body = json.loads(gzip.decompress(await request.read()))
        assert body["api_key"] == API_KEY
        events = body["events"]
        self.diary.read(events)
        return await self._moods[mood](request, events)

    async def _well(self, _request: web.BaseRequest, events: list[Event]) -> Answer:
        wrong = [at for at, one in enumerate(events) if one["user_id"].startswith(INVALID)]
        if wrong:
            named = [events[at] for at in wrong]
            self.diary.note("400 with indices", self.diary.named, named)
            return _answer(400, error="wrong", events_with_invalid_fields={"time": wrong})
        cursed = [one for one in events if one["user_id"].startswith(CURSED)]
        if cursed:
            alone = cursed if len(events) == 1 else []
            self.diary.note("400", self.diary.named, alone)
            return _answer(400, error="something is wrong")
        self.diary.note("200", self.diary.taken, events)
        return _answer(200, events_ingested=len(events))

    async def _well_but_later(self, request: web.BaseRequest, events: list[Event]) -> Answer:
        await asyncio.sleep(self._chance.uniform(0.0, LONGEST_ANSWER_SECONDS))
        # Whoever was killed meanwhile has cancelled this: nothing was taken.
        return await self._well(request, events)

    async def _throttle(self, request: web.BaseRequest, events: list[Event]) -> Answer:
        how = self._chance.randrange(4)
        if how == 0:
            self.diary.requests["429"] += 1
            return _answer(429, Retry_After=str(self._chance.randrange(2)), error="slow down")
        if how == 1 and self._chance.random() < 0.2:
            self.diary.requests["429 without end"] += 1
            return _answer(429, error="slow down")
        if how == 2:
            some = [at for at in range(len(events)) if self._chance.random() < 0.3]
            if some:
                self.diary.requests["429 with indices"] += 1
                return _answer(429, Retry_After="1", error="slow", throttled_events=some)
        return await self._well(request, events)

    async def _refuse_large(self, request: web.BaseRequest, events: list[Event]) -> Answer:
        if len(events) > MOST_OF_A_SMALL_BATCH:
            self.diary.requests["413"] += 1
            return _answer(413, error="too large")
        return await self._well(request, events)

    async def _fail(self, _request: web.BaseRequest, events: list[Event]) -> Answer:
        status = self._chance.choice([500, 502, 503, 408, 404])
        self.diary.note("5xx and the like", self.diary.maybe, events)
        return _answer(status, error="broken")

    async def _hang(self, _request: web.BaseRequest, events: list[Event]) -> Answer:
        self.diary.note("no answer", self.diary.maybe, events)
        await asyncio.Event().wait()
        raise AssertionError

    async def _cut_without_answer(self, request: web.BaseRequest, events: list[Event]) -> Answer:
        self.diary.note("cut after reading", self.diary.maybe, events)
        return _cut(request)

    async def _show_a_page(self, _request: web.BaseRequest, events: list[Event]) -> Answer:
        """Be somebody in upstream's place, who says 200 to everything."""
        self.diary.note("200 with a page", self.diary.refused, events)
        body = self._chance.choice([b"", BOM_UTF8]) + b"\r\n<!DOCTYPE html><title>Log in</title>"
        return web.Response(body=body, content_type="text/html")

    async def _cut_in_answer(self, request: web.BaseRequest, events: list[Event]) -> Answer:
        self.diary.note("cut in the answer", self.diary.maybe, events)
        answer = web.StreamResponse(headers={"Content-Length": "100"})
        await answer.prepare(request)
        await answer.write(b'{"code":200,')
        return _cut(request)


def _answer(code: int, *, Retry_After: str | None = None, **body: Any) -> web.Response:  # noqa: N803
    headers = {"Retry-After": Retry_After} if Retry_After is not None else {}
    return web.json_response({"code": code, **body}, status=code, headers=headers)


def _cut(request: web.BaseRequest) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


class Upstream:
    """All of upstream, in a thread; `become` changes how the ingestion is."""

    def __init__(self, flag_file: Path, seed: int) -> None:
        self.analytics = Analytics(seed)
        self.flags_url = self.events_url = ""
        self._sandbox = Sandbox(flag_file)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._held = reserve()
        self._runner: web.ServerRunner | None = None

    @property
    def diary(self) -> Diary:
        return self.analytics.diary

    def become(self, mood: str) -> None:
        self._do(self._become(mood))

    def __enter__(self) -> Self:
        self._thread.start()
        self._do(self._open())
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._held.close()

    async def _open(self) -> None:
        self.flags_url = f"http://127.0.0.1:{await self._sandbox.start('127.0.0.1', 0)}"
        self.events_url = f"http://127.0.0.1:{self._held.getsockname()[1]}"
        await self._listen()

    async def _become(self, mood: str) -> None:
        self.analytics.mood = mood
        if mood == "down":
            await self._go_down()
        elif self._runner is None:
            await self._listen()

    async def _listen(self) -> None:
        server = web.Server(self.analytics.serve, handler_cancellation=True, auto_decompress=False)
        self._runner = web.ServerRunner(server, shutdown_timeout=0.01)
        await self._runner.setup()
        port = self._held.getsockname()[1]
        await web.TCPSite(self._runner, "127.0.0.1", port, reuse_address=True).start()

    async def _go_down(self) -> None:
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def _close(self) -> None:
        await self._go_down()
        await self._sandbox.stop()

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        done: Future[None] = asyncio.run_coroutine_threadsafe(work, self._loop)
        done.result(PATIENCE)
