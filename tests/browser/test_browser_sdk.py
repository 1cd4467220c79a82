"""The browser SDKs, unmodified, in a real browser on another origin than the proxy's."""

import json

import pytest

from proxy.sandbox.server import API_KEY, CLIENT_KEY
from tests.browser.conftest import PageOf
from tests.system.programs import Pair, wait_for

pytestmark = [pytest.mark.system, pytest.mark.needs("chromium")]
EXPERIMENT = '<script src="/@amplitude/experiment-js-client/dist/experiment.umd.js"></script>'
ANALYTICS = '<script src="/@amplitude/analytics-browser/lib/scripts/amplitude-min.umd.js"></script>'
FETCH = """
async ([proxy, key, apiKey]) => {
    if (apiKey) {
        await amplitude.init(apiKey, 'ada-lovelace', {
            serverUrl: proxy + '/2/httpapi', flushQueueSize: 1, flushIntervalMillis: 1,
            autocapture: false, fetchRemoteConfig: false, defaultTracking: false,
        }).promise;
    }
    const client = Experiment.Experiment.initialize(key, {
        serverUrl: proxy, flagsServerUrl: proxy, fetchTimeoutMillis: 20000,
        automaticFetchOnAmplitudeIdentityChange: false, pollOnStart: false,
        exposureTrackingProvider: apiKey
            ? {track: exposure => amplitude.track('$exposure', exposure)} : undefined,
    });
    await client.start({user_id: 'ada-lovelace'});
    const variant = client.variant('colours');
    const fetched = await client.fetch({user_id: 'ada-lovelace', device_id: 'device-1'})
        .then(() => null, error => String(error));
    return {variant: client.variant('colours'), all: Object.keys(client.all()), fetched};
}
"""


def test_the_browser_sdk_fetches_variants_and_its_exposure_arrives_upstream(
    pair: Pair, page_of: PageOf
) -> None:
    page = page_of(EXPERIMENT + ANALYTICS)

    found = page.evaluate(FETCH, [pair.proxy, CLIENT_KEY, API_KEY])

    assert found["fetched"] is None
    assert found["variant"]["value"] == "blue"
    assert found["variant"]["payload"] == {"shade": "navy"}
    assert set(found["all"]) == {"colours", "sized"}

    def exposure() -> list[dict[str, object]]:
        return [
            event["event_properties"]
            for event in pair.events()
            if event["event_type"] == "$exposure"
        ]

    wait_for(exposure, "exposure upstream")
    assert exposure()[0]["flag_key"] == "colours"
    assert exposure()[0]["variant"] == "blue"


def test_a_page_learns_why_it_is_refused(pair: Pair, page_of: PageOf) -> None:
    """An answer without CORS headers would be an opaque network error, retried for ever."""
    page = page_of("")

    status = page.evaluate(
        """async url => {
            const answer = await fetch(url, {headers: {Authorization: 'Api-Key wrong'}});
            return [answer.status, await answer.text()];
        }""",
        f"{pair.proxy}/sdk/v2/vardata",
    )

    assert status == [401, "Invalid deployment"]


@pytest.mark.parametrize(
    "path", ["/sdk/v1/cohort/c1", "/sdk/v2/memberships/User/ada"], ids=["cohort", "memberships"]
)
def test_what_is_for_servers_no_page_gets(pair: Pair, page_of: PageOf, path: str) -> None:
    page = page_of("")

    error = page.evaluate(
        """url => fetch(url, {headers: {Authorization: 'Basic x'}}).then(
            answer => answer.status, error => String(error))""",
        pair.proxy + path,
    )

    assert "Failed to fetch" in json.dumps(error)
