"""What the pages name exists: links, settings, variables, metrics, alerts, commands."""

import argparse
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from proxy.cli.main import _parser
from proxy.instruments import PREFIX
from proxy.settings.leaves import FILE, FILE_ENVIRONMENT, Leaf, leaves
from proxy.settings.schema import Configuration, Project
from tests import documents
from tests.deploy.charts import CHART
from tests.docs.laid import lay_certificates
from tests.docs.pages import LINKED, PAGES, ROOT, anchors, blocks, label, links, names, prose
from tests.system.programs import Pair, get_json

EACH = pytest.mark.parametrize("page", PAGES, ids=label)
OF_THE_READER = {"config/projects.yaml"}
ENVIRONMENT = {"AMPLITUDE_LOG_LEVEL", "PROXY_CONFIG_FILE_PATH", "PROXY_PROJECTS_FILE_PATH"}
FILES = re.compile(
    r"\.(md|ya?ml|json|py|js|ts|html|css|service|lock|toml|txt|log|sock|crt|key|damaged)$"
)


@pytest.mark.parametrize("page", LINKED, ids=label)
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in links(page):
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), f"{page.name}: {link}"
        assert target == ROOT or ROOT in target.parents, (
            f"{page.name}: {link} leaves the repository"
        )
        if anchor:
            assert anchor in anchors(target), f"{page.name}: {link}"


def test_every_page_is_in_the_index() -> None:
    index = ROOT / "docs" / "README.md"
    listed = {link.partition("#")[0] for link in links(index)}

    assert {page.name for page in index.parent.glob("*.md")} - {"README.md"} <= listed


@cache
def settings() -> dict[str, Leaf]:
    return {leaf.key: leaf for leaf in leaves(Configuration)}


@cache
def values() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
    return found


def dotted(page: Path) -> Iterator[str]:
    """Names such as `admission.publicEdge`, with what stands behind them taken off."""
    for name in names(page):
        if FILES.search(name) or "/" in name:
            continue
        found = re.match(r"([a-z]\w*(?:\.\w+)+)(?:\.\*|: .*| .*)?$", name)
        if found is not None:
            yield found[1]


@EACH
def test_every_setting_exists(page: Path) -> None:
    sections = {key.partition(".")[0] for key in settings() if "." in key}
    known = set(settings()) | {
        f"{leaf.key}{FILE}" for leaf in settings().values() if leaf.is_secret
    }
    for name in dotted(page):
        # What has a dash below is a field of /status: the section `offline` is there, too.
        if name.partition(".")[0] in sections and "_" not in name:
            assert name in known, f"{page.name} speaks of the setting {name}"


@EACH
def test_every_value_of_the_chart_exists(page: Path) -> None:
    for name in dotted(page):
        first, *rest = name.split(".")
        inside: Any = values().get(first)
        if inside is None or first == "evaluationProxy":
            continue
        for key in rest:
            assert isinstance(inside, dict), f"{page.name} speaks of the value {name}"
            if not inside:
                break  # a map that is the user's
            assert key in inside, f"{page.name} speaks of the value {name}"
            inside = inside[key]


@EACH
def test_every_variable_exists(page: Path) -> None:
    every = [*leaves(Configuration), *leaves(Project)]
    known = {leaf.environment for leaf in every} | ENVIRONMENT
    known |= {f"{leaf.environment}{FILE_ENVIRONMENT}" for leaf in every if leaf.is_secret}

    named = set(re.findall(r"\b(?:AMPLITUDE|PROXY)_[A-Z_]+[A-Z]\b", page.read_text()))

    assert named <= known


OF_OTHERS = {
    *("emptyDir", "secretKeyRef", "appVersion", "subPath"),  # Kubernetes and Helm
    *("flagsServerUrl", "server_url", "cohort_server_url", "unhandledRejection"),  # SDKs
    *("lastModified", "expKey", "evaluationMode"),  # Amplitude's interface
}
"""Names in the form of settings that are no settings of ours."""


def inside(document: Any) -> Iterator[str]:
    """Every key of a document."""
    if isinstance(document, dict):
        for key, below in document.items():
            yield key
            yield from inside(below)


@EACH
def test_every_name_in_the_form_of_a_setting_is_one(page: Path) -> None:
    every = [*leaves(Configuration), *leaves(Project)]
    known = {part for leaf in every for part in leaf.path} | set(inside(values())) | OF_OTHERS
    known |= {f"{leaf.path[-1]}{FILE}" for leaf in every if leaf.is_secret}
    for name in names(page):
        found = re.fullmatch(r"([a-z]+[A-Z]\w*)(?:: .*)?", name)
        assert found is None or found[1] in known, f"{page.name} speaks of the setting {name}"


@cache
def samples() -> dict[str, set[str]]:
    """Every name of a sample, and of a family, with its labels; without the common beginning."""
    found: dict[str, set[str]] = {}
    for family in documents.families():
        for name in {family.name, *family.samples}:
            found[name.removeprefix(PREFIX)] = set(family.labels) | {"le", "quantile"}
    return found


@cache
def source() -> str:
    return "".join(path.read_text() for path in (ROOT / "proxy").rglob("*.py"))


def is_spoken_of(name: str) -> bool:
    """Whether a name in small letters is a metric, a field or a reason that the code knows."""
    own = name.removeprefix(PREFIX)
    if own in samples() or own.startswith("process_") or own in OF_OTHERS:
        return True
    return re.search(rf"\b{own}\b", source()) is not None


@EACH
def test_every_metric_exists(page: Path) -> None:
    for name in re.findall(rf"{PREFIX}\w*[a-z]\b(?!…)", page.read_text()):
        assert name.removeprefix(PREFIX) in samples(), f"{page.name} speaks of {name}"
    for name in names(page):
        found = re.fullmatch(rf"(?:{PREFIX})?([a-z]+(?:_[a-z0-9]+)+)(?:\{{(.*)\}})?", name)
        if found is None or not (found[2] or found[1].endswith("_total")):
            assert found is None or is_spoken_of(name), f"{page.name} speaks of {name}"
            continue
        assert found[1] in samples(), f"{page.name} speaks of the metric {name}"
        labels = set(re.findall(r"(\w+)(?==|,|$)", re.sub(r'"[^"]*"', "", found[2] or "")))
        assert labels <= samples()[found[1]], f"{page.name} speaks of the labels of {name}"


@EACH
def test_every_alert_exists(page: Path) -> None:
    groups = yaml.safe_load((ROOT / "config" / "alerts.yaml").read_text())["groups"]
    alerts = {rule["alert"] for group in groups for rule in group["rules"]}

    named = set(re.findall(r"\bEvaluationProxy[A-Z]\w+", page.read_text()))

    assert named <= alerts


@EACH
def test_every_command_exists(page: Path) -> None:
    (known,) = [
        set(action.choices)
        for action in _parser()._actions
        if isinstance(action, argparse._SubParsersAction)
    ]
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for name in names(page):
        if found := re.match(r"(?:\.venv/bin/)?evaluation-proxy ([a-z]\w*)", name):
            assert found[1] in known, f"{page.name}: {name}"
        if found := re.match(r"make ([a-z-]+)", name):
            assert found[1] in targets, f"{page.name}: {name}"


@EACH
def test_every_file_that_is_named_exists(page: Path) -> None:
    for name in names(page):
        if re.fullmatch(r"(config|helm|docs|bench|tests)/[\w./-]+", name) and (
            name not in OF_THE_READER
        ):
            assert (ROOT / name).exists(), f"{page.name}: {name}"


@EACH
def test_every_log_line_is_logged(page: Path) -> None:
    said = re.findall(r"\blog(?: line)? ((?:`[^`]+`(?:, (?:later )?| and )?)+)", prose(page))
    for text in re.findall(r"`([^`]+)`", " ".join(said)):
        assert f'"{text}' in source(), f"{page.name} speaks of the log line {text}"


@pytest.mark.system
def test_every_path_of_the_status_is_there(tmp_path: Path) -> None:
    pair = Pair(tmp_path, ROOT / "config" / "sandbox.yaml")
    config = pair.config()
    # Parts that are off show nothing.
    config["configuration"]["remoteEvaluation"] = {"mode": "merge", "serverUrl": pair.upstream}
    config["configuration"]["otel"] = {"enabled": True, "endpoint": pair.upstream}
    tls = {"certFile": f"{tmp_path}/tls.crt", "keyFile": f"{tmp_path}/tls.key"}
    lay_certificates(yaml.safe_dump(tls), tmp_path)
    config["configuration"]["tls"] = tls
    pair.config_file.write_text(json.dumps(config))
    with pair.sandbox(), pair.serve():
        status = get_json(f"{pair.operators}/status")

    for page in PAGES:
        for name in dotted(page):
            first, *rest = name.split(".")
            if first not in status or first in {key.partition(".")[0] for key in settings()}:
                continue
            found = status[first]
            for key in rest:
                assert key in found, f"{page.name} speaks of {name} in /status"
                found = found[key]


def test_names_are_found_where_they_stand() -> None:
    page = ROOT / "docs" / "streams.md"

    assert "streams.enabled" in dotted(page)
    assert "what-you-see" in anchors(page)
    assert any(block.language == "python" for block in blocks(page))
