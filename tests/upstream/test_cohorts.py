import asyncio
import base64
import gzip
import resource
import stat
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import msgspec
import pytest

from proxy import tasks
from proxy.errors import NoRoom, UpstreamError, UpstreamGarbled, UpstreamRefused
from proxy.errors import UpstreamUnavailable as Unavailable
from proxy.secret import Secret
from proxy.upstream.client import Pace, UpstreamClient, open_session
from proxy.upstream.cohorts import PATH, Credentials, Downloaded, download
from tests.fakes.upstream import (
    FakeUpstream,
    Step,
    answer,
    cut_after,
    drip,
    gzip_answer,
    hang,
    raw_answer,
)
from tests.upstream.conftest import urls_of

CREDENTIALS = Credentials(Secret("api-key-ü"), Secret("very:secret"))
BODY = msgspec.json.encode({"cohortId": "c", "memberIds": [f"user-{n}" for n in range(2000)]})
COHORT = f"{PATH}c"


async def fetched(client: UpstreamClient, to: Path, **changes: Any) -> Downloaded:
    asked: dict[str, Any] = {"max_size": 9, "last_modified": None} | changes
    cohort_id = asked.pop("cohort_id", "c")
    return await download(client, CREDENTIALS, cohort_id, to=to, **asked)


@contextmanager
def nothing_left(folder: Path) -> Iterator[Path]:
    yield folder / "body"
    assert list(folder.iterdir()) == []


async def failure(client: UpstreamClient, folder: Path, **changes: Any) -> UpstreamError:
    with nothing_left(folder) as to, pytest.raises(UpstreamError) as caught:
        await fetched(client, to, **changes)
    return caught.value


async def test_a_body_is_saved_as_it_came(
    client: UpstreamClient, up: FakeUpstream, tmp_path: Path
) -> None:
    up.on("GET", COHORT, gzip_answer(BODY), answer(200, BODY))
    heard: list[tuple[int, int | None]] = []
    packed = await fetched(client, tmp_path / "a", on_bytes=lambda *said: heard.append(said))
    plain = await fetched(client, tmp_path / "b", last_modified=7)

    assert gzip.decompress((tmp_path / "a").read_bytes()) == BODY
    assert (tmp_path / "b").read_bytes() == BODY
    size = (tmp_path / "a").stat().st_size
    assert packed == Downloaded(status="new", gzip=True, bytes=size)
    assert plain == Downloaded(status="new", gzip=False, bytes=len(BODY))
    assert heard[-1] == (size, size)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o600
    first, second = up.requests
    assert first.query == {"maxCohortSize": "9"}
    assert second.query == {"maxCohortSize": "9", "lastModified": "7"}
    assert first.headers["Accept-Encoding"] == "gzip"
    assert base64.b64decode(first.key).decode() == "api-key-ü:very:secret"


async def test_a_gzipped_file_that_is_served_as_such_is_known_by_its_first_bytes(
    client: UpstreamClient, up: FakeUpstream, tmp_path: Path
) -> None:
    up.on("GET", COHORT, drip(gzip.compress(BODY), 5000, 0))

    assert (await fetched(client, tmp_path / "a")).gzip


async def test_a_large_body_arrives_whole_and_its_size_may_be_unknown(
    client: UpstreamClient, up: FakeUpstream, tmp_path: Path
) -> None:
    large = bytes(range(256)) * 20_000
    up.on("GET", COHORT, raw_answer(large, Connection="close"))
    heard: list[tuple[int, int | None]] = []
    got = await fetched(client, tmp_path / "a", on_bytes=lambda *said: heard.append(said))

    assert got.bytes == len(large)
    assert (tmp_path / "a").read_bytes() == large
    assert heard[-1] == (len(large), None)
    assert len(heard) > 2


@pytest.mark.parametrize(
    ("status", "last_modified", "expected"),
    [
        (204, 7, Downloaded(status="unchanged")),
        (202, None, Downloaded(status="preparing", retry_after=3)),
        (413, 7, Downloaded(status="too_large", retry_after=3)),
    ],
)
async def test_answers_without_a_body(
    client: UpstreamClient,
    up: FakeUpstream,
    tmp_path: Path,
    status: int,
    last_modified: int | None,
    expected: Downloaded,
) -> None:
    up.on("GET", COHORT, answer(status, b"", Retry_After="3"))

    with nothing_left(tmp_path) as to:
        assert await fetched(client, to, last_modified=last_modified) == expected


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (204, UpstreamGarbled),  # unasked
        (201, UpstreamGarbled),
        (206, UpstreamGarbled),
        (302, UpstreamRefused),
        (401, UpstreamRefused),
        (403, UpstreamRefused),
        (404, UpstreamRefused),
        (429, Unavailable),
        (500, Unavailable),
        (503, Unavailable),
    ],
)
async def test_other_answers_are_failures(
    client: UpstreamClient,
    up: FakeUpstream,
    tmp_path: Path,
    status: int,
    kind: type[UpstreamError],
) -> None:
    up.on("GET", COHORT, answer(status, b"", Retry_After="3", Location=f"{up.url}/elsewhere"))

    error = await failure(client, tmp_path)

    assert type(error) is kind
    assert error.retry_after == 3
    assert [request.path for request in up.requests] == [COHORT]
    assert "secret" not in "".join(traceback.format_exception(error))


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("tenth", range(10))
async def test_half_a_body_is_none(
    client: UpstreamClient, up: FakeUpstream, tmp_path: Path, tenth: int, packed: bool
) -> None:
    body = gzip.compress(BODY) if packed else BODY
    coding = {"Content_Encoding": "gzip"} if packed else {}
    up.on("GET", COHORT, cut_after(len(body) * tenth // 10, body, **coding))

    assert type(await failure(client, tmp_path)) is Unavailable


async def test_a_longer_length_than_the_body_has_is_a_failure(
    client: UpstreamClient, up: FakeUpstream, tmp_path: Path
) -> None:
    up.on("GET", COHORT, raw_answer(BODY, Content_Length=str(len(BODY) + 1)))

    assert type(await failure(client, tmp_path)) is Unavailable


async def test_a_chunked_body_without_its_last_chunk_is_a_failure(
    client: UpstreamClient, up: FakeUpstream, tmp_path: Path
) -> None:
    up.on("GET", COHORT, raw_answer(b'4\r\n{"a"\r\n', Transfer_Encoding="chunked"))

    assert type(await failure(client, tmp_path)) is Unavailable


async def test_packing_that_was_not_asked_for_is_garbled(
    client: UpstreamClient, up: FakeUpstream, tmp_path: Path
) -> None:
    up.on("GET", COHORT, answer(200, b"?", Content_Encoding="br"))

    assert type(await failure(client, tmp_path)) is UpstreamGarbled


async def test_a_body_beyond_all_bounds_is_garbled(up: FakeUpstream, tmp_path: Path) -> None:
    up.on("GET", COHORT, answer(200, BODY))
    async with open_session() as session:
        client = UpstreamClient(session, urls_of(up.url), pace=Pace(most_bytes=1000))

        assert type(await failure(client, tmp_path)) is UpstreamGarbled


@pytest.mark.looptime
async def test_silence_ends_a_download(
    client: UpstreamClient, up: FakeUpstream, tmp_path: Path
) -> None:
    up.on("GET", COHORT, drip(BODY, 2, 3600))
    began = asyncio.get_running_loop().time()

    assert "in time" in str(await failure(client, tmp_path))
    assert 30 <= asyncio.get_running_loop().time() - began < 31


@pytest.mark.looptime
async def test_a_trickle_ends_a_download(
    client: UpstreamClient, up: FakeUpstream, tmp_path: Path
) -> None:
    up.on("GET", COHORT, drip(BODY, 2000, 10))
    began = asyncio.get_running_loop().time()

    assert "bytes in 60 seconds" in str(await failure(client, tmp_path))
    assert 60 <= asyncio.get_running_loop().time() - began < 61


@pytest.mark.looptime
async def test_a_download_may_last_while_bytes_flow(
    client: UpstreamClient, up: FakeUpstream, tmp_path: Path
) -> None:
    up.on("GET", COHORT, drip(bytes(200 * 64 * 1024), 200, 29))
    began = asyncio.get_running_loop().time()

    got = await fetched(client, tmp_path / "a")

    assert got.bytes == 200 * 64 * 1024
    assert asyncio.get_running_loop().time() - began > 5000


async def test_who_gives_up_leaves_nothing_behind(
    client: UpstreamClient, up: FakeUpstream, tmp_path: Path
) -> None:
    up.on("GET", COHORT, drip(BODY, 2, 3600))
    began = asyncio.Event()

    async def run(to: Path) -> None:
        await fetched(client, to, on_bytes=lambda *_: began.set())

    with nothing_left(tmp_path) as to:
        downloading = tasks.start("download", run(to))
        await began.wait()
        assert to.exists()
        await tasks.stop(downloading)


async def test_who_gives_up_before_the_answer_leaves_nothing_behind(
    client: UpstreamClient, up: FakeUpstream, tmp_path: Path
) -> None:
    up.on("GET", COHORT, hang())

    async def run(to: Path) -> None:
        await fetched(client, to)

    with nothing_left(tmp_path) as to:
        downloading = tasks.start("download", run(to))
        await up.received(1, COHORT)
        await tasks.stop(downloading)


async def test_a_disk_that_takes_nothing_is_no_room(
    client: UpstreamClient, up: FakeUpstream, tmp_path: Path
) -> None:
    up.on("GET", COHORT, answer(200, BODY))

    with pytest.raises(NoRoom, match="No such file"):
        await fetched(client, tmp_path / "nowhere" / "a")
    (tmp_path / "taken").write_bytes(b"another's")
    with pytest.raises(NoRoom, match="exists"):
        await fetched(client, tmp_path / "taken")
    assert (tmp_path / "taken").read_bytes() == b"another's"


@pytest.fixture
def short_files() -> Iterator[None]:
    """No file of this process may grow beyond 4 MiB for a while."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4 * 2**20, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("short_files")
async def test_a_disk_that_fills_up_is_no_room(
    client: UpstreamClient, up: FakeUpstream, tmp_path: Path
) -> None:
    up.on("GET", COHORT, answer(200, bytes(6 * 2**20)))

    with nothing_left(tmp_path) as to, pytest.raises(NoRoom, match="File too large"):
        await fetched(client, to)


STRANGE = ["a/b", "a b", "é?x=1#y", "%2F", "\ud800", "a" * 3000]


@pytest.mark.parametrize("cohort_id", STRANGE, ids=ascii)
async def test_any_id_is_one_part_of_the_path(
    client: UpstreamClient, up: FakeUpstream, tmp_path: Path, cohort_id: str
) -> None:
    step: Step = answer(404)
    up.on("GET", "/", step)

    error = await failure(client, tmp_path, cohort_id=cohort_id)

    assert error.status == 404
    [request] = up.requests
    path = f"{PATH}{cohort_id}".encode("utf-8", "surrogatepass")
    assert unquote_to_bytes(request.path) == path or request.path.encode() == path


@pytest.mark.parametrize("cohort_id", ["", ".", ".."])
async def test_no_cohort_has_an_id_that_a_path_cannot_carry(
    client: UpstreamClient, up: FakeUpstream, tmp_path: Path, cohort_id: str
) -> None:
    assert type(await failure(client, tmp_path, cohort_id=cohort_id)) is UpstreamRefused
    assert up.requests == []


def test_credentials_do_not_show() -> None:
    assert "secret" not in repr(CREDENTIALS).replace("secret_key", "").replace("Secret", "")
    assert "api-key" not in repr(CREDENTIALS)
