"""A real browser, pages on an origin of their own, and a sandbox with a proxy on another."""

import shutil
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.clients.running import HERE, need_node, skip_for_lack_of
from tests.system.programs import Pair

FLAGS = """
flags:
  colours: {serve: blue, variants: {blue: {payload: {shade: navy}}, red: {}}}
  sized: {serve: on}
"""
MODULES = HERE / "node_modules"
PageOf = Callable[[str], Page]
"""Open a page that holds this script in its head, on an origin that is not the proxy's."""


class Pages(SimpleHTTPRequestHandler):
    """Serves the node modules of the official SDKs, and pages."""

    pages: dict[str, bytes]

    def do_GET(self) -> None:
        page = self.pages.get(self.path)
        if page is None:
            super().do_GET()
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


# Not for the whole session: as long as it lives, it keeps an event loop running in this thread.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = shutil.which("chromium")
    if program is None:
        skip_for_lack_of("chromium")
    need_node()
    with sync_playwright() as playwright:
        # In a container there is no user namespace for the browser's own sandbox.
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def site() -> Iterator[tuple[str, dict[str, bytes]]]:
    """An origin for pages: its address, and what lies at which path beside the node modules."""
    pages: dict[str, bytes] = {}
    handler = type("PagesHere", (Pages,), {"pages": pages})
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(MODULES))) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", pages
        server.shutdown()
        thread.join()


@pytest.fixture
def page_of(browser: Browser, site: tuple[str, dict[str, bytes]]) -> Iterator[PageOf]:
    origin, pages = site
    context = browser.new_context()

    def open_page(head: str) -> Page:
        pages["/page"] = f"<!doctype html><html><head>{head}</head></html>".encode()
        page = context.new_page()
        page.goto(f"{origin}/page")
        return page

    yield open_page
    context.close()


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    pair = Pair(Path(tmp_path_factory.mktemp("browser")), FLAGS)
    with pair.sandbox(), pair.serve():
        yield pair
