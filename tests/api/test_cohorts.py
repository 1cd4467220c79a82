import base64
import gzip
import io
from pathlib import Path

import aiohttp
import msgspec
import pytest

from proxy.api.assembly import build_router
from proxy.api.cohorts import whole_number
from proxy.api.messages import Response
from proxy.api.reports import Reports
from proxy.metrics import Metrics
from proxy.secret import Secret
from proxy.settings.schema import Project
from proxy.snapshots.board import Board
from tests import builders
from tests.api.stored import BASIC, TARGET, ask, request, stored
from tests.serving import Served, read_answer, serving

MEMBERS = [f"user-{number}" for number in range(1000)]
PYTHON = "experiment-python-server/1.13.0"


@pytest.fixture
def here(served: Served, tmp_path: Path) -> Served:
    """The clients' port, with one cohort of two members."""
    served.held[0, "c1"] = stored(tmp_path, "u1", "u2")
    return served


async def test_a_cohort_has_all_five_fields(here: Served) -> None:
    answer = await ask(here)

    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    assert answer.json == {
        "cohortId": "c1",
        "groupType": "User",
        "lastModified": 1_700_000_000_000,
        "size": 2,
        "memberIds": ["u1", "u2"],
    }


async def test_gzip_is_the_file_itself_and_only_for_those_who_accept_it(
    served: Served, tmp_path: Path
) -> None:
    cohort = served.held[0, "c1"] = stored(tmp_path, *MEMBERS)

    packed = await ask(served, Accept_Encoding="br, gzip;q=0.5")
    plain = await ask(served, Accept_Encoding="identity")
    refused = await ask(served, Accept_Encoding="gzip;q=0, *")

    assert packed.body == cohort.packed.read_bytes()
    assert packed.headers["content-encoding"] == "gzip"
    for answer in (plain, refused):
        assert answer.body == gzip.decompress(packed.body)
        assert "content-encoding" not in answer.headers
    for answer in (packed, plain):
        assert answer.headers["vary"] == "Accept-Encoding"
        assert "etag" not in answer.headers


async def test_a_client_library_reads_it(here: Served) -> None:
    url = f"http://127.0.0.1:{here.port}{TARGET}?maxCohortSize=2147483647"
    async with aiohttp.ClientSession(headers={"Authorization": BASIC}) as session:
        for _ in range(3):
            async with session.get(url) as answer:
                assert (await answer.json())["memberIds"] == ["u1", "u2"]
                assert answer.headers["content-encoding"] == "gzip"
            async with session.get(url, headers={"Accept-Encoding": "identity"}) as answer:
                assert (await answer.json())["memberIds"] == ["u1", "u2"]


async def test_a_cohort_that_nobody_targets_is_unknown(here: Served) -> None:
    here.held[0, ""] = here.held[0, "c1"]
    for target in ("/sdk/v1/cohort/c2", "/sdk/v1/cohort/"):
        answer = await ask(here, target)
        assert (answer.status, answer.body) == (404, b"Cohort not found")
    assert (await ask(here, "/sdk/v1/cohort")).json["error"] == "Not found"
    assert (await ask(here, "/sdk/v1/cohort/%ff")).status == 400


async def test_a_cohort_that_may_still_come_is_worth_asking_again(here: Served) -> None:
    here.held[0, "c2"] = "loading"

    answer = await ask(here, "/sdk/v1/cohort/c2")

    assert answer.status == 503
    assert int(answer.headers["retry-after"]) > 0
    assert isinstance(answer.json, dict)
    assert here.counted("rejected_requests_total", reason="pending") == 1


@pytest.mark.parametrize("cohort_id", ["a/b", "a b", "a%2Fb", "é?#", "..", "%"])
async def test_ids_are_percent_decoded_once(served: Served, tmp_path: Path, cohort_id: str) -> None:
    served.held[0, cohort_id] = stored(tmp_path, "u1")
    spelt = "".join(f"%{byte:02x}" for byte in cohort_id.encode())

    assert (await ask(served, "/sdk/v1/cohort/" + spelt)).json["memberIds"] == ["u1"]


async def test_each_project_has_its_own_cohorts(tmp_path: Path) -> None:
    projects = tuple(
        Project(api_key=Secret(f"key-{number}"), secret_key=Secret(f"secret-{number}"))
        for number in range(3)
    )
    async with serving(settings=builders.settings(projects=projects)) as served:
        served.held[1, "c1"] = stored(tmp_path, "u1")

        found = []
        for number in range(3):
            keys = base64.b64encode(f"key-{number}:secret-{number}".encode()).decode()
            found.append((await ask(served, Authorization=f"Basic {keys}")).status)

    assert found == [404, 200, 404]


@pytest.mark.parametrize(
    ("most", "status"),
    [("1", 413), ("2", 200), ("0", 413), ("-1", 413), ("abc", 200), ("", 200), ("1e0", 200)],
)
async def test_a_cohort_larger_than_its_asker_wants_is_413(
    here: Served, most: str, status: int
) -> None:
    assert (await ask(here, f"{TARGET}?maxCohortSize={most}")).status == status


async def test_numbers_that_cannot_be_meant_are_none_at_all(here: Served) -> None:
    digits = "1" * 100_000
    for query in (f"maxCohortSize={digits}", f"lastModified={digits}", "a&&b=%20&=&maxCohortSize"):
        assert (await ask(here, f"{TARGET}?{query}")).status == 200
    assert whole_number("1" * 19) == int("1" * 19)
    assert [whole_number(text) for text in ("-5", "+7", "007")] == [-5, 7, 7]
    for text in ("1" * 20, "١", "1_0", " 1", "1.0", "", "+", "0x1"):
        assert whole_number(text) is None


@pytest.mark.parametrize("age", [-1, 1])
async def test_only_the_holder_of_this_very_version_is_sent_nothing(here: Served, age: int) -> None:
    version = here.held[0, "c1"].last_modified

    same = await ask(here, f"{TARGET}?lastModified={version}&maxCohortSize=2")
    other = await ask(here, f"{TARGET}?lastModified={version + age}")

    assert (same.status, same.body) == (204, b"")
    assert not {"content-length", "transfer-encoding", "content-type"} & set(same.headers)
    assert (other.status, other.json["size"]) == (200, 2)


async def test_too_large_comes_before_unchanged(here: Served) -> None:
    version = here.held[0, "c1"].last_modified

    answer = await ask(here, f"{TARGET}?lastModified={version}&maxCohortSize=1")

    assert answer.status == 413


@pytest.mark.parametrize("query", ["lastModified=1700000000000", "maxCohortSize=1", ""])
@pytest.mark.parametrize("library", [PYTHON, "Experiment-Python-Server/2"])
async def test_the_python_sdk_is_asked_to_connect_anew_since_its_threads_share_unread_answers(
    here: Served, query: str, library: str
) -> None:
    target = f"{TARGET}?{query}"
    async with here.connection() as (reader, writer):
        writer.write(request(target, X_Amp_Exp_Library=library))
        answer = await read_answer(reader)
        assert answer.status in (200, 204, 413)
        assert answer.headers["connection"] == "close"
        assert await reader.read() == b""

    async with here.connection() as (reader, writer):
        for other in ("experiment-node-server/1", "experiment-python-server-x", "python"):
            writer.write(request(target, X_Amp_Exp_Library=other))
            assert "connection" not in (await read_answer(reader)).headers


@pytest.mark.parametrize("accepted", ["", "gzip"])
async def test_head_tells_the_length_of_what_get_sends(here: Served, accepted: str) -> None:
    whole = await ask(here, Accept_Encoding=accepted)
    asked = request(method="HEAD", Accept_Encoding=accepted)
    async with here.connection() as (reader, writer):
        for _ in range(2):
            writer.write(asked)
            answer = await read_answer(reader, head=True)
            assert answer.status == 200
            assert answer.headers["content-length"] == str(len(whole.body))
            assert answer.headers.get("content-encoding") == whole.headers.get("content-encoding")


async def test_other_methods_and_ranges(here: Served) -> None:
    refused = await here.ask("POST", TARGET, {"Authorization": BASIC}, b"")
    ranged = await ask(here, Range="bytes=0-1")

    assert (refused.status, refused.headers["allow"]) == (405, "GET, HEAD, OPTIONS")
    assert (ranged.status, ranged.json["size"]) == (200, 2)


async def test_requests_for_cohorts_are_counted(here: Served) -> None:
    await ask(here)
    await ask(here, f"{TARGET}?lastModified=1700000000000", X_Amp_Exp_Library=PYTHON)
    assert here.counted("get_cohort_request_error_total") == 0
    await ask(here, f"{TARGET}?maxCohortSize=1", X_Amp_Exp_Library=PYTHON)
    await ask(here, "/sdk/v1/cohort/other")
    await ask(here, Authorization="")

    assert here.counted("get_cohort_request_total") == 5
    assert here.counted("get_cohort_request_error_total") == 3
    assert here.counted("request_total") == 5
    times = "http_request_duration_seconds_count"
    assert here.counted(times, route="/sdk/v1/cohort/{cohortId}", status="2xx") == 2


async def test_a_stranger_learns_nothing_and_is_counted(
    here: Served, log_lines: io.StringIO
) -> None:
    wrong = base64.b64encode(f"{builders.API_KEY}:guess-of-mine".encode()).decode()
    answers = [
        await ask(here, target, Authorization=f"Basic {wrong}")
        for target in (TARGET, "/sdk/v1/cohort/c2", f"{TARGET}?maxCohortSize=1")
    ]

    assert {(answer.status, answer.body) for answer in answers} == {
        (401, b"Invalid api or secret key")
    }
    assert here.counted("rejected_requests_total", reason="unknown_project") == 3
    (line,) = log_lines.getvalue().splitlines()
    assert msgspec.json.decode(line)["key"] == Secret(builders.API_KEY).label
    assert builders.API_KEY not in line
    assert "guess" not in line


async def test_a_proxy_that_is_given_no_cohorts_knows_none() -> None:
    settings, metrics = builders.settings(), Metrics()
    router = build_router(
        Board(), Reports(lambda *_: None), settings, metrics, lambda: 0.0, is_ready=lambda: True
    )

    route, answer = router.begin("GET", TARGET, {"authorization": BASIC})

    assert isinstance(answer, Response)
    assert (route, answer.status) == ("/sdk/v1/cohort/{cohortId}", 404)


async def test_a_refusal_that_closes_the_connection_is_counted_once(
    here: Served, log_lines: io.StringIO
) -> None:
    here.held[0, "c2"] = "loading"

    refused = await ask(here, Authorization="", X_Amp_Exp_Library=PYTHON)
    waiting = await ask(here, "/sdk/v1/cohort/c2", X_Amp_Exp_Library=PYTHON)
    broken = await ask(here, "/sdk/v1/cohort/%ff", X_Amp_Exp_Library=PYTHON)

    assert [answer.status for answer in (refused, waiting, broken)] == [401, 503, 400]
    for reason in ("unknown_project", "pending", "bad_request"):
        assert here.counted("rejected_requests_total", reason=reason) == 1
    assert log_lines.getvalue().count("\n") == 1


async def test_an_empty_cohort_is_served(served: Served, tmp_path: Path) -> None:
    served.held[0, "c1"] = stored(tmp_path)

    answer = await ask(served, f"{TARGET}?maxCohortSize=0")

    assert (answer.status, answer.json["memberIds"]) == (200, [])
