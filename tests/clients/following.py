"""Official SDKs that stream flags and go on evaluating, each in its own program or thread."""

import json
import re
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import amplitude_experiment as official
from amplitude_experiment.local.client import LocalEvaluationClient

from proxy.sandbox.server import SERVER_KEY
from tests.clients.running import HERE
from tests.system.programs import PATIENCE, Pair, call, wait_for

HOUR_MILLIS = 3_600_000
FLAG = "shown"
USER = {"user_id": "user-1", "device_id": "device-1"}
Seen = Callable[[], list[str]]
"""Give the variants that an SDK has found so far, in order, without repetitions."""


def flag_file(variant: str) -> str:
    return f"flags:\n  {FLAG}: {{variants: {{a: , b: , c: }}, serve: {variant}}}\n"


def followed(pair: Pair, **more: Any) -> dict[str, Any]:
    """A job for a program that evaluates until its standard input ends."""
    return {
        "proxy": pair.proxy,
        "key": SERVER_KEY,
        "flag": FLAG,
        "user": USER,
        "pollingMillis": HOUR_MILLIS,
        **more,
    }


@contextmanager
def following(command: Sequence[str], job: dict[str, Any], directory: Path) -> Iterator[Seen]:
    """Run a program with a job until the block is left; it writes a line for each new variant."""
    said, errors = directory / "variants", directory / "errors"
    with said.open("wb") as out, errors.open("wb") as err:
        program = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=out, stderr=err, cwd=HERE)
    assert program.stdin is not None

    def seen() -> list[str]:
        assert program.poll() is None, errors.read_text()[-3000:]
        # The last line may not be whole yet.
        return said.read_text().split("\n")[:-1]

    try:
        program.stdin.write(json.dumps(job).encode() + b"\n")
        program.stdin.flush()
        yield seen
    finally:
        program.kill()
        program.wait()
        program.stdin.close()


@contextmanager
def following_in_python(pair: Pair) -> Iterator[Seen]:
    """The official Python SDK, asked whenever somebody wants to know."""
    config = official.LocalEvaluationConfig(
        server_url=pair.proxy,
        stream_updates=True,
        stream_server_url=pair.proxy,
        flag_config_polling_interval_millis=HOUR_MILLIS,
    )
    found: list[str] = []

    with LocalEvaluationClient(SERVER_KEY, config) as client:

        def seen() -> list[str]:
            variants = client.evaluate_v2(official.User(**USER))
            key = variants[FLAG].key if FLAG in variants else "none"
            if found[-1:] != [key]:
                found.append(str(key))
            return list(found)

        client.start()
        yield seen


def polls(pair: Pair) -> int:
    """How often flags were asked for at the proxy."""
    _, body = call(f"{pair.operators}/metrics")
    found = re.search(rb"^amplitude_proxy_get_flags_request_total ([\d.]+)$", body, re.MULTILINE)
    assert found is not None
    return int(float(found[1]))


def hears_of_every_change(pair: Pair, seen: Seen) -> None:
    """Change the flag, which is `a`, twice; the SDK hears of it without asking."""
    wait_for(lambda: seen() == ["a"], "first variant")
    before = polls(pair)
    pair.flag_file.write_text(flag_file("b"))
    wait_for(lambda: seen() == ["a", "b"], "change by the stream")
    pair.flag_file.write_text(flag_file("c"))
    wait_for(lambda: seen() == ["a", "b", "c"], "second change by the stream")
    assert polls(pair) == before


def survive(pair: Pair, *follows: AbstractContextManager[Seen]) -> None:
    """Drain the proxy, change the flag, start the proxy again: SDKs go on, and hear of it."""
    with pair.sandbox(), ExitStack() as opened:
        with pair.serve() as program:
            all_seen = [opened.enter_context(follow) for follow in follows]
            wait_for(lambda: all(seen() == ["a"] for seen in all_seen), "first variant")
            assert program.stop() == 0
        assert [seen() for seen in all_seen] == [["a"]] * len(all_seen)
        pair.flag_file.write_text(flag_file("b"))
        with pair.serve():
            wait_for(
                lambda: all(seen() == ["a", "b"] for seen in all_seen),
                "variant of everybody after the restart",
                within=2 * PATIENCE,
            )
            before = polls(pair)
            pair.flag_file.write_text(flag_file("c"))
            wait_for(lambda: all(seen()[-1] == "c" for seen in all_seen), "change by the stream")
            assert polls(pair) == before
