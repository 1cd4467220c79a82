"""The chart: what it renders is what stands in `renders/`, valid, safe, and fits the proxy.

`UPDATE_RENDERS=1 pytest tests/deploy/test_chart.py` (make renders) writes the renders anew.
"""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml

from proxy.secret import Secret
from proxy.settings.load import load
from tests.deploy.charts import (
    CHART,
    NEWEST,
    OLDEST,
    RENDERS,
    ROOT,
    USUAL,
    VALUES,
    container,
    documents,
    helm,
    of_kind,
    pod,
    refused,
    rendered,
    rendering,
    texts,
    workload,
)

pytestmark = pytest.mark.needs("helm")
NAMES = sorted(VALUES)
PROJECT = {"apiKey": "a", "secretKey": "b", "managementKey": "c"}
ALERTS = "config/alerts.yaml"
DASHBOARD = "config/dashboard.json"
LOGIN = "operators-login"


def shortened(text: str) -> str:
    """Leave out what other files hold: the rules and the dashboard."""
    kept = documents(text)
    for document in kept:
        if document["kind"] == "PrometheusRule":
            assert document["spec"] == yaml.safe_load((ROOT / ALERTS).read_text())
            document["spec"] = f"({ALERTS})"
        if document["metadata"]["name"].endswith("-dashboard"):
            assert list(document["data"].values()) == [(ROOT / DASHBOARD).read_text()]
            document["data"] = f"({DASHBOARD})"
    return yaml.safe_dump_all(kept, width=100)


def test_there_are_six_value_sets() -> None:
    assert NAMES == [
        "everything",
        "existing-secret",
        "minimal",
        "official",
        "persistence",
        "public-edge",
    ]


@pytest.mark.parametrize("name", NAMES)
def test_helm_lint_finds_nothing(name: str) -> None:
    done = helm(
        "lint", str(CHART), "--strict", "-f", str(VALUES[name]), "--kube-version", f"{USUAL}.0"
    )

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", NAMES)
def test_a_value_set_renders_what_is_kept(name: str) -> None:
    found, kept = shortened(rendered(name)), RENDERS / f"{name}.yaml"
    if os.environ.get("UPDATE_RENDERS"):
        kept.write_text(found)

    assert found == kept.read_text(), "if that is meant: make renders"


@pytest.mark.parametrize("version", [OLDEST, USUAL, NEWEST])
@pytest.mark.parametrize("name", NAMES)
def test_clusters_old_and_new_take_every_document(name: str, version: str) -> None:
    for document in documents(rendered(name, version)):
        assert refused(document, version) == [], document["kind"]


def test_the_schemas_would_refuse_a_mistake() -> None:
    for document in documents(rendered("everything")):
        if "spec" in document:
            document["spec"]["mistake"] = 1
            assert refused(document, USUAL), document["kind"]


SECRETS = ("api-key", "secret-key", "management-key", "redis-password", "deployment-key")


@pytest.mark.parametrize("name", NAMES)
def test_no_secret_is_outside_a_secret(name: str) -> None:
    values = yaml.safe_load(VALUES[name].read_text())
    keys = {
        text
        for text in texts(values.get("evaluationProxy"))
        if any(text.endswith(word) for word in SECRETS)
    } | {"all-redis-password"}
    held = "".join(text for each in of_kind(rendered(name), "Secret") for text in texts(each))
    shown = [
        text
        for document in documents(rendered(name))
        if document["kind"] != "Secret"
        for text in texts(document)
    ]

    assert len(keys) > 1 or name == "existing-secret"
    assert {key for key in keys if key in held} >= keys - {"all-redis-password"}
    assert not [text for text in shown for key in keys if key in text]


def certificate(directory: Path) -> dict[str, str]:
    """Files that stand for those of a mounted Secret, as the environment names them."""
    issued = trustme.CA().issue_cert("flags.example.com")
    issued.private_key_pem.write_to_path(str(directory / "tls.key"))
    issued.cert_chain_pems[0].write_to_path(str(directory / "tls.crt"))
    return {
        "AMPLITUDE_TLS_CERT_FILE": str(directory / "tls.crt"),
        "AMPLITUDE_TLS_KEY_FILE": str(directory / "tls.key"),
    }


def environment_of(text: str, directory: Path) -> dict[str, str]:
    """What a container finds in its environment; Secrets of others hold `operators-login`."""
    given = container(text)["env"]
    environ = {each["name"]: each["value"] for each in given if "value" in each}
    if any(each["name"] == "AMPLITUDE_METRICS_BASIC_USER" for each in given):
        environ["AMPLITUDE_METRICS_BASIC_USER"] = LOGIN
    (directory / "login").write_text(LOGIN)
    for name in environ:
        if name.startswith("AMPLITUDE_METRICS_") and name.endswith("_FILE"):
            environ[name] = str(directory / "login")
    return environ


@pytest.mark.parametrize("name", NAMES)
def test_the_proxy_takes_the_file_and_serves_where_it_is_asked(name: str, tmp_path: Path) -> None:
    text = rendered(name)
    (secret,) = of_kind(text, "Secret")
    (file_name, content), *others = secret["stringData"].items()
    (tmp_path / file_name).write_text(content)
    projects = tmp_path / "projects.yaml"
    projects.write_text(yaml.safe_dump({"projects": [PROJECT]}))
    environ = environment_of(text, tmp_path)
    if "PROXY_PROJECTS_FILE_PATH" in environ:
        environ["PROXY_PROJECTS_FILE_PATH"] = str(projects)
    if "certFile" in content:
        environ |= certificate(tmp_path)

    settings = load(environ, str(tmp_path / file_name))

    assert not others
    assert settings.projects
    ports = {each["name"]: each["containerPort"] for each in container(text)["ports"]}
    assert ports == {"http": settings.port, "operators": settings.metrics.port}
    mounts = {each["mountPath"] for each in container(text)["volumeMounts"]}
    assert settings.data_dir in mounts
    given = {each["name"]: each.get("value") for each in container(text)["env"]}
    assert str(Path(given["PROXY_CONFIG_FILE_PATH"]).parent) in mounts
    for monitor in of_kind(text, "ServiceMonitor", "PodMonitor"):
        ends = monitor["spec"].get("endpoints") or monitor["spec"]["podMetricsEndpoints"]
        assert [(end["port"], end["path"]) for end in ends] == [
            ("operators", "/" + settings.metrics.path)
        ]
    grace = pod(text)["terminationGracePeriodSeconds"]
    stop = container(text).get("lifecycle", {}).get("preStop", {}).get("sleep", {"seconds": 0})
    assert grace > stop["seconds"] + settings.drain_deadline_millis / 1000


@pytest.mark.parametrize("name", NAMES)
def test_probes_ask_pages_that_are_there(name: str) -> None:
    asked = {
        kind: container(rendered(name))[kind]["httpGet"]
        for kind in ("startupProbe", "livenessProbe", "readinessProbe")
    }

    assert asked == {
        "startupProbe": {"path": "/livez", "port": "operators"},
        "livenessProbe": {"path": "/livez", "port": "operators"},
        "readinessProbe": {"path": "/readyz", "port": "operators"},
    }


@pytest.mark.parametrize("name", NAMES)
def test_selectors_find_the_replicas_and_nothing_else(name: str) -> None:
    text = rendered(name)
    labels = workload(text)["spec"]["template"]["metadata"]["labels"].items()
    services = of_kind(text, "Service")

    for selector in (
        workload(text)["spec"]["selector"]["matchLabels"],
        *(service["spec"]["selector"] for service in services),
        *(each["spec"]["selector"]["matchLabels"] for each in of_kind(text, "PodDisruptionBudget")),
        *(each["spec"]["selector"]["matchLabels"] for each in of_kind(text, "PodMonitor")),
    ):
        assert selector.items() <= labels
        for test in of_kind(text, "Pod"):
            assert not selector.items() <= test["metadata"]["labels"].items()
    for monitor in of_kind(text, "ServiceMonitor"):
        wanted = monitor["spec"]["selector"]["matchLabels"].items()
        assert [
            service["spec"]["ports"][0]["name"]
            for service in services
            if wanted <= service["metadata"]["labels"].items()
        ] == ["operators"]
    if workload(text)["kind"] == "StatefulSet":
        (headless,) = [each for each in services if each["spec"].get("clusterIP") == "None"]
        assert workload(text)["spec"]["serviceName"] == headless["metadata"]["name"]


@pytest.mark.parametrize("name", sorted({*NAMES} - {"minimal"}))
def test_pods_are_locked_down(name: str) -> None:
    for spec in (pod(rendered(name)), *(each["spec"] for each in of_kind(rendered(name), "Pod"))):
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        assert spec["enableServiceLinks"] is False
        own = spec["containers"][0]["securityContext"]
        assert own["readOnlyRootFilesystem"] is True
        assert own["allowPrivilegeEscalation"] is False
        assert own["capabilities"] == {"drop": ["ALL"]}


def test_a_changed_configuration_is_a_new_pod() -> None:
    def checksum(*sets: str) -> str:
        done = rendering(*sets, values=VALUES["official"])
        annotations = workload(done.stdout)["spec"]["template"]["metadata"]["annotations"]
        found: str = annotations["checksum/config"]
        return found

    assert checksum() == checksum("replicaCount=5")
    assert checksum() != checksum("evaluationProxy.configuration.log.level=DEBUG")
    assert checksum() != checksum("evaluationProxy.projects[0].secretKey=another")


@pytest.mark.parametrize("name", VALUES)
def test_a_changed_configuration_can_reach_a_pod_that_runs(name: str) -> None:
    # Kubernetes never changes what is mounted by subPath.
    assert not any("subPath" in each for each in container(rendered(name))["volumeMounts"])

    done = rendering("rollOnChange=false", values=VALUES[name])

    assert done.returncode == 0, done.stderr
    template = workload(done.stdout)["spec"]["template"]["metadata"]
    assert "checksum/config" not in (template.get("annotations") or {})


def test_the_official_image_is_passed_over_and_any_other_taken() -> None:
    assert container(rendered("official"))["image"] == "evaluation-proxy:0.1.0"
    assert (
        container(rendered("everything"))["image"] == "registry.example.com/evaluation-proxy:1.2.3"
    )
    assert "@sha256:" in container(rendered("existing-secret"))["image"]


@pytest.mark.parametrize(
    ("keys", "settings", "monitored"),
    [
        ({}, (None, None, None), {}),
        (
            {"bearerTokenKey": "t"},
            (Secret(LOGIN), None, None),
            {
                "authorization": {
                    "type": "Bearer",
                    "credentials": {"name": "operators-login", "key": "t"},
                }
            },
        ),
        (
            {"basicUserKey": "u", "basicPasswordKey": "p"},
            (None, LOGIN, Secret(LOGIN)),
            {
                "basicAuth": {
                    "username": {"name": "operators-login", "key": "u"},
                    "password": {"name": "operators-login", "key": "p"},
                }
            },
        ),
    ],
)
@pytest.mark.parametrize("kind", ["ServiceMonitor", "PodMonitor"])
def test_proxy_and_monitor_hold_the_same_credential(
    tmp_path: Path, kind: str, keys: dict[str, str], settings: Any, monitored: dict[str, Any]
) -> None:
    monitor = "serviceMonitor" if kind == "ServiceMonitor" else "podMonitor"
    values = {
        "evaluationProxy": {"projects": [PROJECT]},
        "operators": {"auth": {"existingSecret": "operators-login" if keys else "", **keys}},
        monitor: {"enabled": True},
    }
    done = rendering(values=values)
    assert done.returncode == 0, done.stderr
    (tmp_path / "projects.yaml").write_text(yaml.safe_dump({"projects": [PROJECT]}))

    metrics = load(environment_of(done.stdout, tmp_path), str(tmp_path / "projects.yaml")).metrics

    assert metrics.host == "0.0.0.0"
    assert (metrics.bearer_token, metrics.basic_user, metrics.basic_password) == settings
    for document in of_kind(done.stdout, kind, "Deployment"):
        assert refused(document, USUAL) == []
    (found,) = of_kind(done.stdout, kind)
    (end,) = found["spec"].get("endpoints") or found["spec"]["podMetricsEndpoints"]
    assert {key: end[key] for key in ("authorization", "basicAuth") if key in end} == monitored
    files = {
        volume["secret"]["secretName"]: {one["key"] for one in volume["secret"].get("items", ())}
        for volume in pod(done.stdout)["volumes"]
        if volume["name"] == "operators"
    }
    assert files == ({"operators-login": set(keys.values()) - {"u"}} if keys else {})


def test_the_port_listens_where_the_values_say() -> None:
    values = {
        "evaluationProxy": {"projects": [PROJECT], "configuration": {"metrics": {"host": "::"}}}
    }

    done = rendering(values=values)

    assert {"name": "AMPLITUDE_METRICS_HOST", "value": "::"} in container(done.stdout)["env"]


def test_keys_may_come_from_the_environment_alone() -> None:
    env = [{"name": "AMPLITUDE_API_KEY", "valueFrom": {"secretKeyRef": {"name": "a", "key": "b"}}}]
    done = rendering(values={"extraEnv": env})

    assert done.returncode == 0, done.stderr
    assert env[0] in container(done.stdout)["env"]


def test_the_chart_may_be_a_part_of_another() -> None:
    values = {"enabled": True, "global": {"x": 1}, "evaluationProxy": {"projects": [PROJECT]}}

    assert rendering(values=values).returncode == 0


CONFIGURATION = "evaluationProxy.configuration"


@pytest.mark.parametrize(
    ("sets", "says"),
    [
        (["replicas=3"], "replicas is not allowed"),
        (["image.pullPolicy=Sometimes"], "image.pullPolicy"),
        (["image.digest=sha256:1"], "image.digest"),
        (["service.port=70000"], "service.port"),
        (["service.type=ExternalName"], "service.type"),
        (["persistence.size=much"], "persistence.size"),
        (["autoscaling.minReplicas=0"], "autoscaling.minReplicas"),
        (["autoscaling.enabled=true", "autoscaling.minReplicas=11"], "maxReplicas"),
        ([f"{CONFIGURATION}.flagSyncInterval=1"], "flagSyncInterval is not allowed"),
        ([f"{CONFIGURATION}.port=-1"], "evaluationProxy.configuration.port"),
        ([f"{CONFIGURATION}.port=0"], "no Service can lead to"),
        ([f"{CONFIGURATION}.port=9090"], "are both 9090"),
        ([f"{CONFIGURATION}.metrics.host=127.0.0.1"], "metrics.host is 127.0.0.1"),
        (["operators.auth.existingSecret=a"], "name a key of the Secret"),
        (["operators.auth.bearerTokenKey=a"], "keys of which Secret"),
        (["operators.auth.existingSecret=a", "operators.auth.basicUserKey=b"], "go together"),
        (["operators.auth.token=a"], "token is not allowed"),
        ([f"{CONFIGURATION}.metrics.bearerToken=a", "podMonitor.enabled=true"], "not log in"),
        ([f"{CONFIGURATION}.drainDeadlineMillis=60000"], "must be at least 66"),
        (["evaluationProxy.projects[0].apikey=x"], "apikey is not allowed"),
        (["evaluationProxy.projects=null"], "evaluationProxy.projects is empty"),
        (["serviceMonitor.enabled=true", "podMonitor.enabled=true"], "count everything twice"),
        (["serviceMonitor.enabled=true", "operatorsService.enabled=false"], "needs operatorsServ"),
        (["httpRoute.enabled=true"], "httpRoute.parentRefs"),
        (["podDisruptionBudget.maxUnavailable=half"], "podDisruptionBudget.maxUnavailable"),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_a_mistake_in_the_values_is_refused_by_name(sets: list[str], says: str) -> None:
    values: dict[str, Any] = {"evaluationProxy": {"projects": [PROJECT]}}

    done: subprocess.CompletedProcess[str] = rendering(*sets, values=values)

    assert done.returncode != 0
    assert says in done.stderr


def test_clusters_take_the_sidecar_of_the_documentation(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "kubernetes.md").read_text()
    block = page.split("<!-- sidecar:begin -->")[1].split("<!-- sidecar:end -->")[0]
    document = yaml.safe_load(block.strip().removeprefix("```yaml").removesuffix("```"))
    spec = document["spec"]["template"]["spec"]
    (proxy,) = spec["initContainers"]
    environ = {each["name"]: each["value"] for each in proxy["env"]}
    (tmp_path / "projects.yaml").write_text(yaml.safe_dump({"projects": [PROJECT]}))
    environ["PROXY_PROJECTS_FILE_PATH"] = str(tmp_path / "projects.yaml")

    settings = load(environ, default_path=str(tmp_path / "none"))

    for version in ("1.29", USUAL, NEWEST):
        assert refused(document, version) == []
    assert settings.host == "127.0.0.1"
    assert proxy["ports"] == [{"name": "operators", "containerPort": settings.metrics.port}]
    assert {each["name"] for each in proxy["volumeMounts"]} == {
        each["name"] for each in spec["volumes"]
    }


def test_values_in_the_documentation_render() -> None:
    page = (ROOT / "docs" / "kubernetes.md").read_text()
    blocks = [yaml.safe_load(each) for each in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)]
    values = [block for block in blocks if "apiVersion" not in block]

    assert len(values) == 4
    for each in values:
        if not {"projects", "existingSecret"} & {*each, *each.get("evaluationProxy", ())}:
            each.setdefault("evaluationProxy", {})["projects"] = [PROJECT]
        done = rendering(values=each)
        assert done.returncode == 0, done.stderr


def test_the_table_of_the_charts_readme_names_every_value() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    table = re.findall(r"^\| (`.*?) \|", (CHART / "README.md").read_text(), re.MULTILINE)
    named = {name.split(".")[0] for row in table for name in re.findall(r"`([a-zA-Z]\w*)", row)}

    assert set(values) <= named
