"""OpenFeature's own web provider in a real browser: it sees a flag change by the event stream."""

import json

import pytest

from proxy.sandbox.server import CLIENT_KEY
from tests.browser.conftest import PageOf
from tests.system.programs import Pair

pytestmark = [pytest.mark.system, pytest.mark.needs("chromium")]
MODULES = {
    "imports": {
        "@openfeature/core": "/@openfeature/core/dist/esm/index.js",
        "@openfeature/web-sdk": "/@openfeature/web-sdk/dist/esm/index.js",
        "@openfeature/ofrep-web-provider": "/@openfeature/ofrep-web-provider/index.esm.js",
        "@openfeature/ofrep-core": (
            "/@openfeature/ofrep-web-provider/node_modules/@openfeature/ofrep-core/index.esm.js"
        ),
    }
}
HEAD = f"<script type='importmap'>{json.dumps(MODULES)}</script>"
START = """
async ([baseUrl, key]) => {
    const { OpenFeature, ProviderEvents } = await import('@openfeature/web-sdk');
    const { OFREPWebProvider } = await import('@openfeature/ofrep-web-provider');
    await OpenFeature.setContext({targetingKey: 'ada'});
    await OpenFeature.setProviderAndWait(new OFREPWebProvider({
        baseUrl, headers: [['Authorization', 'Bearer ' + key]], timeoutMs: 20000,
        pollInterval: 3600000,
    }));
    window.client = OpenFeature.getClient();
    return window.client.getStringDetails('colours', 'default');
}
"""
# Changed flags are asked for anew by the provider itself, when the stream tells of a change.
CHANGED = "() => window.client.getStringValue('colours', 'default') === 'red'"
CHANGING = "flags:\n  colours: {serve: %s, variants: {blue: , red: }}\n"


def test_the_web_provider_sees_a_change_through_the_stream(pair: Pair, page_of: PageOf) -> None:
    pair.flag_file.write_text(CHANGING % "blue")
    page = page_of(HEAD)
    page.wait_for_function(
        """([url, key]) => fetch(url, {headers: {Authorization: 'Api-Key ' + key}})
            .then(answer => answer.json()).then(flags => flags.length === 1)""",
        arg=[f"{pair.proxy}/sdk/v2/flags", CLIENT_KEY],
    )
    streams: list[str] = []
    page.on("request", lambda request: streams.append(request.url))

    found = page.evaluate(START, [pair.proxy, CLIENT_KEY])
    assert found["value"] == "blue"
    assert found.get("errorCode") is None
    pair.flag_file.write_text(CHANGING % "red")

    page.wait_for_function(CHANGED)
    assert any("/ofrep/v1/streams/" in url for url in streams)
    assert not any(CLIENT_KEY in url for url in streams)
