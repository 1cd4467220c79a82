"""The hosts of each data centre, and the URLs in force once zone and explicit URLs are weighed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from msgspec import Struct

if TYPE_CHECKING:
    from proxy.settings.schema import Configuration

HTTP_API = "/2/httpapi"
BATCH = "/batch"


class Hosts(Struct, frozen=True, kw_only=True):
    """The base URLs of one data centre."""

    flags: str
    cohorts: str
    management: str
    analytics: str
    stream: str
    remote: str
    scripts: str


class Urls(Struct, frozen=True, kw_only=True, rename="camel"):
    """The URLs in force, without a trailing slash.

    `analytics` and `exposures` are whole endpoints to post assignments and exposures to; the others
    are bases to which the interface's paths are added.
    """

    flags: str = "https://flag.lab.amplitude.com"
    cohorts: str = "https://cohort-v2.lab.amplitude.com"
    management: str = "https://experiment.amplitude.com"
    stream: str = "https://stream.lab.amplitude.com"
    remote: str = "https://api.lab.amplitude.com"
    scripts: str = "https://cdn.amplitude.com"
    analytics: str = "https://api2.amplitude.com/batch"
    exposures: str = "https://api2.amplitude.com/batch"


HOSTS: Final = {
    "US": Hosts(
        flags="https://flag.lab.amplitude.com",
        cohorts="https://cohort-v2.lab.amplitude.com",
        management="https://experiment.amplitude.com",
        analytics="https://api2.amplitude.com",
        stream="https://stream.lab.amplitude.com",
        remote="https://api.lab.amplitude.com",
        scripts="https://cdn.amplitude.com",
    ),
    "EU": Hosts(
        flags="https://flag.lab.eu.amplitude.com",
        cohorts="https://cohort-v2.lab.eu.amplitude.com",
        management="https://experiment.eu.amplitude.com",
        analytics="https://api.eu.amplitude.com",
        stream="https://stream.lab.eu.amplitude.com",
        remote="https://api.lab.eu.amplitude.com",
        scripts="https://cdn.eu.amplitude.com",
    ),
}


def urls_in_force(configuration: Configuration) -> Urls:
    """Return the zone's URLs, each replaced by the explicit one where that is given."""
    hosts = HOSTS[configuration.server_zone]
    analytics = configuration.analytics_server_url
    return Urls(
        flags=configuration.server_url or hosts.flags,
        cohorts=configuration.cohort_server_url or hosts.cohorts,
        management=configuration.management_server_url or hosts.management,
        stream=configuration.stream_server_url or hosts.stream,
        remote=configuration.remote_evaluation.server_url or hosts.remote,
        scripts=configuration.script_server_url or hosts.scripts,
        analytics=_endpoint(analytics, hosts, in_batches=configuration.assignment.use_batch_mode),
        exposures=_endpoint(analytics, hosts, in_batches=configuration.exposure.use_batch_mode),
    )


def _endpoint(given: str | None, hosts: Hosts, *, in_batches: bool) -> str:
    # A zone's whole HTTP API URL is the official proxy's default; written out, it means no more.
    known = {own.analytics + HTTP_API: own.analytics for own in HOSTS.values()}
    base = known.get(given, given) if given else hosts.analytics
    if base.endswith((HTTP_API, BATCH)):
        return base
    return base + (BATCH if in_batches else HTTP_API)


def hosts_of_another_zone(configuration: Configuration) -> list[str]:
    """Name the kinds of explicit URL that lead to a data centre other than the zone's."""
    zone = configuration.server_zone
    given = {
        "serverUrl": configuration.server_url,
        "cohortServerUrl": configuration.cohort_server_url,
        "managementServerUrl": configuration.management_server_url,
        "analyticsServerUrl": configuration.analytics_server_url,
        "streamServerUrl": configuration.stream_server_url,
        "scriptServerUrl": configuration.script_server_url,
        "remoteEvaluation.serverUrl": configuration.remote_evaluation.server_url,
    }
    return [name for name, url in given.items() if url and _zone_of(url) not in {None, zone}]


def _zone_of(url: str) -> str | None:
    """Return the data centre of one of Amplitude's hosts, None of any other host."""
    host = f".{urlsplit(url).hostname}"
    if not host.endswith(".amplitude.com"):
        return None
    return "EU" if host.endswith(".eu.amplitude.com") else "US"
