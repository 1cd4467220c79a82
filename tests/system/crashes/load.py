"""Clients that ask without end, and remember what they were answered and when."""

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from typing import NamedTuple

from proxy.sandbox.server import API_KEY, SERVER_KEY
from tests.system.crashes.upstream import CURSED, INVALID

FLAGS = "flags: {a: {serve: on}, b: {serve: on}}\n"
ASSIGNMENT, EXPOSURE = "[Experiment] Assignment", "[Experiment] Exposure"
KEY = {"Authorization": f"Api-Key {SERVER_KEY}"}
EXPOSED = {**KEY, "X-Amp-Exp-Exposure-Track": "track"}
PAUSE_SECONDS = 0.004


class Promise(NamedTuple):
    """An event that was answered for in a life: safe from then on if it is, else a little later."""

    name: str
    life: int
    at: float
    safe: bool


class Load:
    """A few clients; each request is by users of its own, who are met once only.

    `kinds` are what clients do in turn: evaluate, expose, upload. One in `one_in` users is one
    whom upstream calls invalid; the one with the number `cursed` is refused without a word.
    """

    def __init__(
        self,
        port: int,
        seed: int,
        kinds: Sequence[str] = ("evaluate",),
        *,
        one_in: int = 0,
        cursed: int = 0,
        clients: int = 4,
    ) -> None:
        self.promises: list[Promise] = []
        self.answers: Counter[str] = Counter()
        self.slowest = 0.0  # of the uploads, which wait for a commit: answered, or cut off
        self.life = 0  # the number of the one who answers
        self.safe = False  # whether an evaluation is safe as soon as it is answered
        self._port = port
        self._kinds = kinds
        self._one_in = one_in
        self._cursed = cursed
        self._chance = random.Random(seed)
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._rests = threading.Event()
        self._number = 0
        self._clients = clients

    @contextmanager
    def running(self) -> Iterator[None]:
        """Ask as long as the block lasts."""
        self._over.clear()
        threads = [threading.Thread(target=self._ask) for _ in range(self._clients)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._over.set()
            for thread in threads:
                thread.join()

    def _ask(self) -> None:
        while not self._over.is_set():
            connection = HTTPConnection("127.0.0.1", self._port, timeout=10)
            try:
                while not self._over.wait(PAUSE_SECONDS):
                    self._exchange(connection)
            except (OSError, HTTPException) as error:
                # Nobody is there, or he died before he answered: nothing was promised.
                self._count(type(error).__name__)
                self._over.wait(5 * PAUSE_SECONDS)
            finally:
                connection.close()

    def _exchange(self, connection: HTTPConnection) -> None:
        with self._lock:
            self._number += 1
            number, life = self._number, self.life
            wrong = self._one_in and self._chance.randrange(self._one_in) == 0
        kind = self._kinds[number % len(self._kinds)]
        user = f"{INVALID if wrong else ''}{number}"
        if number == self._cursed:
            user = f"{CURSED}{number}"
        if kind == "upload":
            body, names = _upload(user)
            with self._timed():
                status = _post(connection, "/batch", body, {})
        else:
            headers, names = KEY, [f"{ASSIGNMENT} {user}"]
            if kind == "expose":
                headers = EXPOSED
                names += [f"{EXPOSURE} {user} a", f"{EXPOSURE} {user} b"]
            body = json.dumps({"user_id": user})
            status = _post(connection, "/sdk/v2/vardata", body, headers)
        self._count(f"{kind} {status}")
        if status == 200:
            now, safe = time.monotonic(), self.safe or kind == "upload"
            self.promises += [Promise(name, life, now, safe) for name in names]

    @contextmanager
    def _timed(self) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        finally:
            self.slowest = max(self.slowest, time.monotonic() - began)

    def _count(self, what: str) -> None:
        with self._lock:
            self.answers[what] += 1


def _post(connection: HTTPConnection, path: str, body: str, headers: dict[str, str]) -> int:
    connection.request("POST", path, body, headers)
    answer = connection.getresponse()
    answer.read()
    return answer.status


def _upload(user: str) -> tuple[str, list[str]]:
    """Return an upload of three events; the last one has no insert_id of its own."""
    events = [{"event_type": f"step {step}", "user_id": user} for step in range(3)]
    for event in events[:2]:
        event["insert_id"] = f"{event['event_type']} {user}"
    body = json.dumps({"api_key": API_KEY, "options": {"min_id_length": 1}, "events": events})
    return body, [f"{event['event_type']} {user}" for event in events]
