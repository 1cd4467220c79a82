"""The dashboard asks for numbers that exist, with queries that Prometheus understands."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from proxy.instruments import PREFIX
from tests.deploy.charts import ROOT
from tests.deploy.test_alerts import promtool
from tests.documents import families

DASHBOARD: dict[str, Any] = json.loads((ROOT / "config" / "dashboard.json").read_text())
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]


def queries() -> list[str]:
    shown = [target["expr"] for panel in PANELS for target in panel["targets"]]
    return shown + [each["expr"] for each in DASHBOARD["annotations"]["list"]]


def test_every_metric_on_the_dashboard_exists() -> None:
    known = {sample for family in families() for sample in family.samples}
    listed = [
        each["definition"] for each in DASHBOARD["templating"]["list"] if "definition" in each
    ]

    for query in queries() + listed:
        assert set(re.findall(rf"{PREFIX}\w+", query)) <= known


def test_every_label_on_the_dashboard_exists() -> None:
    labels = {label for family in families() for label in family.labels}

    for panel in PANELS:
        for target in panel["targets"]:
            shown = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            assert shown <= labels | {"instance"}


def test_panels_have_a_datasource_to_choose_and_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in PANELS:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert panel["datasource"]["uid"] == "${datasource}"
        assert place["x"] + place["w"] <= 24
        assert not taken & cells, panel["title"]
        taken |= cells
    assert len({panel["title"] for panel in PANELS}) == len(PANELS) >= 12


@pytest.mark.needs("promtool")
def test_prometheus_understands_every_query(tmp_path: Path) -> None:
    rules = [
        {"record": f"q{number}", "expr": re.sub(r"\$__rate_interval", "5m", query)}
        for number, query in enumerate(queries())
    ]
    file = tmp_path / "queries.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))

    assert f"{len(rules)} rules found" in promtool("check", "rules", str(file))
