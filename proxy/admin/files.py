"""The status page's own files, as they lie in the package; nothing of them comes from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from importlib.resources import files
from typing import Final

from proxy.admin.pages import Ask, Page, Route

INDEX: Final = "index.html"
TYPES: Final[Mapping[str, str]] = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
}


def page_routes() -> dict[str, Route]:
    """Return the routes of the page's files: its index at `/`, every other by its name.

    The files are read now, once.
    """
    routes: dict[str, Route] = {}
    for file in files("proxy.admin").joinpath("page").iterdir():
        kind = TYPES.get(file.name.rpartition(".")[2])
        if kind is not None:
            path = "/" if file.name == INDEX else f"/{file.name}"
            routes[path] = {"GET": partial(_file, Page(200, file.read_bytes(), kind))}
    return routes


async def _file(page: Page, _ask: Ask) -> Page:
    return page
