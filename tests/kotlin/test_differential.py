"""Our engine against Amplitude's own: the Kotlin reference, and the JavaScript port.

The Kotlin comparison runs when asked for (`make differential`). It needs java and Maven, and the
reference in the Maven repository in use. For machines where it is not there, KOTLIN_REFERENCE_JAR
gives the class path of a build of it instead, with the Kotlin and kotlinx-serialization-json jars
(`/some/engine.jar:/some/libraries/*`); then a JDK is enough.
"""

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
REFERENCE = "com.amplitude:evaluation-core-jvm:2.3.0"
GIVEN_REFERENCE = os.environ.get("KOTLIN_REFERENCE_JAR")


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


def build(command: list[str]) -> None:
    """Build the runner of the reference, or say what it lacks: whoever asked for it wants it."""
    if shutil.which(command[0]) is None:
        pytest.fail(f"the Kotlin comparison needs {command[0]}", pytrace=False)
    done = subprocess.run(command, cwd=HERE, capture_output=True, check=False, text=True)
    said = done.stdout + done.stderr
    if done.returncode and "resolve dependencies" in said and "evaluation-core" in said:
        pytest.fail(
            f"the Kotlin comparison needs {REFERENCE}, which the Maven repository in use does not "
            "have; KOTLIN_REFERENCE_JAR can give its class path",
            pytrace=False,
        )
    assert done.returncode == 0, said[-2000:]


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command that evaluates lines with the Kotlin engine."""
    if not GIVEN_REFERENCE:
        build(["mvn", "-q", "-B", "compile"])
        return ["java", "-cp", "target/classes:target/dependency/*", "Reference"]
    classes = str(tmp_path_factory.mktemp("reference"))
    build(["javac", "-cp", GIVEN_REFERENCE, "-d", classes, "src/main/java/Reference.java"])
    return ["java", "-cp", os.pathsep.join([classes, GIVEN_REFERENCE]), "Reference"]


@pytest.mark.kotlin
def test_the_kotlin_reference_answers_alike(reference: list[str]) -> None:
    cases = list(Cases(SEED, wide=True).lines(COUNT))

    found = differences(cases, run(reference, HERE, cases))

    assert not found, report(found)
