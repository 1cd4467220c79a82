"""What tracing costs: processor time of one request in the server's own code, off and on.

Twenty flags, evaluated each time; no socket is in it. What it takes to encode a span for the
collector is measured apart: that is done beside. Prints, and has no floor.
"""

import asyncio
import base64
import random
import statistics
import time
from types import SimpleNamespace
from typing import Any

import msgspec
from aiohttp import HttpVersion11
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import EMPTY_PAYLOAD
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from bench import workload
from proxy.api.assembly import build_router, build_server
from proxy.api.reports import Reports
from proxy.evaluation.deployment import compile_deployment
from proxy.metrics import Metrics
from proxy.secret import Secret
from proxy.settings.schema import AnswerCache, Settings
from proxy.snapshots.board import Board
from proxy.snapshots.snapshot import Deployment, Snapshot
from proxy.tasks import wall_clock
from proxy.telemetry.encoding import Encoder
from proxy.telemetry.spans import Span, Tracer

ROUNDS = 40
AT_ONCE = 500
SPANS = 512
KEY = "server-bench"
TARGET = "/sdk/v2/vardata?v=0"
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331"
CASES: dict[str, tuple[float | None, str]] = {
    "off": (None, ""),
    "not drawn": (0.0, ""),
    "of a trace that is not sampled": (1.0, f"{TRACE}-00"),
    "traced": (1.0, ""),
    "of a trace that is sampled": (0.0, f"{TRACE}-01"),
}


def message(trace: str) -> RawRequestMessage:
    user = next(iter(workload.users(1)))
    headers = CIMultiDict(
        {
            "Host": "proxy",
            "Authorization": f"Api-Key {KEY}",
            "X-Amp-Exp-User": base64.urlsafe_b64encode(msgspec.json.encode(user)).decode(),
        }
    )
    if trace:
        headers["traceparent"] = trace
    given = CIMultiDictProxy(headers)
    return RawRequestMessage(
        "GET", TARGET, HttpVersion11, given, (), False, None, False, False, URL(TARGET)
    )


def carrier(ratio: float | None, spans: list[Span]) -> Any:
    board, metrics = Board(), Metrics()
    deployment = Deployment(key=Secret(KEY), label="bench", project="bench", project_index=0)
    compiled = compile_deployment(workload.flags_json(20))
    board.authorise(deployment)
    board.publish(
        KEY,
        Snapshot(deployment=deployment, compiled=compiled, source="poll", changed_at=wall_clock()),
    )
    settings = Settings(answer_cache=AnswerCache(max_bytes=0))
    reports = Reports(lambda *_: None, lambda *_: None, None)
    router = build_router(board, reports, settings, metrics, wall_clock, is_ready=lambda: True)
    tracer = None
    if ratio is not None:
        tracer = Tracer(ratio, spans.append, wall_clock, random.random)
    return build_server(router, metrics, wall_clock, tracer=tracer)._carrier  # noqa: SLF001


def micros(call: Any, count: int) -> float:
    began = time.thread_time_ns()
    for _ in range(count):
        call()
    return (time.thread_time_ns() - began) / count / 1000


async def measure() -> list[Span]:
    spans: list[Span] = []
    connection = SimpleNamespace(visitor=None, found_already=None, trace=None)
    calls = {}
    for case, (ratio, trace) in CASES.items():
        serving, asked = carrier(ratio, spans), message(trace)
        calls[case] = lambda s=serving, a=asked: s.at_once(a, EMPTY_PAYLOAD, connection)
        for _ in range(3):
            assert calls[case]()[9:12] == b"200", case
    spent: dict[str, list[float]] = {case: [] for case in CASES}
    for number in range(ROUNDS):
        for case in list(CASES)[:: 1 if number % 2 else -1]:
            del spans[:-SPANS]
            spent[case].append(micros(calls[case], AT_ONCE))
    print("a request")
    off = statistics.median(spent["off"])
    for case, each in spent.items():
        took = statistics.median(each)
        print(f"  {case:32} {took:6.2f} us  ({took - off:+.2f})")
    return spans[-SPANS:]


def main() -> int:
    spans = asyncio.run(measure())
    encoder = Encoder({"service.name": "bench"}, wall_clock())
    took = statistics.median(micros(lambda: encoder.spans(spans), 1) for _ in range(ROUNDS))
    print(f"to encode a span, beside            {took / len(spans):6.2f} us")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
