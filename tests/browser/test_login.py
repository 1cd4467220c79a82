"""A real browser at the operators' port: who logs in, and what pages of other sites cannot do."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.conftest import FLAGS, PageOf
from tests.system.programs import Pair, call

pytestmark = [pytest.mark.system, pytest.mark.needs("chromium")]
PASSWORD = "hush-operators-password"


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """A pair whose operators' port wants a name and a password."""
    pair = Pair(Path(tmp_path_factory.mktemp("login")), FLAGS)
    config = pair.config()
    config["configuration"]["metrics"] |= {
        "bearerToken": "hush-token",
        "basicUser": "ops",
        "basicPassword": PASSWORD,
    }
    pair.config_file.write_text(json.dumps(config))
    with pair.sandbox(), pair.serve():
        yield pair


def test_who_logs_in_sees_the_whole_page(browser: Browser, locked: Pair) -> None:
    said: list[str] = []
    with browser.new_context(http_credentials={"username": "ops", "password": PASSWORD}) as context:
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.goto(locked.operators)
        expect(page.get_by_text("colours").first).to_be_attached(timeout=30_000)

    assert said == []


def test_who_does_not_sees_nothing(browser: Browser, locked: Pair) -> None:
    with browser.new_context(
        http_credentials={"username": "ops", "password": "a-wrong-one"}
    ) as context:
        page = context.new_page()
        answer = page.goto(locked.operators)

        assert answer is not None
        assert answer.status == 401
        assert "colours" not in page.content()


def refused(pair: Pair) -> float:
    """How many requests were refused because a page of another site made them."""
    metrics = call(f"{pair.operators}/metrics")[1].decode()
    found = re.search(r'operators_refused_total{reason="cross_site"} ([0-9.]+)', metrics)
    assert found is not None
    return float(found[1])


def test_a_page_of_another_site_gets_nothing_out_of_an_open_port(
    page_of: PageOf, pair: Pair
) -> None:
    # 127.0.0.1, where the page is from, and localhost are two sites.
    target = pair.operators.replace("127.0.0.1", "localhost")
    page = page_of("")
    page.evaluate("url => fetch(url, {mode: 'no-cors'}).catch(() => null)", f"{target}/status")
    page.evaluate(
        """url => new Promise((done) => {
            const script = document.createElement("script");
            script.onload = script.onerror = done;
            script.src = url;
            document.head.append(script);
        })""",
        f"{target}/page.js",
    )

    assert refused(pair) == 2
    # Another port of this machine is the same site, yet another origin.
    page.evaluate(
        "url => fetch(url, {method: 'POST', body: '{}', mode: 'no-cors'}).catch(() => null)",
        f"{pair.operators}/explain",
    )
    assert refused(pair) == 3
    # A link to the page is no harm: what it leads to is shown to nobody but who follows it.
    page.evaluate("url => { location.href = url }", f"{target}/")
    page.wait_for_url(f"{target}/")
    expect(page.get_by_text("colours").first).to_be_attached(timeout=30_000)
    assert refused(pair) == 3
