"""The very requests that official SDKs send for cohorts, as bytes, and what they get.

The JVM SDK sends its library twice, asks for gzip as OkHttp does, and puts the names of groups into
the path as they are, but for what a path cannot hold. The Python SDK cannot go on with a connection
whose last answer it has not read.
"""

import gzip
import http.client
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from proxy.sandbox.server import API_KEY, CLIENT_KEY, SECRET_KEY, SERVER_KEY
from tests.clients.cohorts import COHORTS, ODD_NAMES, TEAMS, holding
from tests.clients.running import basic
from tests.system.programs import Pair

pytestmark = pytest.mark.system
JVM = ("X-Amp-Exp-Library", "experiment-jvm-server/1.8.2")
OK_HTTP = [
    ("Connection", "Keep-Alive"),
    ("Accept-Encoding", "gzip"),
    ("User-Agent", "okhttp/4.12.0"),
]
# What OkHttp leaves alone in a path; it takes a backslash for a slash.
LITERAL = "/!$&'()*+,;=:@-._~"
PYTHON = [("Accept-Encoding", "identity"), ("X-Amp-Exp-Library", "experiment-python-server/1.13.0")]
LARGEST = 2**31 - 1
Header = tuple[str, str]


class Connection:
    """One connection that stays open, and says when it could not."""

    def __init__(self, pair: Pair) -> None:
        self._http = http.client.HTTPConnection("127.0.0.1", pair.port, timeout=10)
        self._http.connect()
        self.socket = self._http.sock

    def get(self, target: str, headers: list[Header]) -> tuple[http.client.HTTPResponse, bytes]:
        self._http.putrequest("GET", target, skip_accept_encoding=True)
        for name, value in headers:
            self._http.putheader(name, value)
        self._http.endheaders()
        answer = self._http.getresponse()
        return answer, answer.read()

    def is_the_same(self) -> bool:
        return self._http.sock is self.socket

    def close(self) -> None:
        self._http.close()


@pytest.fixture
def connection(pair: Pair) -> Iterator[Connection]:
    connection = Connection(pair)
    yield connection
    connection.close()


def jvm_cohort_headers() -> list[Header]:
    return [("Authorization", basic(API_KEY, SECRET_KEY)), JVM, JVM, *OK_HTTP]


def jvm_flag_headers(key: str = SERVER_KEY) -> list[Header]:
    return [("Authorization", f"Api-Key {key}"), JVM, *OK_HTTP]


def cohort(cohort_id: str, **query: int) -> str:
    fields = "&".join(f"{name}={number}" for name, number in query.items())
    return f"/sdk/v1/cohort/{cohort_id}?{fields}"


@pytest.mark.parametrize("cohort_id", COHORTS)
def test_the_jvm_sdk_gets_a_cohort_as_gzip(connection: Connection, cohort_id: str) -> None:
    answer, body = connection.get(cohort(cohort_id, maxCohortSize=LARGEST), jvm_cohort_headers())

    assert (answer.status, answer.getheader("Content-Encoding")) == (200, "gzip")
    served = json.loads(gzip.decompress(body))
    group, members = COHORTS[cohort_id]
    assert isinstance(served["lastModified"], int)
    assert (served["cohortId"], served["groupType"]) == (cohort_id, group)
    assert (served["size"], sorted(served["memberIds"])) == (len(members), sorted(members))


def test_the_jvm_sdk_refreshes_all_over_one_connection(connection: Connection) -> None:
    headers = jvm_cohort_headers()
    _, body = connection.get(cohort("crowd", maxCohortSize=LARGEST), headers)
    held = json.loads(gzip.decompress(body))["lastModified"]

    for _ in range(3):
        target = cohort("crowd", maxCohortSize=LARGEST, lastModified=held)
        unchanged, nothing = connection.get(target, headers)
        too_large, _ = connection.get(cohort("crowd", maxCohortSize=19_999), headers)
        older, _ = connection.get(
            cohort("crowd", maxCohortSize=20_000, lastModified=held - 1), headers
        )

        assert (unchanged.status, nothing) == (204, b"")
        assert unchanged.getheader("Content-Length") is None
        assert unchanged.getheader("Transfer-Encoding") is None
        assert (too_large.status, older.status) == (413, 200)
        assert connection.is_the_same()


@pytest.mark.parametrize(
    ("group", "name"),
    [
        *(("team", name) for name in [*TEAMS, "nobody's"]),
        *(("org", name) for name in ["acme", "Übermut GmbH", "globex"]),
        *(("User", name) for name in ODD_NAMES if "\\" not in name),
    ],
)
def test_the_jvm_sdk_asks_for_memberships(connection: Connection, group: str, name: str) -> None:
    path = quote(f"/sdk/v2/memberships/{group}/{name}", safe=LITERAL)

    answer, body = connection.get(path, jvm_flag_headers())

    assert answer.status == 200
    if answer.getheader("Content-Encoding") == "gzip":
        body = gzip.decompress(body)
    assert sorted(json.loads(body)) == sorted(holding(group, name))


def test_memberships_are_for_servers(connection: Connection) -> None:
    answer, _ = connection.get("/sdk/v2/memberships/org/acme", jvm_flag_headers(CLIENT_KEY))

    assert answer.status == 403


@pytest.mark.parametrize(
    ("cohort_id", "query", "status"),
    [
        ("crowd", {"maxCohortSize": LARGEST}, 200),
        ("nobody", {"maxCohortSize": LARGEST}, 200),
        ("crowd", {"maxCohortSize": LARGEST, "lastModified": None}, 204),
        ("crowd", {"maxCohortSize": 5}, 413),
        ("never-heard-of", {"maxCohortSize": LARGEST}, 404),
    ],
)
def test_the_python_sdk_is_told_not_to_use_the_connection_again(
    connection: Connection, pair: Pair, cohort_id: str, query: dict[str, Any], status: int
) -> None:
    headers = [("Authorization", basic(API_KEY, SECRET_KEY)), *PYTHON]
    if "lastModified" in query:
        other = Connection(pair)
        _, body = other.get(cohort(cohort_id), headers)
        other.close()
        query = {**query, "lastModified": json.loads(body)["lastModified"]}

    answer, body = connection.get(cohort(cohort_id, **query), headers)

    assert answer.status == status
    assert answer.getheader("Content-Encoding") is None
    assert answer.getheader("Connection") == "close"
    if status == 200:
        assert sorted(json.loads(body)["memberIds"]) == sorted(COHORTS[cohort_id][1])
