"""The alert rules: each fires for the series that it is made for, and clears when they recover."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from proxy.instruments import PREFIX
from proxy.settings.leaves import leaves
from proxy.settings.schema import Configuration
from tests.clients.running import skip_for_lack_of
from tests.deploy.charts import ROOT
from tests.documents import families

RULES = ROOT / "config" / "alerts.yaml"
WHERE = {"job": "proxy", "instance": "pod-1:9090"}


class Case(NamedTuple):
    """Series by the minute, in promtool's notation, and when an alert is there and when not."""

    series: dict[str, str]
    labels: dict[str, str]
    quiet: str
    fires: str
    clears: str


def requests(status: str, values: str) -> dict[str, str]:
    labels = f'route="/sdk/v2/vardata",status="{status}"'
    return {f"http_request_duration_seconds_count{{{labels}}}": values}


def durations(name: str, labels: str, slow: str, fast: str) -> dict[str, str]:
    """A histogram of which `slow` is what took a second, and `fast` what took a millisecond."""
    return {
        f'{name}_bucket{{{labels}le="0.001"}}': fast,
        f'{name}_bucket{{{labels}le="1.0"}}': slow,
        f'{name}_bucket{{{labels}le="+Inf"}}': slow,
    }


CASES = {
    "Down": Case(
        {"build_info": "1+0x10 _x20 1+0x30", "up": "1+0x10 0+0x20 1+0x30"}, {}, "9m", "14m", "35m"
    ),
    "NotReady": Case({"ready": "1+0x5 0+0x10 1+0x10"}, {}, "10m", "13m", "18m"),
    "FlagsOld": Case(
        {'snapshot_age_seconds{deployment="web"}': "60+60x30 0+0x10"},
        {"deployment": "web"},
        "18m",
        "25m",
        "32m",
    ),
    "FlagsLeftOut": Case(
        {'flags_left_out{deployment="web"}': "2+0x20 0+0x10"},
        {"deployment": "web"},
        "14m",
        "16m",
        "22m",
    ),
    "CohortsMissing": Case(
        {
            'cohorts{project="shop",state="missing"}': "1+0x20 0+0x10",
            'cohorts{project="shop",state="here"}': "5+0x30",
        },
        {"project": "shop"},
        "14m",
        "16m",
        "22m",
    ),
    "CohortsOld": Case(
        {'cohort_oldest_age_seconds{project="shop"}': "3000+60x40 60+0x10"},
        {"project": "shop"},
        "20m",
        "35m",
        "42m",
    ),
    "Errors": Case(
        requests("2xx", "0+1000x60") | requests("5xx", "0+20x20 400+0x40"),
        {},
        "4m",
        "15m",
        "40m",
    ),
    "Slow": Case(
        durations(
            "http_request_duration_seconds",
            'route="/sdk/v2/vardata",status="2xx",',
            "0+1000x60",
            "0+900x20 19000+1000x40",
        ),
        {},
        "8m",
        "18m",
        "40m",
    ),
    "Busy": Case(
        durations("event_loop_delay_seconds", "", "0+1000x60", "0+500x20 11000+1000x40"),
        {},
        "8m",
        "18m",
        "40m",
    ),
    "EventsDropped": Case(
        {'events_dropped_total{project="shop",reason="full"}': "0+0x10 1+0x40"},
        {"project": "shop", "reason": "full"},
        "9m",
        "12m",
        "40m",
    ),
    "EventsWait": Case(
        {'events_oldest_age_seconds{project="shop"}': "60+60x30 0+0x10"},
        {"project": "shop"},
        "18m",
        "25m",
        "32m",
    ),
    "EventsInMemory": Case(
        {"spool_on_disk": "1+0x5 0+0x10 1+0x10", 'configured{what="data_dir"}': "1+0x30"},
        {},
        "10m",
        "13m",
        "18m",
    ),
    "StoreFails": Case(
        {"store_ok": "1+0x5 0+0x10 1+0x10", 'configured{what="data_dir"}': "1+0x30"},
        {},
        "10m",
        "13m",
        "18m",
    ),
    "LoopDies": Case(
        {'loop_deaths_total{loop="sync"}': "1+0x5 2+1x5 7+0x40"},
        {"loop": "sync"},
        "5m",
        "12m",
        "40m",
    ),
    "ConfigurationRefused": Case(
        {"config_last_reload_successful": "1+0x10 0+0x10 1+0x10"}, {}, "14m", "18m", "23m"
    ),
    "OfflineRefused": Case(
        {'offline_ok{kind="snapshot"}': "1+0x5 0+0x10 1+0x10"},
        {"kind": "snapshot"},
        "10m",
        "13m",
        "18m",
    ),
    "PollsOnly": Case(
        {
            'stream_connected{deployment="web"}': "0+0x40 1+0x10",
            'configured{what="stream"}': "1+0x50",
        },
        {"deployment": "web"},
        "29m",
        "35m",
        "45m",
    ),
    "PatternsGivenUp": Case(
        {'regex_timeouts_total{flag="slow"}': "0+1x20 20+0x40"},
        {"flag": "slow"},
        "4m",
        "15m",
        "50m",
    ),
    "CertificateExpires": Case(
        # At minute 20, a week is left; at minute 40 there are new files.
        {"tls_certificate_expiry_timestamp_seconds": "606000+0x40 6060000+0x20"},
        {},
        "15m",
        "25m",
        "50m",
    ),
    "Refuses": Case(
        {
            'admission_refused_total{tier="address",reason="rate"}': "0+10x30 300+0x40",
            'admission_refused_total{tier="deployment",reason="rate"}': "0+1x60",
            "request_total": "0+100x70",
        },
        {"tier": "address", "reason": "rate"},
        "8m",
        "20m",
        "50m",
    ),
    "Sheds": Case({"shed_share": "0+0x5 0.3+0x10 0+0x10"}, {}, "10m", "13m", "18m"),
    "RelayRests": Case({"relay_resting": "0+0x5 1+0x10 0+0x10"}, {}, "10m", "13m", "18m"),
    "StreamsCut": Case(
        {
            'client_streams_cut_total{reason="stalled"}': "0+10x30 300+0x40",
            'client_streams_cut_total{reason="unread"}': "0+0x70",
            'client_streams{deployment="web"}': "200+0x70",
        },
        {"reason": "stalled"},
        "4m",
        "25m",
        "60m",
    ),
    "StreamsRefused": Case(
        {'client_streams_refused_total{reason="full"}': "0+1x20 20+0x40"},
        {"reason": "full"},
        "4m",
        "15m",
        "50m",
    ),
    "PagesOld": Case(
        {
            'web_answers_total{what="flags",outcome="stale"}': "0+10x30 300+0x40",
            'web_answers_total{what="flags",outcome="hit"}': "0+90x70",
            'web_answers_total{what="scripts",outcome="hit"}': "0+90x70",
        },
        {"what": "flags"},
        "8m",
        "20m",
        "55m",
    ),
}

# What is not to raise an alert, though it looks like it.
FALSE_ALARMS = {
    "EventsInMemory": {"spool_on_disk": "0+0x90", 'configured{what="data_dir"}': "0+0x90"},
    "StoreFails": {"store_ok": "0+0x90", 'configured{what="data_dir"}': "0+0x90"},
    "PollsOnly": {
        'stream_connected{deployment="web"}': "0+0x90",
        'configured{what="stream"}': "0+0x90",
    },
    "FlagsOld": {
        'snapshot_age_seconds{deployment="web"}': "9000+60x90",
        'offline_ok{kind="snapshot"}': "1+0x90",
    },
    "CohortsOld": {
        'cohort_oldest_age_seconds{project="shop"}': "9000+60x90",
        'offline_ok{kind="snapshot"}': "1+0x90",
    },
    "EventsWait": {
        'events_oldest_age_seconds{project="shop"}': "9000+60x90",
        'offline_ok{kind="directory"}': "0+0x90",
    },
    "CertificateExpires": {"tls_certificate_expiry_timestamp_seconds": "0+0x90"},
    "StreamsCut": {
        'client_streams_cut_total{reason="stalled"}': "0+1x90",
        'client_streams{deployment="web"}': "2000+0x90",
    },
    "Slow": durations("http_request_duration_seconds", 'route="/sdk/v2/vardata",', "0x90", "0x90"),
    "Down": {"up": "0+0x90"},
}


def rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(RULES.read_text())["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def promtool(*arguments: str) -> str:
    program = shutil.which("promtool")
    if program is None:
        skip_for_lack_of("promtool")
        raise AssertionError
    done = subprocess.run(
        [program, *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def series(given: dict[str, str]) -> list[dict[str, str]]:
    """Name the series in full: our prefix, and where they are scraped."""
    where = ",".join(f'{key}="{value}"' for key, value in WHERE.items())
    found = []
    for name, values in given.items():
        bare, _, labels = name.rstrip("}").partition("{")
        own = bare if bare == "up" else PREFIX + bare
        inside = ",".join(filter(None, (labels, where)))
        found.append({"series": f"{own}{{{inside}}}", "values": values})
    return found


def firing(alert: str, at: str, labels: dict[str, str] | None) -> dict[str, Any]:
    """What promtool is to see of an alert at a time: one that fires, or none."""
    name = f"EvaluationProxy{alert}"
    query = f'ALERTS{{alertname="{name}",alertstate="firing"}}'
    severity = next(rule["labels"]["severity"] for rule in rules() if rule["alert"] == name)
    every = {**WHERE, **(labels or {}), "severity": severity}
    every |= {"alertname": name, "alertstate": "firing"}
    shown = ",".join(f'{key}="{value}"' for key, value in sorted(every.items()))
    samples = [] if labels is None else [{"labels": f"ALERTS{{{shown}}}", "value": 1}]
    return {"expr": query, "eval_time": at, "exp_samples": samples}


def judged(directory: Path, series_and_queries: list[tuple[dict[str, str], Any]]) -> None:
    tests = [
        {"interval": "1m", "input_series": series(given), "promql_expr_test": queries}
        for given, queries in series_and_queries
    ]
    file = directory / "alerts_test.yaml"
    content = {"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": tests}
    file.write_text(yaml.safe_dump(content))
    promtool("test", "rules", str(file))


@pytest.mark.needs("promtool")
def test_the_rules_are_well_formed() -> None:
    assert f"{len(rules())} rules found" in promtool("check", "rules", str(RULES))


@pytest.mark.needs("promtool")
def test_each_alert_fires_and_clears(tmp_path: Path) -> None:
    told = [
        (
            case.series,
            [
                firing(alert, case.quiet, None),
                firing(alert, case.fires, case.labels),
                firing(alert, case.clears, None),
            ],
        )
        for alert, case in CASES.items()
    ]

    judged(tmp_path, told)


@pytest.mark.needs("promtool")
def test_what_is_switched_off_or_idle_raises_no_alert(tmp_path: Path) -> None:
    told = [
        (given, [firing(alert, at, None) for at in ("10m", "40m", "80m")])
        for alert, given in FALSE_ALARMS.items()
    ]

    judged(tmp_path, told)


@pytest.mark.needs("promtool")
def test_a_loss_before_the_first_scrape_fires_too(tmp_path: Path) -> None:
    lost = {'events_dropped_total{project="shop",reason="damaged"}': "_x5 3+0x60"}
    labels = {"project": "shop", "reason": "damaged"}

    judged(
        tmp_path,
        [
            (
                lost,
                [firing("EventsDropped", "7m", labels), firing("EventsDropped", "40m", None)],
            )
        ],
    )


def test_every_alert_has_its_case() -> None:
    assert [rule["alert"] for rule in rules()] == [f"EvaluationProxy{name}" for name in CASES]


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_an_alert_says_what_is_wrong_whom_it_hurts_and_what_to_do(rule: dict[str, Any]) -> None:
    case = CASES[rule["alert"].removeprefix("EvaluationProxy")]
    said = rule["annotations"]
    keys = {leaf.key for leaf in leaves(Configuration)}

    assert set(said) == {"summary", "impact", "action"}
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    words = " ".join(said.values())
    assert set(re.findall(r"\$labels\.(\w+)", words)) <= (WHERE | case.labels).keys()
    plain = re.sub(r"\{\{.*?\}\}", "", words)
    assert set(re.findall(r"\b(?:[a-z]+\.)?[a-z]+[A-Z]\w+", plain)) <= keys


def test_every_metric_in_the_rules_exists() -> None:
    known = {sample for family in families() for sample in family.samples}

    for rule in rules():
        named = set(re.findall(rf"{PREFIX}\w+", rule["expr"]))
        assert named <= known, rule["alert"]
        assert named
