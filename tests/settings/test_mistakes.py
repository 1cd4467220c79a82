"""Every mistake is said, at once, with its place, and without a secret."""

from pathlib import Path

import pytest

from proxy.settings.mistakes import nearest_of, shown, shown_key
from tests.settings.asking import KEYS, PROJECT, configured, loaded, mistakes_of, written

HTTP_URL = "expected an http or https URL with a host, and no user, query or fragment"


def test_all_mistakes_are_listed_at_once(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        """\
configuration:
  port: 99999
  serverZone: ASIA
  assignment:
    useBatchMode: yes
projects:
  - apiKey: ""
    manegementKey: hidden-management-key
    secretKey: s
""",
    )

    assert mistakes_of({"AMPLITUDE_METRICS_PORT": "many"}, path) == [
        f"{path}:2: configuration.port: expected a whole number from 0 to 65535, got '99999'",
        f"{path}:3: configuration.serverZone: expected one of EU, US, got 'ASIA'",
        f"{path}:5: configuration.assignment.useBatchMode: expected true or false, got 'yes'",
        "AMPLITUDE_METRICS_PORT: expected a whole number from 0 to 65535, got 'many'",
        f"{path}:8: projects[0].manegementKey: unknown key; did you mean `managementKey`?",
        (
            f"{path}:7: projects[0].apiKey: expected a key of visible ASCII characters,"
            " got a blank text"
        ),
        (
            f"{path}:7: projects[0]: expected `managementKey` or a list of `deploymentKeys`,"
            " got neither"
        ),
    ]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("prot: 1", "configuration.prot: unknown key; did you mean `port`?"),
        ("max_cohort_size: 1", "configuration.max_cohort_size: unknown key; did you mean `maxC"),
        ("redis: {url: x}", "configuration.redis.url: unknown key; did you mean `uri`?"),
        (
            "redis: {urifile: x}",
            "configuration.redis.urifile: unknown key; did you mean `uriFile`?",
        ),
        ("zzz: 1", "configuration.zzz: unknown key; known are admission, "),
        ("<<: {}", "configuration.<<: merge keys (`<<`) are not supported"),
    ],
)
def test_an_unknown_key_names_the_nearest_known_one(
    tmp_path: Path, lines: str, expected: str
) -> None:
    (mistake,) = mistakes_of({}, configured(tmp_path, lines))

    assert expected in mistake


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("port: 1\n", "port: unknown key; did you mean `configuration.port`?"),
        ("apiKey: x\n", "apiKey: unknown key; did you mean `projects[0].apiKey`?"),
        ("project: []\n", "project: unknown key; did you mean `projects`?"),
    ],
)
def test_a_key_at_the_top_is_sent_to_its_place(tmp_path: Path, text: str, expected: str) -> None:
    (mistake,) = mistakes_of({}, written(tmp_path, text + PROJECT))

    assert mistake.endswith(expected)


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("port", "-1", "a whole number from 0 to 65535, got '-1'"),
        ("port", "3_546", "a whole number from 0 to 65535, got '3_546'"),
        ("port", "0x10", "a whole number from 0 to 65535, got '0x10'"),
        ("port", "017", "a whole number from 0 to 65535, got '017'"),
        ("port", "1.0", "a whole number from 0 to 65535, got '1.0'"),
        ("port", "٣", "a whole number from 0 to 65535, got '٣'"),
        ("port", "1" * 5000, "a whole number from 0 to 65535, got "),
        ("port", "[1]", "a whole number from 0 to 65535, got a list"),
        ("port", "{a: 1}", "a whole number from 0 to 65535, got a mapping"),
        ("port", '""', "a whole number from 0 to 65535, got a blank text"),
        ("flagSyncIntervalMillis", "0", "a whole number from 100 to 2147483647, got '0'"),
        ("streamUpdates", "on", "true or false, got 'on'"),
        ("streamUpdates", "1", "true or false, got '1'"),
        ("streamUpdates", "[]", "true or false, got a list"),
        ("host", "a b", "an IP address or a host name, got 'a b'"),
        ("host", '""', "an IP address or a host name, got a blank text"),
        ("dataDir", '"a\\u0007"', "a text of printable characters, got 'a\\x07'"),
        ("dataDir", "[x]", "a text of printable characters, got a list"),
    ],
)
def test_a_value_that_does_not_fit_is_shown_beside_what_was_expected(
    tmp_path: Path, key: str, value: str, expected: str
) -> None:
    path = configured(tmp_path, f"{key}: {value}")

    (mistake,) = mistakes_of({}, path)

    assert f"{path}:6: configuration.{key}: expected {expected}" in mistake
    assert len(mistake) < len(str(path)) + 250


@pytest.mark.parametrize(
    "url",
    [
        "flag.lab.amplitude.com",
        "ftp://host",
        "http://",
        "http:///path",
        "http://host:99999",
        "http://host:0",
        "http://host:x",
        "http://[::1",
        "http://ho st",
        "http://host/a\\b",
        "//host",
        "http://höst",
    ],
)
def test_only_http_urls_with_a_host_are_taken(url: str) -> None:
    assert mistakes_of({**KEYS, "AMPLITUDE_SERVER_URL": url}) == [
        f"AMPLITUDE_SERVER_URL: {HTTP_URL}, got {url!r}"
    ]


@pytest.mark.parametrize("url", ["http://u:pw@h", "http://u@h", "http://h/?k=pw", "http://h/#pw"])
def test_a_url_with_a_user_a_query_or_a_fragment_is_not_taken_nor_shown(url: str) -> None:
    assert mistakes_of({**KEYS, "AMPLITUDE_SERVER_URL": url}) == [
        f"AMPLITUDE_SERVER_URL: {HTTP_URL}, got a value that is not shown, as it resembles a key"
    ]


@pytest.mark.parametrize("value", ["TRUE", "True", "true", '"true"', " true "])
def test_booleans_may_be_quoted_and_in_any_case(tmp_path: Path, value: str) -> None:
    path = configured(tmp_path, f"trustClientCohorts: {value}")

    assert loaded({}, path).trust_client_cohorts


def test_numbers_may_be_quoted(tmp_path: Path) -> None:
    assert loaded({}, configured(tmp_path, 'port: "3547"')).port == 3547


@pytest.mark.parametrize(
    ("given", "level"),
    [("warn", "WARNING"), ("Trace", "DEBUG"), ("OFF", "CRITICAL"), ("error", "ERROR")],
)
def test_log_levels_of_the_official_proxy_are_understood(given: str, level: str) -> None:
    assert loaded({**KEYS, "AMPLITUDE_LOG_LEVEL": given}).log.level == level


def test_a_null_takes_the_default(tmp_path: Path) -> None:
    path = configured(tmp_path, "port: null\nhost: ~\nredis:\nmetrics: {port: , host: Null}")

    settings = loaded({}, path)

    assert (settings.port, settings.host, settings.metrics.port) == (3546, "0.0.0.0", 9090)


@pytest.mark.parametrize(
    ("lines", "place"),
    [("redis: text", "configuration.redis"), ("log: [1]", "configuration.log")],
)
def test_a_group_must_be_a_mapping(tmp_path: Path, lines: str, place: str) -> None:
    (mistake,) = mistakes_of({}, configured(tmp_path, lines))

    assert f"{place}: expected a mapping, got a" in mistake


@pytest.mark.parametrize("projects", ["text", "{apiKey: x}"])
def test_projects_must_be_a_list(tmp_path: Path, projects: str) -> None:
    mistakes = mistakes_of({}, written(tmp_path, f"projects: {projects}"))

    assert mistakes[0].endswith(":1: projects: expected a list of projects, each a mapping")


def test_a_project_must_be_a_mapping_with_all_its_keys(tmp_path: Path) -> None:
    path = written(tmp_path, "projects:\n  - just-a-text\n  -\n")

    assert mistakes_of({}, path) == [
        f"{path}:2: projects[0]: expected a mapping, got a value that is not shown",
        f"{path}:2: projects[0]: expected `apiKey`, `apiKeyFile` or AMPLITUDE_API_KEY, got none",
        (
            f"{path}:2: projects[0]: expected `secretKey`, `secretKeyFile` or AMPLITUDE_SECRET_KEY,"
            " got none"
        ),
        (
            f"{path}:2: projects[0]: expected `managementKey` or a list of `deploymentKeys`,"
            " got neither"
        ),
        f"{path}:3: projects[1]: expected `apiKey`, `apiKeyFile` or AMPLITUDE_API_KEY, got none",
        (
            f"{path}:3: projects[1]: expected `secretKey`, `secretKeyFile` or AMPLITUDE_SECRET_KEY,"
            " got none"
        ),
        (
            f"{path}:3: projects[1]: expected `managementKey` or a list of `deploymentKeys`,"
            " got neither"
        ),
    ]


def test_a_project_in_the_environment_must_have_all_its_keys() -> None:
    assert mistakes_of({"AMPLITUDE_API_KEY": "a"}) == [
        "environment: expected `secretKey`, `secretKeyFile` or AMPLITUDE_SECRET_KEY, got none",
        "environment: expected `managementKey` or a list of `deploymentKeys`, got neither",
    ]


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("[]", "projects[0]: expected `managementKey` or a list of `deploymentKeys`, got neither"),
        ('[a, ""]', "deploymentKeys[1]: expected a key of visible ASCII characters, got a blank"),
        ("[a, null]", "deploymentKeys[1]: expected a key of visible ASCII characters, got no text"),
        ("[[a]]", "deploymentKeys[0]: expected a key of visible ASCII characters, got no text"),
        ("['a b']", "deploymentKeys[0]: expected a key of visible ASCII characters, got a value"),
        ("server-a", "deploymentKeys: expected a list of keys of visible ASCII characters, got"),
        ("{server-a: x}", "deploymentKeys: expected a list of keys of visible ASCII characters"),
    ],
)
def test_deployment_keys_are_a_list_of_keys(tmp_path: Path, keys: str, expected: str) -> None:
    path = written(tmp_path, f"projects:\n- apiKey: a\n  secretKey: s\n  deploymentKeys: {keys}\n")

    (mistake,) = mistakes_of({}, path)

    assert expected in mistake
    assert "server-a" not in mistake


def test_what_two_projects_must_not_share(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        """\
projects:
- {apiKey: a, secretKey: s, id: one, deploymentKeys: [x, y]}
- {apiKey: a, secretKey: s, id: one, deploymentKeys: [z, y]}
- {apiKey: b, secretKey: s, managementKey: m}
""",
    )

    assert mistakes_of({}, path) == [
        f"{path}:3: projects[1].apiKey: the same API key as {path}:2: projects[0].apiKey",
        f"{path}:3: projects[1].id: the same id as {path}:2: projects[0].id",
        (
            f"{path}:3: projects[1].deploymentKeys: holds a deployment key that is also in"
            f" {path}:2: projects[0].deploymentKeys"
        ),
    ]


@pytest.mark.parametrize(
    ("lines", "mistaken"),
    [
        ("metrics: {port: 3546}", True),
        ("port: 9090", True),
        ("port: 80\nhost: 127.0.0.1\nmetrics: {port: 80, host: 127.0.0.1}", True),
        ("port: 80\nhost: 127.0.0.1\nmetrics: {port: 80, host: 127.0.0.2}", False),
        ("port: 0\nmetrics: {port: 0}", False),
    ],
)
def test_clients_and_operators_cannot_share_a_port(
    tmp_path: Path, lines: str, mistaken: bool
) -> None:
    path = configured(tmp_path, lines)

    if mistaken:
        (mistake,) = mistakes_of({}, path)
        assert "clients and operators cannot share port" in mistake
    else:
        loaded({}, path)


@pytest.mark.parametrize("taken", ["livez", "/readyz", "status/"])
def test_the_metrics_path_cannot_be_that_of_a_probe(taken: str) -> None:
    (mistake,) = mistakes_of({**KEYS, "AMPLITUDE_METRICS_PATH": taken})

    assert mistake.startswith("AMPLITUDE_METRICS_PATH: ")
    assert mistake.endswith("on the operators' port serves something else")


@pytest.mark.parametrize("path", ["/", "a b", "a//b", "{x}", "a?b"])
def test_the_metrics_path_is_a_plain_path(path: str) -> None:
    (mistake,) = mistakes_of({**KEYS, "AMPLITUDE_METRICS_PATH": path})

    assert "expected a URL path such as metrics" in mistake


def test_a_redis_uri_is_one_and_is_never_shown() -> None:
    assert mistakes_of({**KEYS, "AMPLITUDE_REDIS_URI": "hunter2@host"}) == [
        (
            "AMPLITUDE_REDIS_URI: expected a Redis URI such as redis://host:6379,"
            " got a value that is not shown"
        )
    ]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("server-1", "a value that is not shown, as it resembles a key"),
        ("client-1", "a value that is not shown, as it resembles a key"),
        ("a1b2c3d4e5f60718293a4b5c6d7e8f90", "a value that is not shown, as it resembles a key"),
        ("x" * 200, repr("x" * 100 + "...")),
        (True, "true"),
        (" ", "a blank text"),
        ("\ud800", r"'\ud800'"),
    ],
)
def test_what_a_mistake_shows_of_a_value(value: str, expected: str) -> None:
    assert shown(value) == expected


@pytest.mark.parametrize("key", ["apiKey:abc", "server-x", "a1b2c3d4", "", "x" * 60, "a b", "ключ"])
def test_a_key_that_may_be_a_secret_is_not_shown(key: str) -> None:
    assert shown_key(key) == "(a key that is not shown)"


def test_nothing_near_is_none() -> None:
    assert nearest_of("zzzz", ["port", "host"]) is None
    assert nearest_of("x" * 1_000_000, ["port"]) is None


def test_a_file_that_is_something_else_does_not_flood_the_screen(tmp_path: Path) -> None:
    path = configured(tmp_path, "\n".join(f"key{number}: 1" for number in range(700)))

    mistakes = mistakes_of({}, path)

    assert len(mistakes) == 501
    assert mistakes[-1] == "and 200 more mistakes"
