"""Whether Amplitude is asked for variants."""

from pathlib import Path

import pytest

from tests.settings.asking import KEYS, configured, loaded, mistakes_of, written


@pytest.mark.parametrize(
    ("written_as", "expected"),
    [
        ("off", "off"),
        ("false", "off"),
        ("Fallback", "fallback"),
        ("merge", "merge"),
        ('"merge"', "merge"),
    ],
)
def test_the_mode_survives_what_charts_make_of_off(
    tmp_path: Path, written_as: str, expected: str
) -> None:
    lines = f"remoteEvaluation:\n  mode: {written_as}"

    assert loaded({}, configured(tmp_path, lines)).remote_evaluation.mode == expected


def test_a_json_file_may_say_false(tmp_path: Path) -> None:
    path = written(
        tmp_path, '{"configuration": {"remoteEvaluation": {"mode": false}}}', "proxy.json"
    )

    assert loaded(KEYS, path).remote_evaluation.mode == "off"


def test_another_mode_is_a_mistake() -> None:
    (mistake,) = mistakes_of({**KEYS, "AMPLITUDE_REMOTE_EVALUATION_MODE": "on"})

    assert "one of fallback, merge, off" in mistake


def test_a_server_of_another_zone_is_noticed() -> None:
    url = {"AMPLITUDE_REMOTE_EVALUATION_SERVER_URL": "https://api.lab.eu.amplitude.com"}

    notices = loaded({**KEYS, **url}).notices

    assert any("REMOTE_EVALUATION_SERVER_URL" in notice for notice in notices)
