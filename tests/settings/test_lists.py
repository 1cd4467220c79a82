from pathlib import Path

import pytest

from proxy.settings.admission import EDGE, Admission
from tests.settings.asking import KEYS, configured, loaded, mistakes_of

ORIGIN_FORM = "expected an origin such as https://shop.example, https://*.example.com or *, got "


@pytest.mark.parametrize(
    ("lines", "where", "what"),
    [
        ("cors: {origins: https://a.example}", "cors.origins", "expected a list, each an origin"),
        ("cors: {origins: {a: b}}", "cors.origins", "expected a list, each an origin"),
        ("cors: {origins: [https://a.example/]}", "cors.origins[0]", ORIGIN_FORM),
        ("cors: {origins: ['*', a.example]}", "cors.origins[1]", ORIGIN_FORM + "'a.example'"),
        ("cors: {origins: [https://*]}", "cors.origins[0]", ORIGIN_FORM),
        ("cors: {origins: [https://a.*.example]}", "cors.origins[0]", ORIGIN_FORM),
        ("cors: {origins: [[x]]}", "cors.origins[0]", ORIGIN_FORM),
        ("cors: {origins: ['']}", "cors.origins[0]", ORIGIN_FORM + "a blank text"),
        ("cors: {deployments: [web https://a]}", "cors.deployments[0]", "expected a deployment,"),
        ("cors: {deployments: [web =]}", "cors.deployments[0]", "expected a deployment,"),
        ("cors: {deployments: [= https://a]}", "cors.deployments[0]", "expected a deployment,"),
        ("cors: {allowHeaders: ['X Y']}", "cors.allowHeaders[0]", "expected the name of a header"),
        (
            "admission: {trustedProxies: [10.0.0.0/8, 10.0.0.0/33]}",
            "admission.trustedProxies[1]",
            "expected a network such as 10.0.0.0/8",
        ),
        (
            "admission: {trustedProxies: [balancer]}",
            "admission.trustedProxies[0]",
            "expected a network such as 10.0.0.0/8, an address, or `unix`, got 'balancer'",
        ),
    ],
)
def test_a_list_that_cannot_be_used_stops_the_start(
    tmp_path: Path, lines: str, where: str, what: str
) -> None:
    (mistake,) = mistakes_of({}, configured(tmp_path, lines))

    assert f"configuration.{where}: {what}" in mistake


def test_a_rule_that_may_hold_a_key_is_not_shown(tmp_path: Path) -> None:
    lines = "cors: {deployments: ['client-0123456789abcdef https://a.example']}"

    (mistake,) = mistakes_of({}, configured(tmp_path, lines))

    assert "client-" not in mistake


def test_an_empty_list_is_not_the_default(tmp_path: Path) -> None:
    assert loaded({}, configured(tmp_path, "cors: {origins: []}")).cors.origins == ()
    assert loaded({}, configured(tmp_path, "cors: {origins: }")).cors.origins == ("*",)
    assert loaded({**KEYS, "AMPLITUDE_CORS_ORIGINS": "none"}).cors.origins == ("none",)


def test_doubles_in_a_list_count_once() -> None:
    given = {
        **KEYS,
        "AMPLITUDE_CORS_ORIGINS": "https://a.example, https://b.example,https://a.example",
    }

    assert loaded(given).cors.origins == ("https://a.example", "https://b.example")


def test_one_switch_turns_on_every_bound_that_is_not_given() -> None:
    nothing, everything = Admission().in_force, Admission(public_edge=True).in_force
    some = Admission(public_edge=True, requests_per_address=7, connections=0).in_force

    assert not nothing
    assert all(getattr(nothing, name) == 0 for name in EDGE)
    assert {name: getattr(everything, name) for name in EDGE} == EDGE
    assert everything.burst_per_address == 5 * everything.requests_per_address
    assert (some.requests_per_address, some.burst_per_address, some.connections) == (7, 35, 0)
    assert some.queue_delay_millis == everything.queue_delay_millis
    assert not Admission(burst_per_address=5).in_force
    assert Admission(queue_delay_millis=5).in_force
