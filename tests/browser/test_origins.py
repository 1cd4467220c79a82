"""Pages of origins that are not let in get nothing, in a real browser."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.sandbox.server import CLIENT_KEY
from tests.browser.conftest import FLAGS, PageOf
from tests.system.programs import Pair

pytestmark = [pytest.mark.system, pytest.mark.needs("chromium")]
ASK = """
([url, key]) => fetch(url, {headers: {Authorization: 'Api-Key ' + key}}).then(
    async answer => [answer.status, answer.headers.get('ETag'), Object.keys(await answer.json())],
    error => String(error))
"""


@pytest.fixture
def pair(
    request: pytest.FixtureRequest, site: tuple[str, dict[str, bytes]], tmp_path: Path
) -> Iterator[Pair]:
    """A proxy that lets in pages of one origin: the one named by the test, or the site's own."""
    origin = request.param or site[0]
    pair = Pair(tmp_path, FLAGS)
    config = pair.config()
    config["configuration"] |= {"cors": {"origins": [origin]}}
    pair.config_file.write_text(json.dumps(config))
    with pair.sandbox(), pair.serve():
        yield pair


@pytest.mark.parametrize("pair", [""], indirect=True, ids=["own"])
def test_a_page_of_an_origin_that_is_let_in_reads_answer_and_etag(
    pair: Pair, page_of: PageOf
) -> None:
    page = page_of("")

    status, etag, flags = page.evaluate(ASK, [f"{pair.proxy}/sdk/v2/vardata", CLIENT_KEY])

    assert (status, set(flags)) == (200, {"colours", "sized"})
    assert etag


@pytest.mark.parametrize("pair", ["https://shop.example"], indirect=True)
def test_a_page_of_another_origin_gets_nothing(pair: Pair, page_of: PageOf) -> None:
    page = page_of("")
    denied: list[str] = []
    page.on("console", lambda message: denied.append(message.text))

    found = page.evaluate(ASK, [f"{pair.proxy}/sdk/v2/vardata", CLIENT_KEY])

    assert "Failed to fetch" in found
    assert any("CORS policy" in text for text in denied)
