"""Secrets come from files too, and are seen nowhere."""

from pathlib import Path

import msgspec
import pytest

from proxy.secret import Secret
from proxy.settings.documents import example, json_schema
from proxy.settings.explain import explain
from tests.settings.asking import KEYS, configured, loaded, mistakes_of, written

PROJECT_SECRETS = [
    ("apiKey", "AMPLITUDE_API_KEY", "api_key"),
    ("secretKey", "AMPLITUDE_SECRET_KEY", "secret_key"),
    ("managementKey", "AMPLITUDE_EXPERIMENT_MANAGEMENT_API_KEY", "management_key"),
]


def project_lines(**changed: str) -> str:
    keys = {"apiKey": "a", "secretKey": "s", "managementKey": "m"} | changed
    body = "\n  ".join(f"{key}: {value}" for key, value in keys.items() if value)
    return f"projects:\n- {body}\n"


@pytest.mark.parametrize(("key", "variable", "attribute"), PROJECT_SECRETS)
def test_a_projects_key_comes_from_a_file(
    tmp_path: Path, key: str, variable: str, attribute: str
) -> None:
    secret = written(tmp_path, "\ufeff from-a-file\r\n", "secret")
    path = written(tmp_path, project_lines(**{key: "", f"{key}File": str(secret)}))
    beside = {name: value for name, value in KEYS.items() if name != variable}

    by_file = loaded({}, path)
    by_environment = loaded({**beside, f"{variable}_FILE": str(secret)})

    assert getattr(by_file.projects[0], attribute) == Secret("from-a-file")
    assert getattr(by_environment.projects[0], attribute) == Secret("from-a-file")


def test_deployment_keys_come_from_a_file_one_a_line(tmp_path: Path) -> None:
    keys = written(tmp_path, "server-1\n\nclient-2\r\nserver-1\n", "keys")
    path = written(tmp_path, project_lines(deploymentKeysFile=str(keys)))
    expected = (Secret("server-1"), Secret("client-2"))

    assert loaded({}, path).projects[0].deployment_keys == expected
    environ = {**KEYS, "AMPLITUDE_DEPLOYMENT_KEYS_FILE": str(keys)}
    assert loaded(environ).projects[0].deployment_keys == expected


def test_redis_uris_come_from_files(tmp_path: Path) -> None:
    uri = written(tmp_path, "rediss://:pw@redis:6379/0\n", "uri")
    # The chart leaves a blank `uri` beside what the operator adds.
    path = configured(tmp_path, f'redis: {{uri: "", uriFile: {uri}, readOnlyUriFile: {uri}}}')

    redis = loaded({}, path).redis

    assert redis.uri == redis.read_only_uri == Secret("rediss://:pw@redis:6379/0")
    environ = {**KEYS, "AMPLITUDE_REDIS_URI_FILE": str(uri)}
    assert loaded(environ).redis.uri == redis.uri


def test_a_key_and_its_file_exclude_each_other(tmp_path: Path) -> None:
    path = written(tmp_path, project_lines(secretKeyFile="/run/secrets/x"))

    assert mistakes_of({}, path) == [
        (
            f"{path}:5: projects[0].secretKeyFile: already given"
            f" ({path}:3: projects[0].secretKey); give one of the two"
        )
    ]
    assert mistakes_of({**KEYS, "AMPLITUDE_SECRET_KEY_FILE": "/x"}) == [
        ("AMPLITUDE_SECRET_KEY_FILE: already given (AMPLITUDE_SECRET_KEY); give one of the two")
    ]


def test_the_environment_overrides_a_file_of_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, project_lines(secretKey="", secretKeyFile="/nonexistent/x"))

    settings = loaded({"AMPLITUDE_SECRET_KEY": "environment"}, path)

    assert settings.projects[0].secret_key == Secret("environment")


def test_a_file_that_holds_no_secret_is_named(tmp_path: Path) -> None:
    blank = written(tmp_path, " \n", "blank")
    garbled = tmp_path / "garbled"
    garbled.write_bytes(b"\xff\xfe")
    long = written(tmp_path, "x" * 70_000, "long")
    several = written(tmp_path, "one two\n", "several")

    def mistake(name: str) -> str:
        lines = project_lines(secretKey="", secretKeyFile=name)
        (only,) = mistakes_of({}, written(tmp_path, lines))
        return only.split("secretKeyFile: ")[1]

    assert mistake(str(blank)) == f"{blank} is empty"
    assert mistake(str(garbled)) == f"{garbled} is not UTF-8"
    assert mistake(str(long)) == f"{long} is longer than 65536 bytes"
    assert mistake(str(tmp_path)) == f"{tmp_path} cannot be read: Is a directory"
    assert mistake("/nonexistent/x") == "/nonexistent/x cannot be read: No such file or directory"
    assert mistake(str(several)).endswith("got a value that is not shown")
    hidden = "a value that is not shown, in case it is the secret itself,"
    assert mistake("[a]") == f"expected the name of a file, got {hidden}"
    assert mistake('""') == f"expected the name of a file, got {hidden}"
    assert mistake("pasted-by-mistake") == f"{hidden} cannot be read: No such file or directory"
    assert mistake("redis://:pw@x/0") == f"{hidden} cannot be read: No such file or directory"


MARK = "hush-0123456789"


def test_no_secret_is_seen_in_the_settings_nor_in_what_explains_them(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        f"""\
projects:
- apiKey: {MARK}-a
  secretKey: {MARK}-s
  managementKey: {MARK}-m
  deploymentKeys: [{MARK}-d]
configuration:
  redis: {{uri: "redis://:{MARK}@h", readOnlyUri: "redis://:{MARK}@r"}}
  metrics: {{bearerToken: {MARK}-t, basicUser: ops, basicPassword: {MARK}-p}}
""",
    )

    settings = loaded({}, path)
    explained = explain(settings)

    assert MARK not in repr(settings)
    assert MARK not in msgspec.json.encode(explained).decode()
    assert explained["configuration"]["port"] == 3546
    assert explained["configuration"]["redis"]["uri"] == Secret(f"redis://:{MARK}@h").label
    assert explained["projects"][0]["apiKey"] == Secret(f"{MARK}-a").label
    assert explained["projects"][0]["deploymentKeys"] == [Secret(f"{MARK}-d").label]
    assert explained["urls"]["flags"] == "https://flag.lab.amplitude.com"
    assert len(explained["notices"]) == 1


@pytest.mark.parametrize(
    "text",
    [
        f"projects: {MARK}",
        f"projects: [{MARK}]",
        f"projects:\n- {{apiKey: {MARK} x, secretKey: [{MARK}], managementKey: {{{MARK}: 1}}}}",
        f"projects:\n- {{apiKey:{MARK}}}",
        f"projects:\n- {{seecretKey: {MARK}, deploymentKeys: {MARK}}}",
        f"projects:\n- deploymentKeys: {{{MARK}: {MARK}}}",
        f"projects:\n- deploymentKeys: [[{MARK}], '{MARK} x']\n  apiKeyFile: {MARK}",
        f"projects:\n- apiKey={MARK}",
        f"{MARK}: {MARK}\napiKey: {MARK}",
        f"configuration: {MARK}",
        f"configuration: {{redis: {MARK}, {MARK}: 1}}",
        f"configuration: {{redis: {{uri: {MARK}, uriFile: {MARK}, url: {MARK}}}}}",
        f"configuration: {{serverUrl: 'http://{MARK}@h', streamServerUrl: 'http://h?{MARK}'}}",
        f"configuration: {{metrics: {{bearerToken: {MARK} x, basicPassword: [{MARK}]}}}}",
        f"configuration: {{metrics: {{bearerTokenFile: {MARK}, password: {MARK}}}}}",
        f"apiKey: *{MARK}",
        f"apiKey: !{MARK} x",
        f"apiKey: '{MARK}",
        f"apiKey: [{MARK}",
        f"%{MARK}",
        MARK,
    ],
)
@pytest.mark.parametrize("name", ["proxy.yaml", "proxy.json"])
def test_no_mistake_holds_a_secret(tmp_path: Path, text: str, name: str) -> None:
    mistakes = mistakes_of({}, written(tmp_path, text, name))

    assert mistakes
    assert MARK not in "\n".join(mistakes)


def test_no_mistake_about_the_environment_holds_a_secret() -> None:
    mistakes = mistakes_of(
        {
            **dict.fromkeys(KEYS, f"{MARK} x"),
            "AMPLITUDE_DEPLOYMENT_KEYS": f"ключ{MARK}",
            "AMPLITUDE_REDIS_URI": MARK,
            "AMPLITUDE_REDIS_READ_ONLY_URI_FILE": MARK,
        }
    )

    assert len(mistakes) == 6
    assert MARK not in "\n".join(mistakes)


def test_neither_schema_nor_example_hold_a_secret() -> None:
    shown = msgspec.json.encode(json_schema()).decode() + example()

    assert "Secret(" not in shown
