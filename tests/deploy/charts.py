"""The chart, rendered by the real helm, and what a cluster would say of it."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import yaml
from referencing import Registry, Resource

from tests.clients.running import skip_for_lack_of

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "evaluation-proxy"
RENDERS = Path(__file__).parent / "renders"
VALUES = {path.name.removesuffix("-values.yaml"): path for path in (CHART / "ci").glob("*.yaml")}
OLDEST, USUAL = "1.25", "1.31"
NEWEST = kubernetes_validate.latest_version().rpartition(".")[0]
CUSTOM = {
    "monitoring.coreos.com/v1": {"ServiceMonitor", "PodMonitor", "PrometheusRule"},
    "gateway.networking.k8s.io/v1": {"HTTPRoute"},
}
Document = dict[str, Any]


def helm(*arguments: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run helm; `given` stands at its standard input."""
    program = shutil.which("helm")
    if program is None:
        skip_for_lack_of("helm")
        raise AssertionError
    return subprocess.run(
        [program, *arguments], input=given, capture_output=True, text=True, timeout=60, check=False
    )


def rendering(
    *sets: str, values: Path | dict[str, Any] | None = None, version: str = USUAL
) -> subprocess.CompletedProcess[str]:
    """Render with a file of values, or values as they are, and `--set` for each of `sets`."""
    arguments = ["template", "edge", str(CHART), "--namespace", "flags"]
    arguments += ["--kube-version", f"{version}.0"]
    given = None
    if isinstance(values, Path):
        arguments += ["-f", str(values)]
    elif values is not None:
        arguments += ["-f", "-"]
        given = json.dumps(values)
    for each in sets:
        arguments += ["--set", each]
    return helm(*arguments, given=given)


@cache
def rendered(name: str, version: str = USUAL) -> str:
    """Render one of the value sets; helm must succeed."""
    done = rendering(values=VALUES[name], version=version)
    assert done.returncode == 0, done.stderr
    return done.stdout


def documents(text: str) -> list[Document]:
    return [document for document in yaml.safe_load_all(text) if document]


def of_kind(text: str, *kinds: str) -> list[Document]:
    return [document for document in documents(text) if document["kind"] in kinds]


def workload(text: str) -> Document:
    (found,) = of_kind(text, "Deployment", "StatefulSet")
    return found


def pod(text: str) -> Document:
    spec: Document = workload(text)["spec"]["template"]["spec"]
    return spec


def container(text: str) -> Document:
    (found,) = [each for each in pod(text)["containers"] if each["name"] == "evaluation-proxy"]
    own: Document = found
    return own


def texts(value: Any) -> Iterator[str]:
    """Return every text and every key in a document."""
    if isinstance(value, dict):
        for key, inside in value.items():
            yield key
            yield from texts(inside)
    elif isinstance(value, list):
        for inside in value:
            yield from texts(inside)
    else:
        yield str(value)


@cache
def _definitions(version: str) -> Registry[Any]:
    folder = files("kubernetes_validate") / "kubernetes-json-schema"
    name = f"v{version}.0-local-strict"
    definitions = json.loads((folder / name / "_definitions.json").read_text())
    resource: Resource[Any] = Resource.from_contents(definitions)
    empty: Registry[Any] = Registry()
    return resource @ empty


def refused(document: Document, version: str) -> list[str]:
    """Return what a cluster of this version would not take, unknown fields included."""
    if document["kind"] in CUSTOM.get(document["apiVersion"], ()):
        return custom_refused(document)
    group, _, number = document["apiVersion"].rpartition("/")
    kind = "-".join(filter(None, (document["kind"].lower(), group.split(".")[0], number)))
    folder = files("kubernetes_validate") / "kubernetes-json-schema"
    schema = json.loads((folder / f"v{version}.0-local-strict" / f"{kind}.json").read_text())
    registry = Resource.from_contents(schema) @ _definitions(version)
    validator = jsonschema.Draft202012Validator(schema, registry=registry)
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(document)]


TEXT = {"type": "string", "minLength": 1}
LABELS = {"type": "object", "additionalProperties": {"type": "string"}}
SELECTOR = {
    "type": "object",
    "required": ["matchLabels"],
    "additionalProperties": False,
    "properties": {"matchLabels": {**LABELS, "minProperties": 1}},
}


KEY_OF_SECRET = {
    "type": "object",
    "required": ["name", "key"],
    "additionalProperties": False,
    "properties": {"name": TEXT, "key": TEXT},
}


def _login(*keys: str, **more: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "required": [*keys, *more],
        "additionalProperties": False,
        "properties": {**dict.fromkeys(keys, KEY_OF_SECRET), **more},
    }


def _monitor(endpoints: str) -> dict[str, Any]:
    endpoint = {
        "type": "object",
        "required": ["port"],
        "additionalProperties": False,
        "properties": {
            "port": {"type": "string"},
            "path": {"type": "string", "pattern": "^/[^/]"},
            "interval": {"type": "string", "pattern": "^[0-9]+(ms|s|m|h)$"},
            "authorization": _login("credentials", type={"const": "Bearer"}),
            "basicAuth": _login("username", "password"),
        },
    }
    return {
        "type": "object",
        "required": ["selector", endpoints],
        "additionalProperties": False,
        "properties": {
            "selector": SELECTOR,
            endpoints: {"type": "array", "minItems": 1, "items": endpoint},
        },
    }


def _objects(required: list[str], **properties: Any) -> dict[str, Any]:
    item = {
        "type": "object",
        "required": required,
        "additionalProperties": False,
        "properties": properties,
    }
    return {"type": "array", "minItems": 1, "items": item}


RULE = _objects(
    ["alert", "expr", "labels", "annotations"],
    alert=TEXT,
    expr=TEXT,
    labels=LABELS,
    annotations=LABELS,
    **{"for": {"type": "string", "pattern": "^[0-9]+[smh]$"}},
)
PATH_MATCH = {
    "type": "object",
    "required": ["type", "value"],
    "properties": {
        "type": {"enum": ["Exact", "PathPrefix", "RegularExpression"]},
        "value": {"type": "string", "pattern": "^/"},
    },
}
SHAPES: dict[str, dict[str, Any]] = {
    "ServiceMonitor": _monitor("endpoints"),
    "PodMonitor": _monitor("podMetricsEndpoints"),
    "PrometheusRule": {
        "type": "object",
        "required": ["groups"],
        "additionalProperties": False,
        "properties": {"groups": _objects(["name", "rules"], name=TEXT, rules=RULE)},
    },
    "HTTPRoute": {
        "type": "object",
        "required": ["parentRefs", "rules"],
        "additionalProperties": False,
        "properties": {
            "parentRefs": _objects(["name"], name=TEXT, namespace=TEXT, sectionName=TEXT),
            "hostnames": {"type": "array", "items": TEXT},
            "rules": _objects(
                ["matches", "backendRefs"],
                matches=_objects(["path"], path=PATH_MATCH),
                backendRefs=_objects(["name", "port"], name=TEXT, port={"type": "integer"}),
            ),
        },
    },
}


def custom_refused(document: Document) -> list[str]:
    """Return what is wrong with a custom resource, by the shape that we use of it."""
    schema = {
        "type": "object",
        "required": ["apiVersion", "kind", "metadata", "spec"],
        "additionalProperties": False,
        "properties": {
            "apiVersion": TEXT,
            "kind": TEXT,
            "metadata": {"type": "object", "required": ["name"]},
            "spec": SHAPES[document["kind"]],
        },
    }
    errors = jsonschema.Draft202012Validator(schema).iter_errors(document)
    return [f"{error.json_path}: {error.message}" for error in errors]
