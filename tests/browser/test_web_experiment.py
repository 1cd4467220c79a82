"""A page of a web experiment, in a real browser: the script, the flags and what they change."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.sandbox.server import CLIENT_KEY
from tests.browser.conftest import PageOf
from tests.system.programs import Pair

pytestmark = [pytest.mark.system, pytest.mark.needs("chromium")]
FLAGS = """
flags:
  headline:
    delivery: web
    mode: remote
    variants:
      control:
      treatment:
        payload:
          - action: mutate
            data:
              mutations: [{selector: h1, attribute: html, action: set, value: A better headline}]
    segments:
      - {name: Staff, when: user_id is an-employee, serve: control}
      - {name: Desktops, when: device_category is desktop, serve: treatment}
    serve: control
"""
LIBRARY = '<script src="/@amplitude/experiment-js-client/dist/experiment.umd.js"></script>'


@pytest.fixture(scope="module", params=["partial", "forward"])
def pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pair]:
    pair = Pair(Path(tmp_path_factory.mktemp("web")), FLAGS)
    config = pair.config()
    config["configuration"] |= {
        "scriptServerUrl": pair.upstream,
        "webExperiment": {"mode": request.param, "timeoutMillis": 20_000},
    }
    pair.config_file.write_text(json.dumps(config))
    with pair.sandbox(), pair.serve():
        yield pair


def head(pair: Pair, user: dict[str, str]) -> str:
    given = {"flagsServerUrl": f"{pair.proxy}/", "user": user, "fetchTimeoutMillis": 20_000}
    script = f"{pair.proxy}/script/{CLIENT_KEY}.experiment.js"
    return (
        f"{LIBRARY}<script>window.experimentConfig = {json.dumps(given)}</script>"
        f"<h1>As it was</h1><script src='{script}'></script>"
    )


@pytest.mark.parametrize(
    ("user", "headline"),
    [
        ({"user_id": "a-visitor", "device_category": "desktop"}, "A better headline"),
        ({"user_id": "a-visitor", "device_category": "phone"}, "As it was"),
        ({"user_id": "an-employee", "device_category": "desktop"}, "As it was"),
    ],
    ids=["desktop", "phone", "staff"],
)
def test_the_page_changes_for_those_who_are_meant(
    pair: Pair, page_of: PageOf, user: dict[str, str], headline: str
) -> None:
    page = page_of(head(pair, user))

    found = page.evaluate("() => window.webExperiment.then(result => result.error || '')")

    assert found == ""
    assert page.inner_text("h1") == headline
