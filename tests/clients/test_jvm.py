"""The official JVM SDK with cohorts from the proxy, on its own and in its proxy mode.

It runs when asked for (`make jvm`). It needs java and Maven, and the SDK in the Maven repository in
use. For machines where it is not there, JVM_SDK_JAR gives the class path of a build of it instead,
with all that it needs (`/some/sdk.jar:/some/libraries/*`); then a JDK is enough.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from proxy.sandbox.server import API_KEY, SECRET_KEY, SERVER_KEY
from tests.clients.cohorts import COHORTS, people
from tests.clients.following import flag_file, followed, following, hears_of_every_change, survive
from tests.clients.running import HERE, Variants, differences, held, run
from tests.system.programs import Pair

pytestmark = [pytest.mark.system, pytest.mark.jvm]
USERS = people()
SDK = "com.amplitude:experiment-jvm-server:1.8.2"
GIVEN_SDK = os.environ.get("JVM_SDK_JAR")
SMALL = 1_000
STREAMING = pytest.mark.parametrize("streaming", [False, True], ids=["polling", "streaming"])


def build(command: list[str]) -> None:
    """Build the client, or say what it lacks: whoever asked for it wants it."""
    if shutil.which(command[0]) is None:
        pytest.fail(f"the JVM SDK's test needs {command[0]}", pytrace=False)
    done = subprocess.run(
        command, cwd=HERE / "jvm", capture_output=True, check=False, text=True, timeout=300
    )
    said = done.stdout + done.stderr
    if done.returncode and "resolve dependencies" in said and "experiment-jvm-server" in said:
        pytest.fail(
            f"the JVM SDK's test needs {SDK}, which the Maven repository in use does not have; "
            "JVM_SDK_JAR can give its class path",
            pytrace=False,
        )
    assert done.returncode == 0, said[-2000:]


@pytest.fixture(scope="module")
def jvm_client(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command that runs a job with the JVM SDK."""
    if not GIVEN_SDK:
        build(["mvn", "-q", "-B", "compile"])
        jvm = HERE / "jvm" / "target"
        return ["java", "-cp", f"{jvm}/classes{os.pathsep}{jvm}/dependency/*", "JvmClient"]
    classes = str(tmp_path_factory.mktemp("jvm"))
    build(["javac", "-cp", GIVEN_SDK, "-d", classes, "src/main/java/JvmClient.java"])
    return ["java", "-cp", os.pathsep.join([classes, GIVEN_SDK]), "JvmClient"]


def found_by(command: list[str], pair: Pair, **settings: bool | int) -> list[Variants]:
    job = {
        "proxy": pair.proxy,
        "key": SERVER_KEY,
        "apiKey": API_KEY,
        "secretKey": SECRET_KEY,
        "maxCohortSize": 2**31 - 1,
        "streaming": False,
        "proxyMode": False,
        "users": USERS,
        **settings,
    }
    return [held(variants) for variants in json.loads(run(command, job))]


@STREAMING
def test_jvm(jvm_client: list[str], pair: Pair, expected: list[Variants], streaming: bool) -> None:
    found = found_by(jvm_client, pair, streaming=streaming)

    assert differences(USERS, found, expected) == {}


def test_jvm_in_proxy_mode_holding_all_cohorts(
    jvm_client: list[str], pair: Pair, expected: list[Variants]
) -> None:
    found = found_by(jvm_client, pair, proxyMode=True)

    assert differences(USERS, found, expected) == {}


def test_jvm_in_proxy_mode_asks_for_memberships_where_a_cohort_is_too_large_for_it(
    jvm_client: list[str], pair: Pair, expected: list[Variants]
) -> None:
    assert len(COHORTS["crowd"][1]) > SMALL

    found = found_by(jvm_client, pair, proxyMode=True, maxCohortSize=SMALL)

    # OkHttp takes the backslash in a name for a slash, so that the SDK asks about somebody else.
    asked_amiss = [user for user in USERS if "\\" in user.get("user_id", "")]
    different = differences(USERS, found, expected)
    assert all(users == asked_amiss for users in different.values())
    without = found_by(jvm_client, pair, proxyMode=False, maxCohortSize=SMALL)
    assert "crowd" in differences(USERS, without, expected)


def test_jvm_hears_of_every_change_by_the_stream(jvm_client: list[str], tmp_path: Path) -> None:
    pair = Pair(tmp_path, flag_file("a"))
    with (
        pair.sandbox(),
        pair.serve(),
        following(jvm_client, followed(pair), tmp_path) as seen,
    ):
        hears_of_every_change(pair, seen)


def test_jvm_survives_a_restart(jvm_client: list[str], tmp_path: Path) -> None:
    pair = Pair(tmp_path, flag_file("a"))

    survive(pair, following(jvm_client, followed(pair), tmp_path))
