from collections.abc import Iterable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import UpstreamError, UpstreamGarbled, UpstreamRefused, UpstreamUnavailable
from proxy.secret import Secret
from proxy.settings.zones import Urls
from proxy.upstream.client import UpstreamClient, open_session
from proxy.upstream.deployments import (
    MAX_PAGES,
    PATH,
    Row,
    deployment_type,
    list_deployments,
    parse_page,
)
from tests.fakes.upstream import FakeUpstream, answer, by_request, json_answer, truncated

MANAGEMENT_KEY = Secret("management-key")


def row(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "id": str(number),
        "projectId": "42",
        "label": f"label {number}",
        "key": f"server-{number}",
        "deleted": False,
    } | changes


def page(rows: Iterable[Any], cursor: str = "") -> dict[str, Any]:
    return {"deployments": list(rows)} | ({"nextCursor": cursor} if cursor else {})


async def test_1001_deployments_are_all_listed(client: UpstreamClient, up: FakeUpstream) -> None:
    up.on(
        "GET",
        PATH,
        json_answer(page(map(row, range(1000)), "next+ page")),
        json_answer(page([row(1000)])),
    )

    listing = await list_deployments(client, MANAGEMENT_KEY)

    assert len(listing.rows) == 1001
    assert listing.problems == ()
    assert listing.rows[1000] == Row(
        key=Secret("server-1000"), label="label 1000", project_id="42", type="server"
    )
    first, second = up.requests
    assert first.query == {"limit": "1000"}
    assert second.query == {"limit": "1000", "cursor": "next+ page"}
    assert first.headers["Authorization"] == "Bearer management-key"


async def test_half_a_list_is_none(client: UpstreamClient, up: FakeUpstream) -> None:
    up.on("GET", PATH, json_answer(page([row(1)], "2")), answer(500))

    with pytest.raises(UpstreamUnavailable):
        await list_deployments(client, MANAGEMENT_KEY)


async def test_a_cursor_that_comes_again_ends_the_attempt(
    client: UpstreamClient, up: FakeUpstream
) -> None:
    up.on(
        "GET",
        PATH,
        json_answer(page([row(1)], "2")),
        json_answer(page([row(2)], "3")),
        json_answer(page([row(3)], "2")),
    )

    with pytest.raises(UpstreamGarbled, match="twice"):
        await list_deployments(client, MANAGEMENT_KEY)
    assert len(up.requests) == 3


async def test_pages_without_end_end_the_attempt(client: UpstreamClient, up: FakeUpstream) -> None:
    up.on("GET", PATH, by_request(lambda _: json_answer(page([], str(len(up.requests))))))

    with pytest.raises(UpstreamGarbled, match="pages"):
        await list_deployments(client, MANAGEMENT_KEY)
    assert len(up.requests) == MAX_PAGES


async def test_the_base_path_of_the_management_url_is_kept(up: FakeUpstream) -> None:
    up.on("GET", f"/base{PATH}", json_answer(page([row(1)])))
    async with open_session() as session:
        client = UpstreamClient(session, Urls(management=f"{up.url}/base/"))

        assert len((await list_deployments(client, MANAGEMENT_KEY)).rows) == 1


@pytest.mark.parametrize(
    ("step", "kind"),
    [
        (answer(200, b""), UpstreamGarbled),
        (answer(200, b"<html>"), UpstreamGarbled),
        (answer(200, b"null"), UpstreamGarbled),
        (answer(200, b"[]"), UpstreamGarbled),
        (answer(200, b"{}"), UpstreamGarbled),
        (answer(200, b'{"deployments":null}'), UpstreamGarbled),
        (answer(200, b'{"deployments":[{"key":"serv'), UpstreamGarbled),
        (answer(200, b"[" * 100_000), UpstreamGarbled),
        (truncated(b'{"deployments":[]}'), UpstreamUnavailable),
        (answer(401), UpstreamRefused),
    ],
)
async def test_what_is_no_list_is_an_error(
    client: UpstreamClient, up: FakeUpstream, step: Any, kind: type[UpstreamError]
) -> None:
    up.on("GET", PATH, step)

    with pytest.raises(kind):
        await list_deployments(client, MANAGEMENT_KEY)


def rows_of(*raw: Any) -> tuple[Row, ...]:
    return parse_page(msgspec.json.encode(page(raw)))[0].rows


def test_fields_may_be_numbers_or_missing() -> None:
    assert rows_of({"id": 1, "projectId": 42, "key": "abc"}) == (
        Row(key=Secret("abc"), project_id="42"),
    )
    assert rows_of({"key": "client-abc", "label": 7}) == (
        Row(key=Secret("client-abc"), type="client"),
    )


def test_a_deleted_row_is_told() -> None:
    assert [found.deleted for found in rows_of(row(1, deleted=True), row(2, deleted=None))] == [
        True,
        False,
    ]


@pytest.mark.parametrize(
    "garbled",
    [
        None,
        7,
        "server-abc",
        [],
        {},
        row(1, key=7),
        row(1, key=""),
        row(1, key="a\nb"),
        row(1, key="a b"),
        row(1, key="é"),
        row(1, key="x" * 513),
        row(1, deleted="no"),
        row(1, projectId=[]),
        row(1, projectId=True),
    ],
)
def test_one_garbled_row_does_not_spoil_the_others(garbled: Any) -> None:
    listing, _ = parse_page(msgspec.json.encode(page([row(1), garbled, row(2)])))

    assert [found.key.reveal() for found in listing.rows] == ["server-1", "server-2"]
    [problem] = listing.problems
    assert problem.startswith("row 1: ")


def test_labels_are_fit_for_logs_and_never_the_key() -> None:
    labels = ["server-1", "my server-1 x", " \x00prod\n ", "x" * 100]
    found = rows_of(*(row(1, label=label) for label in labels))
    assert [one.label for one in found] == ["", "", "prod", "x" * 64]


@pytest.mark.parametrize(
    ("key", "told", "kind"),
    [
        ("server-a", None, "server"),
        ("client-a", None, "client"),
        ("abc", None, ""),
        ("abc", "CLIENT", "client"),
        ("server-a", "client", "client"),
        ("server-a", "other", "server"),
        ("abc", 7, ""),
    ],
)
def test_the_type_is_told_or_in_the_key(key: str, told: object, kind: str) -> None:
    assert deployment_type(key, told) == kind


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["deployments", "key", "deleted", "projectId", "label", "nextCursor"]),
            inner,
            max_size=4,
        )
    ),
)


@given(JSON)
def test_whatever_comes_is_a_page_or_garbled(value: Any) -> None:
    try:
        listing, cursor = parse_page(msgspec.json.encode(value))
    except UpstreamGarbled:
        return
    assert all(found.key for found in listing.rows)
    assert isinstance(cursor, str)
