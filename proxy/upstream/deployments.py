"""The management API: which deployments a project has."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from proxy.errors import UpstreamGarbled
from proxy.secret import Secret
from proxy.upstream.client import UpstreamClient, join

PATH = "/api/1/deployments"
PAGE_ROWS = 1000
MAX_PAGES = 100
LONGEST_KEY = 512
LONGEST_LABEL = 64

DeploymentType = Literal["server", "client", ""]


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One deployment as upstream lists it; texts that it left out are empty."""

    key: Secret
    label: str = ""
    project_id: str = ""
    type: DeploymentType = ""
    deleted: bool = False


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """All pages of one answer; `problems` name, without keys, the rows that cannot be read."""

    rows: tuple[Row, ...]
    problems: tuple[str, ...] = ()


async def list_deployments(client: UpstreamClient, management_key: Secret) -> Listing:
    """Return the deployments of the project of `management_key`, deleted ones among them.

    Raises an `UpstreamError` when any page of the list is missing: half a list is none.
    """
    rows: list[Row] = []
    problems: list[str] = []
    cursors: list[str] = []
    for _ in range(MAX_PAGES):
        answer = await client.get(
            join(client.urls.management, PATH),
            headers={
                "Authorization": f"Bearer {management_key.reveal()}",
                "Accept": "application/json",
            },
            query={"limit": str(PAGE_ROWS)} | ({"cursor": cursors[-1]} if cursors else {}),
        )
        page, cursor = parse_page(answer.body)
        rows += page.rows
        problems += page.problems
        if not cursor:
            return Listing(rows=tuple(rows), problems=tuple(problems))
        if cursor in cursors:
            raise UpstreamGarbled("the deployments list names the same next page twice")
        cursors.append(cursor)
    raise UpstreamGarbled(f"the deployments list has more than {MAX_PAGES} pages")


def parse_page(body: bytes) -> tuple[Listing, str]:
    """Read one page and the cursor of the next (empty on the last).

    Raises `UpstreamGarbled` when it is not a page; a row that cannot be read is a problem.
    """
    try:
        page = msgspec.json.decode(body)
    except (ValueError, RecursionError) as error:
        raise UpstreamGarbled("the deployments list is not JSON") from error
    listed = page.get("deployments") if isinstance(page, dict) else None
    if not isinstance(listed, list):
        raise UpstreamGarbled("the deployments list has no deployments")
    rows: list[Row] = []
    problems: list[str] = []
    for number, raw in enumerate(listed):
        row = _row(raw)
        if isinstance(row, Row):
            rows.append(row)
        else:
            problems.append(f"row {number}: {row}")
    return Listing(rows=tuple(rows), problems=tuple(problems)), _text(page.get("nextCursor")) or ""


def _row(raw: Any) -> Row | str:
    """Return the row, or what is wrong with it."""
    if not isinstance(raw, dict):
        return "not an object"
    key = raw.get("key")
    if not isinstance(key, str) or not _usable(key):
        return "no usable key"
    deleted = raw.get("deleted")
    if deleted not in (None, True, False):
        return "`deleted` is not a boolean"
    project_id = _text(raw.get("projectId"))
    if project_id is None:
        return "`projectId` is neither text nor a number"
    return Row(
        key=Secret(key),
        label=_label(raw.get("label"), key),
        project_id=project_id,
        type=deployment_type(key, raw.get("type")),
        deleted=bool(deleted),
    )


def deployment_type(key: str, told: object = None) -> DeploymentType:
    """Return `server` or `client`, as told or else as the key's prefix says; empty if neither."""
    for word in (told.lower() if isinstance(told, str) else "", key.partition("-")[0]):
        if word == "server":
            return "server"
        if word == "client":
            return "client"
    return ""


def _text(value: object) -> str | None:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None


def _usable(key: str) -> bool:
    """Tell whether the key can be sent in a header and given by a client."""
    printable = key.isascii() and key.isprintable() and " " not in key
    return printable and 0 < len(key) <= LONGEST_KEY


def _label(value: object, key: str) -> str:
    """Return a label fit for logs and metrics: short, printable, and not the key itself."""
    if not isinstance(value, str) or key in value:
        return ""
    return "".join(letter for letter in value if letter.isprintable()).strip()[:LONGEST_LABEL]
