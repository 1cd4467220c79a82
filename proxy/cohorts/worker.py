"""The building process: `python -m proxy.cohorts.worker <parent's process id>`.

Orders come in as lines of JSON, what it has to say goes out as lines of JSON. It lives beside
a proxy that serves: it takes the processor and the memory only when nobody else wants them, and
ends when the proxy does. Member ids never leave it.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from proxy.cohorts.building import build
from proxy.cohorts.jobs import Order, Progress, Said, Trouble
from proxy.errors import BodyBroken

PACE_SECONDS = 0.25
NICENESS = 5
MORE_EXPENDABLE = 500
DIE_WITH_PARENT = 1
Say = Callable[[Said], None]


def serve(lines: Iterable[bytes], say: Say) -> None:
    """Carry out the orders in `lines`, one after the other; raises what nobody foresaw."""
    for line in lines:
        order = msgspec.json.decode(line, type=Order)
        try:
            say(Said(built=build(order, paced(say))))
        except BodyBroken as error:
            say(Said(trouble=Trouble(error="broken", reason=str(error))))
        except OSError as error:
            say(Said(trouble=Trouble(error="no room", reason=error.strerror or "trouble")))
        except Exception as error:  # noqa: BLE001  the guard's purpose
            # Its text may hold what a body holds: only its kind and place are told.
            place = traceback.extract_tb(error.__traceback__)[-1]
            reason = f"{type(error).__name__} at {Path(place.filename).name}:{place.lineno}"
            say(Said(trouble=Trouble(error="died", reason=reason)))
            raise SystemExit(1) from None


def paced(say: Say, now: Callable[[], float] = time.monotonic) -> Callable[[Progress], None]:
    """Return what tells of progress, once in PACE_SECONDS at most."""
    due = now()

    def tell(progress: Progress) -> None:
        nonlocal due
        if now() >= due:
            due = now() + PACE_SECONDS
            say(Said(progress=progress))

    return tell


def step_back(parent: int) -> None:
    """Let others go first, and end with the process `parent`; raises SystemExit if it is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Whoever started us may have handed down more than the three standard files.
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    os.nice(NICENESS)
    with contextlib.suppress(OSError, ValueError):
        score = Path("/proc/self/oom_score_adj")
        score.write_text(str(min(1000, int(score.read_text()) + MORE_EXPENDABLE)))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL)
    if os.getppid() != parent:
        raise SystemExit(0)
    # Lists of a million ids come and go by themselves; collections would only walk them.
    gc.disable()
    gc.freeze()


def main() -> None:
    """Serve until the orders end, or nobody listens any more."""
    step_back(int(sys.argv[1]))

    def say(said: Said) -> None:
        sys.stdout.buffer.write(msgspec.json.encode(said) + b"\n")
        sys.stdout.buffer.flush()

    try:
        serve(sys.stdin.buffer, say)
    except BrokenPipeError:
        os._exit(0)


if __name__ == "__main__":
    main()
