"""The clients' port in the test's own process, and a client that says just what it is told."""

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator, Collection, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Any, NamedTuple

import msgspec

from proxy.api import sockets
from proxy.api.assembly import build_router, build_server
from proxy.api.carrier import Durable
from proxy.api.cohorts import Library
from proxy.api.features import Feature
from proxy.api.reports import Reports
from proxy.api.server import ClientServer
from proxy.api.uploads import Desk
from proxy.evaluation.memberships import Memberships
from proxy.evaluation.outcomes import Outcome
from proxy.metrics import Metrics
from proxy.settings.schema import Settings
from proxy.snapshots.board import Board
from proxy.tasks import wall_clock
from proxy.telemetry.spans import Tracer
from tests import builders
from tests.builders import KEY, condition, flag, segment

FLAGS: list[dict[str, Any]] = [
    flag("plain", payload={"colour": "blue"}, experimentKey="exp-1"),
    flag("targeted", segment("on", condition(["context", "user", "user_id"], "is", "u1"))),
    flag("dark", segment("off")),
    flag("parent", deployed=False),
    flag("child", dependencies=["parent"]),
    flag(
        "members",
        segment("on", condition(["context", "user", "cohort_ids"], "set contains any", "c1")),
        segment("off"),
    ),
    flag(
        "insiders",
        segment(
            "on", condition(["context", "groups", "org", "cohort_ids"], "set contains any", "g1")
        ),
        segment("off"),
    ),
]


class Tracked(NamedTuple):
    project_index: int
    user: dict[str, Any]
    outcomes: list[Outcome]
    at: float


class Exposed(NamedTuple):
    project_index: int
    user: dict[str, Any]
    outcomes: list[Outcome]
    asked: Collection[str]
    at: float


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)


class Served(NamedTuple):
    """A running clients' port and all that a test may want to look at or turn."""

    port: int
    board: Board
    metrics: Metrics
    tracked: list[Tracked]
    server: ClientServer
    ready: list[bool]
    cohorts: dict[tuple[str, str], list[str]]
    held: dict[tuple[int, str], Any]
    exposed: list[Exposed]
    damaged: list[tuple[int, Any]]

    async def get(self, target: str, **headers: str) -> Answer:
        return await self.ask("GET", target, headers)

    async def post(self, target: str, body: bytes, **headers: str) -> Answer:
        return await self.ask("POST", target, headers, body)

    async def ask(
        self, method: str, target: str, headers: dict[str, str], body: bytes | None = None
    ) -> Answer:
        """Send one request with the deployment's key, and return the answer."""
        given = {"Host": "proxy", "Authorization": f"Api-Key {KEY}"}
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        if body is not None:
            given.setdefault("Content-Length", str(len(body)))
        lines = [f"{method} {target} HTTP/1.1", *(f"{n}: {v}" for n, v in given.items() if v)]
        raw = "\r\n".join(lines).encode("utf-8", "surrogateescape") + b"\r\n\r\n" + (body or b"")
        async with self.connection() as (reader, writer):
            writer.write(raw)
            return await read_answer(reader, head=method == "HEAD")

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=2**24)
        try:
            yield reader, writer
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    def counted(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(f"amplitude_proxy_{name}", labels) or 0.0


async def read_answer(reader: asyncio.StreamReader, *, head: bool = False) -> Answer:
    """Read one answer whose length its head tells."""
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
    headers = {}
    for line in lines:
        name, _, value = line.partition(": ")
        assert name.lower() not in headers, f"{name} twice"
        headers[name.lower()] = value
    status = int(first.split()[1])
    length = 0 if head or status in (204, 304) else int(headers["content-length"])
    return Answer(status, headers, await reader.readexactly(length))


def memberships(cohorts: dict[tuple[str, str], list[str]], member: tuple[str, str]) -> Memberships:
    """What a member of a group type is in, of all cohorts that any member is in."""
    held = set(cohorts.get(member, []))
    return Memberships(held.__contains__, lambda: (id_ for ids in cohorts.values() for id_ in ids))


class DictHoldings:
    """The cohorts that a test may change at any time."""

    class Now(NamedTuple):
        content: int

    def __init__(self, cohorts: dict[tuple[str, str], list[str]]) -> None:
        self._cohorts = cohorts
        self._now = self.Now(0)

    @property
    def changes(self) -> int:
        return hash(repr(sorted(self._cohorts.items())))

    def holding(self, _project_index: int) -> Now:
        if self._now.content != self.changes:
            self._now = self.Now(self.changes)
        return self._now


def encoded(value: Any) -> str:
    """A value as the headers carry it: JSON in URL-safe base64 without padding."""
    raw = value if isinstance(value, bytes) else msgspec.json.encode(value)
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


@asynccontextmanager
async def serving(
    flags: list[dict[str, Any]] | None = None,
    settings: Settings | None = None,
    *,
    desk: Desk | None = None,
    durable: Durable | None = None,
    features: Iterable[Feature] = (),
    tls: ssl.SSLContext | None = None,
    local: sockets.LocalSocket | None = None,
    tracer: Tracer | None = None,
) -> AsyncIterator[Served]:
    """Serve flags on a free port until the block is left."""
    board, metrics = Board(), Metrics()
    chosen = settings or builders.settings()
    tracked: list[Tracked] = []
    exposed: list[Exposed] = []
    ready = [True]
    cohorts: dict[tuple[str, str], list[str]] = {}
    held: dict[tuple[int, str], Any] = {}
    damaged: list[tuple[int, Any]] = []
    snapshot = builders.snapshot(FLAGS if flags is None else flags)
    board.authorise(snapshot.deployment)
    board.publish(KEY, snapshot)
    reports = Reports(
        lambda *parts: tracked.append(Tracked(*parts)),
        lambda *parts: exposed.append(Exposed(*parts)),
        desk,
    )
    router = build_router(
        board,
        reports,
        chosen,
        metrics,
        wall_clock,
        is_ready=lambda: ready[0],
        library=Library(
            lambda *name: held.get(name, "unknown"),
            lambda *of: damaged.append(of),
            lambda _deployment, *member: memberships(cohorts, member),
            DictHoldings(cohorts),
        ),
        features=features,
    )
    server = build_server(router, metrics, wall_clock, durable=durable, tracer=tracer)
    bound = sockets.bind("127.0.0.1", 0)
    port = bound[0].getsockname()[1]
    await server.open([*bound, *([local] if local else [])], tls)
    try:
        yield Served(port, board, metrics, tracked, server, ready, cohorts, held, exposed, damaged)
    finally:
        await server.close()
