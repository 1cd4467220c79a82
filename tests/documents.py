"""Writes what is generated: tables, schemas, copies; tests hold them to their source."""

import json
import re
from pathlib import Path
from typing import NamedTuple, get_args

import yaml

from proxy.instruments import PREFIX
from proxy.metrics import Metrics
from proxy.openapi.conditions import CONDITIONS
from proxy.openapi.document import WHEN, Port, operations, text_of
from proxy.settings import documents
from proxy.settings.changes import is_reloaded
from proxy.settings.leaves import leaves
from proxy.settings.schema import Configuration
from proxy.telemetry import attributes
from tests.advice import AREAS

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
CONFIG = ROOT / "config"
CHART = ROOT / "helm" / "evaluation-proxy"
VALUES_SCHEMA = CHART / "values.schema.json"
RELOAD_PAGE = ROOT / "docs" / "reload.md"
METRICS_PAGE = ROOT / "docs" / "metrics.md"
API_PAGE = ROOT / "docs" / "api.md"
KEYS = {"clients": "a deployment's key", "operators": "the credential"}
TELEMETRY_PAGE = ROOT / "docs" / "opentelemetry.md"
COPIED = ("alerts.yaml", "dashboard.json")
"""Helm reads nothing outside a chart: these stand in it once more."""


SUFFIXES = {"histogram": ("_bucket", "_sum", "_count"), "summary": ("", "_sum", "_count")}


class Family(NamedTuple):
    """A metric: its name, what it is, its labels, its meaning, and the names of its samples."""

    name: str
    type: str
    labels: tuple[str, ...]
    meaning: str
    samples: frozenset[str]


def families() -> list[Family]:
    """Every metric of ours, in order."""
    metrics = Metrics()
    metrics.http_seconds.labels("GET", "/", 200)
    for series in vars(metrics).values():
        if hasattr(series, "_labelnames") and series._labelnames:
            series.labels(*series._labelnames)
    found = []
    for family in metrics.registry.collect():
        if not family.name.startswith(PREFIX):
            continue  # the process's own, which every Prometheus client has
        name = family.name + ("_total" if family.type == "counter" else "")
        labels = dict.fromkeys(label for sample in family.samples for label in sample.labels)
        found.append(
            Family(
                name,
                family.type,
                tuple(label for label in labels if label != "le"),
                family.documentation,
                frozenset(name + suffix for suffix in SUFFIXES.get(family.type, ("",))),
            )
        )
    return found


def metrics_table() -> str:
    rows = ["| metric | type | labels | meaning |", "|---|---|---|---|"]
    for family in families():
        labels = ", ".join(f"`{label}`" for label in family.labels)
        name = family.name.removeprefix(PREFIX)
        rows.append(f"| `{name}` | {family.type} | {labels} | {family.meaning} |")
    return "\n".join(rows)


METRICS_HEAD = """\
# What each number means and when to worry

Prometheus reads these at `/metrics` on the operators' port; every name begins with
`amplitude_proxy_`.
`config/alerts.yaml` has the alerts of the last column, each with what to do first;
`config/dashboard.json` is a dashboard for Grafana. Both are in the Helm chart, too.
This page is generated from the code (`make docs`).
"""


def metrics_page() -> str:
    """Each metric with its meaning, when to worry, and the alerts that watch it."""
    known = {family.name.removeprefix(PREFIX): family for family in families()}
    (group,) = yaml.safe_load((CONFIG / "alerts.yaml").read_text())["groups"]
    blocks = [METRICS_HEAD]
    for area in AREAS:
        rows = ["| metric | what it says | when to worry | alert |", "|---|---|---|---|"]
        for name, worry in area.advice.items():
            family = known[name]
            watched = [
                rule["alert"].removeprefix("EvaluationProxy")
                for rule in group["rules"]
                if family.samples & set(re.findall(rf"{PREFIX}\w+", rule["expr"]))
            ]
            labels = f" {{{', '.join(family.labels)}}}" if family.labels else ""
            cells = f"`{name}`{labels}", family.meaning, worry, ", ".join(watched)
            rows.append(f"| {' | '.join(cells)} |")
        blocks += [f"## {area.title}\n\n{area.about}\n", "\n".join(rows) + "\n"]
    return "\n".join(blocks)


def with_block(text: str, name: str, block: str) -> str:
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    head, rest = text.split(begin)
    tail = rest.split(end)[1]
    return f"{head}{begin}\n{block}\n{end}{tail}"


def readme() -> str:
    text = with_block(README.read_text(), "settings", documents.settings_table())
    return with_block(text, "metrics", metrics_table())


def values_schema() -> str:
    """The schema of the chart's values: by hand, but for the proxy's own configuration."""
    schema = json.loads(VALUES_SCHEMA.read_text())
    own = documents.json_schema()
    schema["properties"]["evaluationProxy"] = {
        key: own[key] for key in ("type", "additionalProperties", "properties")
    }
    return json.dumps(schema, indent=2) + "\n"


def telemetry_page() -> str:
    """The page on OpenTelemetry, with every attribute that a span may have."""
    rows = ["| attribute | of | what it says |", "|---|---|---|"]
    for name, attribute in attributes.TABLE.items():
        rows.append(f"| `{name}` | {attribute.spans} | {attribute.meaning} |")
    return with_block(TELEMETRY_PAGE.read_text(), "attributes", "\n".join(rows))


def routes_table(port: Port) -> str:
    """Every route of a port: what it does, who may ask, which statuses are its own."""
    rows = ["| route | what it does | needs | statuses | while |", "|---|---|---|---|---|"]
    text = text_of(port)
    for path, method, operation in operations(text):
        needs = operation.get("security", text["security"])
        key = "" if not needs else "both project keys" if "projectKeys" in needs[0] else KEYS[port]
        if operation["tags"] == ["events"]:
            key = "an API key in the body"
        condition = text["paths"][path].get(WHEN)
        cells = (
            f"`{method.upper()} {path}`",
            operation["summary"],
            key,
            ", ".join(sorted(operation["responses"])),
            CONDITIONS[condition].decided_by if condition else "",
        )
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def api_page() -> str:
    """The page on all routes, with a table for each port."""
    text = API_PAGE.read_text()
    for port in get_args(Port):
        text = with_block(text, port, routes_table(port))
    return text


def reload_page() -> str:
    """The page on reloading, with all settings that take effect while the proxy serves."""
    rows = ["| setting under `configuration:` | meaning |", "|---|---|"]
    rows += [
        f"| `{leaf.key}` | {leaf.meaning} |"
        for leaf in leaves(Configuration)
        if is_reloaded(leaf.key)
    ]
    return with_block(RELOAD_PAGE.read_text(), "reloaded", "\n".join(rows))


def generated() -> dict[Path, str]:
    """Every file that is written as a whole, with what it should hold."""
    return {
        VALUES_SCHEMA: values_schema(),
        METRICS_PAGE: metrics_page(),
        API_PAGE: api_page(),
        TELEMETRY_PAGE: telemetry_page(),
        RELOAD_PAGE: reload_page(),
        **{CHART / "files" / name: (CONFIG / name).read_text() for name in COPIED},
    }


if __name__ == "__main__":
    documents.write(ROOT)
    README.write_text(readme())
    for path, text in generated().items():
        path.write_text(text)
