"""Which hosts are asked: the zone decides, an explicit URL wins."""

from pathlib import Path

import msgspec
import pytest

from proxy.settings.zones import Urls
from tests.settings.asking import KEYS, configured, loaded

US = Urls(
    flags="https://flag.lab.amplitude.com",
    cohorts="https://cohort-v2.lab.amplitude.com",
    management="https://experiment.amplitude.com",
    stream="https://stream.lab.amplitude.com",
    remote="https://api.lab.amplitude.com",
    scripts="https://cdn.amplitude.com",
    analytics="https://api2.amplitude.com/batch",
    exposures="https://api2.amplitude.com/batch",
)
EU = Urls(
    flags="https://flag.lab.eu.amplitude.com",
    cohorts="https://cohort-v2.lab.eu.amplitude.com",
    management="https://experiment.eu.amplitude.com",
    stream="https://stream.lab.eu.amplitude.com",
    remote="https://api.lab.eu.amplitude.com",
    scripts="https://cdn.eu.amplitude.com",
    analytics="https://api.eu.amplitude.com/batch",
    exposures="https://api.eu.amplitude.com/batch",
)


@pytest.mark.parametrize(
    ("zone", "expected"), [("US", US), ("us", US), ("EU", EU), ("eu", EU), ("Eu", EU)]
)
def test_the_zone_decides_every_host_in_file_and_environment(
    tmp_path: Path, zone: str, expected: Urls
) -> None:
    assert loaded({**KEYS, "AMPLITUDE_SERVER_ZONE": zone}).urls == expected
    assert loaded({}, configured(tmp_path, f"serverZone: {zone}")).urls == expected


def test_without_a_zone_the_hosts_are_those_of_the_us() -> None:
    assert loaded(KEYS).urls == US == Urls()


@pytest.mark.parametrize(
    ("variable", "name"),
    [
        ("AMPLITUDE_SERVER_URL", "flags"),
        ("AMPLITUDE_COHORT_SERVER_URL", "cohorts"),
        ("AMPLITUDE_MANAGEMENT_SERVER_URL", "management"),
        ("AMPLITUDE_STREAM_SERVER_URL", "stream"),
        ("AMPLITUDE_SCRIPT_SERVER_URL", "scripts"),
        ("AMPLITUDE_REMOTE_EVALUATION_SERVER_URL", "remote"),
    ],
)
def test_an_explicit_url_wins_and_keeps_its_base_path(variable: str, name: str) -> None:
    settings = loaded(
        {**KEYS, "AMPLITUDE_SERVER_ZONE": "EU", variable: "HTTPS://edge.example:8443/a/b//"}
    )

    assert settings.urls == msgspec.structs.replace(EU, **{name: "https://edge.example:8443/a/b"})


@pytest.mark.parametrize(
    ("given", "in_batches", "expected"),
    [
        ("http://a", True, "http://a/batch"),
        ("http://a/", False, "http://a/2/httpapi"),
        ("http://a/base/", True, "http://a/base/batch"),
        ("http://a/2/httpapi", True, "http://a/2/httpapi"),
        ("http://a/2/httpapi/", True, "http://a/2/httpapi"),
        ("http://a/batch", False, "http://a/batch"),
        ("https://api2.amplitude.com/2/httpapi", True, "https://api2.amplitude.com/batch"),
        ("https://api.eu.amplitude.com/2/httpapi", True, "https://api.eu.amplitude.com/batch"),
        ("https://api2.amplitude.com/2/httpapi", False, "https://api2.amplitude.com/2/httpapi"),
        ("", False, "https://api2.amplitude.com/2/httpapi"),
    ],
)
def test_events_go_to_the_endpoint_that_url_and_mode_name(
    given: str, in_batches: bool, expected: str
) -> None:
    mode = str(in_batches).lower()
    settings = loaded(
        {
            **KEYS,
            "AMPLITUDE_ANALYTICS_SERVER_URL": given,
            "AMPLITUDE_ASSIGNMENT_USE_BATCH_MODE": mode,
            "AMPLITUDE_EXPOSURE_USE_BATCH_MODE": mode,
        }
    )

    assert settings.urls.analytics == settings.urls.exposures == expected


def test_assignments_and_exposures_each_have_their_mode() -> None:
    urls = loaded({**KEYS, "AMPLITUDE_EXPOSURE_USE_BATCH_MODE": "false"}).urls

    assert urls.analytics == "https://api2.amplitude.com/batch"
    assert urls.exposures == "https://api2.amplitude.com/2/httpapi"


def test_a_blank_url_means_the_zones(tmp_path: Path) -> None:
    assert loaded({}, configured(tmp_path, 'serverUrl: ""\nserverZone: EU')).urls == EU
