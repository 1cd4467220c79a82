"""Outcomes, users and posts: a test says only what matters to it."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

import msgspec

from proxy.errors import UpstreamUnavailable
from proxy.evaluation.model import Flag, Segment, Variant
from proxy.evaluation.outcomes import Outcome
from proxy.events.bounds import Bounds
from proxy.events.disk import PATIENCE_SECONDS, Disk
from proxy.events.spool import Spool
from proxy.metrics import Metrics
from proxy.upstream.analytics import SHORT_IDS, Receipt

NOW = 1_700_000_000.0


def outcome(flag_key: str = "f", variant_key: str = "on", **metadata: Any) -> Outcome:
    raw = {name: msgspec.Raw(msgspec.json.encode(value)) for name, value in metadata.items()}
    variant = Variant(key=variant_key, metadata=raw)
    flag = Flag(key=flag_key, variants={variant_key: variant}, segments=(Segment(),))
    return Outcome.of(flag, 0, variant)


def event(number: int, size: int = 40, **members: Any) -> bytes:
    body = msgspec.json.encode({"n": number, **members, "pad": ""})
    return body[:-2] + b"x" * max(0, size - len(body)) + body[-2:]


def numbers(bodies: Sequence[bytes]) -> list[int]:
    return [msgspec.json.decode(body)["n"] for body in bodies]


def receipt(status: int, retry_after: float | None = None, **body: Any) -> Receipt:
    return Receipt(status, msgspec.json.encode(body), retry_after)


class AtOnce(Executor):
    """Does the work in the caller's thread: virtual time does not wait for threads."""

    def submit(self, job: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(job(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def clock() -> float:
    """The wall clock of virtual time."""
    return NOW + asyncio.get_running_loop().time()


Step = Receipt | None | Callable[[Sequence[bytes]], Receipt]


class Upstream:
    """Answers posts by a script, whose last step repeats; None is no answer. Keeps a diary."""

    def __init__(self, *script: Step, seconds: float = 0.0) -> None:
        self.script = list(script) or [receipt(200)]
        self.diary: list[tuple[float, list[int]]] = []
        self.accepted: list[int] = []
        self.seconds = seconds

    async def __call__(self, bodies: Sequence[bytes], options: bytes = SHORT_IDS) -> Receipt:
        sent = numbers(bodies)
        self.diary.append((asyncio.get_running_loop().time(), sent))
        step = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        await asyncio.sleep(self.seconds)
        answer = step(bodies) if callable(step) else step
        if answer is None:
            raise UpstreamUnavailable("no answer in time")
        if answer.status == 200:
            self.accepted += sent
        return answer

    @property
    def batches(self) -> list[list[int]]:
        return [sent for _, sent in self.diary]

    @property
    def times(self) -> list[float]:
        return [at for at, _ in self.diary]


def spool_in(
    folder: Path | None,
    metrics: Metrics | None = None,
    *,
    wall: Callable[[], float] = clock,
    executor: Executor | None = None,
    patience: float = PATIENCE_SECONDS,
    **bounds: Any,
) -> Spool:
    """Make a spool that is not open yet; in memory when there is no folder."""
    metrics = metrics or Metrics()
    disk = Disk(folder, metrics, executor or AtOnce(), patience=patience)
    return Spool(disk, Bounds(**bounds), metrics, clock=wall)
