"""Our engine against Amplitude's own: the Kotlin reference, and the JavaScript port."""

import io
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from proxy.cli.lines import Lines
from tests.kotlin.cases import Cases

HERE = Path(__file__).parent
CLIENTS = HERE.parent / "clients"
COUNT = int(os.environ.get("DIFFERENTIAL_CASES", "2000"))
SEED = int(os.environ.get("DIFFERENTIAL_SEED", "1"))
REFERENCE = "com.amplitude:evaluation-core:2.3.0"


def missing(reason: str) -> None:
    """Skip by name; where everything should be installed, fail."""
    assert not os.environ.get("CI"), reason
    pytest.skip(reason)


def run(command: list[str], where: Path, cases: list[str]) -> list[Any]:
    done = subprocess.run(
        command, cwd=where, input="\n".join(cases).encode(), capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def ours(cases: list[str]) -> list[Any]:
    answers = io.BytesIO()
    Lines().run(io.BytesIO("\n".join(cases).encode()), answers)
    return [json.loads(line) for line in answers.getvalue().splitlines()]


def comparable(results: dict[str, Any]) -> dict[str, Any]:
    """Take a null member, and empty metadata, for absent."""
    if "error" in results:
        return results
    return {
        key: {
            name: value
            for name, value in variant.items()
            if value is not None and not (name == "metadata" and not value)
        }
        for key, variant in results.items()
    }


def differences(cases: list[str], theirs: list[Any]) -> list[str]:
    found = ours(cases)
    assert len(found) == len(theirs) == len(cases)
    return [
        f"{case}\n  ours   {json.dumps(comparable(our))}\n  theirs {json.dumps(comparable(their))}"
        for case, our, their in zip(cases, found, theirs, strict=True)
        if comparable(our) != comparable(their)
    ]


def report(found: list[str]) -> str:
    shortest = sorted(found, key=len)[:3]
    return f"{len(found)} of {COUNT} cases differ; the shortest:\n" + "\n".join(shortest)


def test_the_cases_are_worth_comparing() -> None:
    """They give all variants, and no variant, in a fair share, and need every operator."""
    for wide in (False, True):
        cases = list(Cases(SEED, wide=wide).lines(500))
        keys = [variant["key"] for results in ours(cases) for variant in results.values()]
        assert {"on", "off", "red", "blue"} == set(keys)
        assert 0.5 < len(keys) / len(cases) < 5
        said = " ".join(cases)
        assert all(f'"{op}"' in said for op in ("regex match", "set contains", "version less"))


@pytest.mark.needs("node")
def test_the_javascript_engine_answers_alike() -> None:
    if shutil.which("node") is None:
        missing("needs node")
    if not (CLIENTS / "node_modules").is_dir():
        missing("needs node modules (make clients)")
    cases = list(Cases(SEED, wide=False).lines(COUNT))

    found = differences(cases, run(["node", "engine_lines.js"], CLIENTS, cases))

    assert not found, report(found)


@pytest.fixture(scope="module")
def reference() -> list[str]:
    """The command that evaluates lines with the Kotlin engine, built if it can be."""
    for tool in ("java", "mvn"):
        if shutil.which(tool) is None:
            missing(f"needs {tool}")
    built = subprocess.run(
        ["mvn", "-q", "-B", "compile"], cwd=HERE, capture_output=True, check=False, text=True
    )
    said = built.stdout + built.stderr
    if built.returncode and "resolve dependencies" in said and "evaluation-core" in said:
        pytest.skip(f"needs {REFERENCE}, which the Maven repository in use does not have")
    assert built.returncode == 0, said[-2000:]
    return ["java", "-cp", "target/classes:target/dependency/*", "Reference"]


@pytest.mark.needs("mvn")
def test_the_kotlin_reference_answers_alike(reference: list[str]) -> None:
    cases = list(Cases(SEED, wide=True).lines(COUNT))
    theirs = run(reference, HERE, cases)

    # A pattern that does not compile fails the reference's whole evaluation; ours goes on.
    told = [at for at, each in enumerate(theirs) if each != {"error": "PatternSyntaxException"}]
    found = differences([cases[at] for at in told], [theirs[at] for at in told])

    assert len(told) > 0.9 * len(cases)
    assert not found, report(found)
