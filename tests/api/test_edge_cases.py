"""The table of edge cases that SDKs and users are known to send, each row by its number.

A row that belongs to a resource with tests of its own: 39 (exposures).
"""

import base64
import gzip
from pathlib import Path
from typing import Any

import msgspec
import pytest

from proxy.evaluation.deployment import compile_deployment
from proxy.secret import Secret
from proxy.settings.schema import Project
from tests import builders
from tests.api.stored import TARGET, ask, request, stored
from tests.api.streaming import settings as streams
from tests.api.streaming import streaming
from tests.builders import API_KEY, KEY, flag
from tests.serving import FLAGS, Served, encoded, read_answer, serving

V2, V1, REST, FLAG_CONFIGS = "/sdk/v2/vardata", "/sdk/vardata", "/v1/vardata", "/sdk/v2/flags"
MEMBERSHIPS = "/sdk/v2/memberships/"
ALL = {str(config["key"]) for config in FLAGS}


async def test_row_1_no_user_is_the_empty_user(served: Served) -> None:
    answer = await served.get(V2)

    assert answer.status == 200
    assert set(answer.json) == ALL - {"targeted"}


async def test_row_2_url_safe_base64_with_an_underscore(served: Served) -> None:
    text = encoded({"user_id": "u1", "user_properties": {"a": "é?~>"}})
    assert set("-_") & set(text)

    answer = await served.get(V2, X_Amp_Exp_User=text)

    assert answer.status == 200
    assert answer.json["targeted"]["key"] == "on"


@pytest.mark.parametrize("text", ["%%%", "é", "a", "eyJ9=e30", "=", "e30=e30="])
async def test_row_3_a_user_that_is_not_base64(served: Served, text: str) -> None:
    answer = await served.get(V2, X_Amp_Exp_User=text)

    assert answer.status == 400
    assert answer.json["code"] == 400


@pytest.mark.parametrize("text", [b"user", b"[]", b"null", b"{", b"\xff", b"1", b'"u"'])
async def test_row_4_a_user_that_is_no_json_object(served: Served, text: bytes) -> None:
    assert (await served.get(V2, X_Amp_Exp_User=encoded(text))).status == 400


async def test_row_5_an_empty_body_is_the_empty_user(served: Served) -> None:
    answer = await served.post(V2, b"")

    assert answer.status == 200
    assert set(answer.json) == ALL - {"targeted"}


@pytest.mark.parametrize("body", [b"user", b"[]", b"null", b"{'a':1}", b"{} {}", b"\xff\xfe"])
async def test_row_6_a_body_that_is_no_json_object(served: Served, body: bytes) -> None:
    assert (await served.post(V2, body)).status == 400


async def test_row_7_all_fields_null(served: Served) -> None:
    names = ("user_id", "device_id", "user_properties", "groups", "group_properties", "cohort_ids")
    user = dict.fromkeys((*names, "group_cohort_ids", "country"))

    answer = await served.post(V2, msgspec.json.encode(user))

    assert answer.status == 200
    assert answer.json["plain"]["key"] == "on"


@pytest.mark.parametrize("credentials", ["", "Bearer x", "Api-Key unknown", "Api-Keyx", KEY])
async def test_row_8_credentials_that_are_not_ours(served: Served, credentials: str) -> None:
    for target in (V2, V1, REST, FLAG_CONFIGS, "/v1/flags"):
        answer = await served.get(target, Authorization=credentials)

        assert (answer.status, answer.body) == (401, b"Invalid deployment")


@pytest.mark.parametrize("credentials", ["Api-Key", "Api-Key ", "api-key   "])
async def test_row_9_credentials_without_a_key(served: Served, credentials: str) -> None:
    assert (await served.get(V2, Authorization=credentials)).status == 401


@pytest.mark.parametrize("credentials", [f"api-key {KEY}", f"API-KEY   {KEY}  "])
async def test_row_10_the_scheme_in_any_case(served: Served, credentials: str) -> None:
    assert (await served.get(V2, authorization=credentials, Authorization="")).status == 200


async def test_row_11_an_empty_list_of_flag_keys_means_all(served: Served) -> None:
    answer = await served.get(V2, X_Amp_Exp_Flag_Keys="W10")

    assert set(answer.json) == ALL - {"targeted"}


async def test_row_12_unknown_flag_keys_only(served: Served) -> None:
    answer = await served.get(V2, X_Amp_Exp_Flag_Keys=encoded(["nobody", "knows"]))

    assert (answer.status, answer.json) == (200, {})


async def test_row_13_a_flag_comes_with_its_dependencies(served: Served) -> None:
    headers = {"X_Amp_Exp_Flag_Keys": encoded(["child", "child"])}

    assert set((await served.get(V2, **headers)).json) == {"child", "parent"}
    assert set((await served.get(V1, **headers)).json) == {"child"}


@pytest.mark.parametrize(
    "keys", ["%%", encoded({"a": 1}), encoded("a"), encoded([1]), encoded(b"[")]
)
async def test_row_14_flag_keys_that_are_none(served: Served, keys: str) -> None:
    assert (await served.get(V2, X_Amp_Exp_Flag_Keys=keys)).status == 400


async def test_row_15_the_header_wins_over_the_query(served: Served) -> None:
    answer = await served.get(V2 + "?flag_key=dark", X_Amp_Exp_Flag_Keys=encoded(["plain"]))

    assert set(answer.json) == {"plain"}


async def test_row_16_flag_keys_in_the_query(served: Served) -> None:
    assert set((await served.get(V2 + "?flag_keys=plain,dark")).json) == {"plain", "dark"}
    assert set((await served.get(V2 + "?flag_key=plain,%20dark,")).json) == {"plain", "dark"}
    assert set((await served.get(V2 + "?flag_key=plain&flag_keys=dark")).json) == {"plain", "dark"}


@pytest.mark.parametrize("context", ["user", "[]", "%7B", "%ff"])
async def test_row_17_a_context_that_is_no_json_object(served: Served, context: str) -> None:
    assert (await served.get(f"{REST}?context={context}")).status == 400


async def test_row_18_query_fields_override_the_context(served: Served) -> None:
    context = '{"user_id":"a","device_id":"d"}'.replace('"', "%22")
    answer = await served.get(f"{REST}?context={context}&user_id=u1")

    assert answer.json["targeted"]["key"] == "on"
    assert served.tracked[0].user["user_id"] == "u1"
    assert served.tracked[0].user["device_id"] == "d"


@pytest.mark.parametrize(("target", "present"), [(V2, True), (V1, False), (REST, False)])
async def test_rows_19_and_20_default_and_undeployed(
    served: Served, target: str, *, present: bool
) -> None:
    for answer in (await served.get(target), await served.post(target, b"{}")):
        assert ("dark" in answer.json) is present
        assert ("parent" in answer.json) is present
        assert answer.json["plain"]["payload"] == {"colour": "blue"}
        assert ("expKey" in answer.json["plain"]) is not present


async def test_row_21_a_dependency_cycle_leaves_the_others_alone() -> None:
    cycle = [flag("a", dependencies=["b"]), flag("b", dependencies=["a"])]
    async with serving([*cycle, flag("c", dependencies=["a"]), flag("free")]) as served:
        answer = await served.get(V2)

    assert (answer.status, set(answer.json)) == (200, {"free"})


async def test_row_22_known_but_without_flags() -> None:
    async with serving([]) as served:
        assert (await served.get(V2)).json == {}
        assert (await served.get(FLAG_CONFIGS)).body == b"[]"

        served.board.authorise(builders.deployment("server-new"))
        for target in (V2, FLAG_CONFIGS):
            answer = await served.get(target, Authorization="Api-Key server-new")
            assert answer.status == 503
            assert int(answer.headers["retry-after"]) > 0
            assert isinstance(answer.json, dict)


async def test_row_23_a_deleted_deployment(served: Served) -> None:
    served.board.revoke(KEY)

    assert (await served.get(V2)).status == 401


async def test_row_24_repeated_slashes(served: Served) -> None:
    assert (await served.get("//sdk/v2/flags?v=0")).status == 200
    assert (await served.get("///sdk/v2/vardata")).status == 200


@pytest.mark.parametrize("host", ["http://proxy:3546", "HTTPS://u:p@[::1]:1"])
async def test_row_25_absolute_form(served: Served, host: str) -> None:
    assert len((await served.get(f"{host}{FLAG_CONFIGS}?v=0")).json) == len(FLAGS)


async def test_row_26_a_cohort_for_a_client_that_accepts_nothing(
    served: Served, tmp_path: Path
) -> None:
    served.held[0, "c1"] = stored(tmp_path, "u1", "u2")

    answer = await ask(served)

    assert "content-encoding" not in answer.headers
    assert answer.json["memberIds"] == ["u1", "u2"]


async def test_row_27_the_same_last_modified(served: Served, tmp_path: Path) -> None:
    cohort = served.held[0, "c1"] = stored(tmp_path, "u1", "u2")

    async with served.connection() as (reader, writer):
        writer.write(request(f"{TARGET}?lastModified={cohort.last_modified}"))
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 204 ")
        assert b"content-length" not in head.lower()
        assert b"transfer-encoding" not in head.lower()
        # Nothing follows it: the next answer begins here.
        writer.write(b"GET /status HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await read_answer(reader)).body == b"OK"


@pytest.mark.parametrize(("most", "status"), [("1", 413), ("2", 200), ("abc", 200)])
async def test_rows_28_and_29_max_cohort_size(
    served: Served, tmp_path: Path, most: str, status: int
) -> None:
    served.held[0, "c1"] = stored(tmp_path, "u1", "u2")

    assert (await ask(served, f"{TARGET}?maxCohortSize={most}")).status == status


async def test_row_30_credentials_that_are_no_projects(served: Served, tmp_path: Path) -> None:
    served.held[0, "c1"] = stored(tmp_path, "u1")
    keys = [f"{API_KEY}:wrong", API_KEY, f"{API_KEY}:", "unknown:test-secret"]
    given = [f"Basic {base64.b64encode(text.encode()).decode()}" for text in keys]

    for credentials in (*given, f"Api-Key {API_KEY}", f"Api-Key {KEY}", "Basic", "Basic %", ""):
        answer = await ask(served, Authorization=credentials)
        assert (answer.status, answer.body) == (401, b"Invalid api or secret key")


async def test_row_31_a_secret_key_with_colons(tmp_path: Path) -> None:
    project = Project(api_key=Secret(API_KEY), secret_key=Secret("a:b:"))
    keys = base64.b64encode(f"{API_KEY}:a:b:".encode()).decode()
    async with serving(settings=builders.settings(projects=(project,))) as served:
        served.held[0, "c1"] = stored(tmp_path, "u1")

        for credentials in (f"Basic {keys}", f"bAsIc   {keys.rstrip('=')}"):
            assert (await ask(served, Authorization=credentials)).status == 200


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("a/b", "a/b"),
        ("a%2Fb", "a/b"),
        ("a%2fb/c", "a/b/c"),
        ("a%20b", "a b"),
        ("%C3%A9+x", "é+x"),
        ("a%2520b", "a%20b"),
        ("a//b/", "a//b/"),
        ("/a", "/a"),
    ],
)
async def test_row_32_names_with_slashes_and_blanks(served: Served, path: str, name: str) -> None:
    served.cohorts["org", name] = ["g1"]

    assert (await served.get(f"{MEMBERSHIPS}org/{path}")).json == ["g1"]


async def test_row_33_memberships_of_somebody_unknown(served: Served) -> None:
    served.cohorts["User", "u1"] = ["c1"]

    for path in ("User/u2", "org/u1", "nothing/u1", "org/User/u1"):
        answer = await served.get(MEMBERSHIPS + path)
        assert (answer.status, answer.body) == (200, b"[]")


async def test_row_34_preflight(served: Served) -> None:
    asked = {"Origin": "https://shop.example", "Access-Control-Request-Method": "GET"}
    for target in (V2, FLAG_CONFIGS, "/status", "*", "/anything"):
        answer = await served.ask("OPTIONS", target, {**asked, "Authorization": ""})

        assert answer.status == 204
        assert answer.headers["access-control-allow-origin"] == "*"
        assert "GET" in answer.headers["access-control-allow-methods"]
        assert "X-Amp-Exp-User" in answer.headers["access-control-allow-headers"]
        assert "access-control-allow-credentials" not in answer.headers
        assert "content-length" not in answer.headers


@pytest.mark.parametrize("size", [20_000, 64 * 1024])
async def test_row_35_long_headers(served: Served, size: int) -> None:
    text = base64.b64encode(msgspec.json.encode({"user_id": "u1", "x": "x" * size})).decode()

    answer = await served.get(V2, X_Amp_Exp_User=text)

    assert (answer.status, answer.json["targeted"]["key"]) == (200, "on")
    context = "%7B%22x%22:%22" + "x" * size + "%22%7D"
    assert (await served.get(f"{REST}?context={context}")).status == 200


async def test_row_36_a_body_of_50_megabytes(served: Served) -> None:
    answer = await served.post(V2, b"{}", Content_Length=str(50 * 2**20))

    assert answer.status == 413


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "HEAD"])
async def test_row_37_there_is_no_shutdown(served: Served, method: str) -> None:
    assert (await served.ask(method, "/shutdown", {})).status == 404
    assert (await served.get("/status")).status == 200


async def test_row_38_no_track(served: Served) -> None:
    for wish, tracked in [
        ("no-track", 0), ("READ-only", 0), ("track", 1), ("", 2), ("nonsense", 3),
    ]:  # fmt: skip
        await served.get(V2, X_Amp_Exp_Track=wish)
        assert len(served.tracked) == tracked


@pytest.mark.parametrize("target", [V2, V1, REST])
@pytest.mark.parametrize("user_id", [b"5", b'"5"', b"50e-1"])
async def test_row_40_a_numeric_user_id_has_cohorts(
    served: Served, target: str, user_id: bytes
) -> None:
    served.cohorts["User", "5"] = ["c1"]

    answer = await served.post(target, b'{"user_id":%b}' % user_id)

    assert answer.json["members"]["key"] == "on"
    assert str(served.tracked[0].user["user_id"]) == "5"


@pytest.mark.parametrize("user_id", [{}, {"user_id": "u1"}, {"user_id": 7}, {"user_id": [1]}])
@pytest.mark.parametrize("claimed", [["c1"], {"c1": {}}, "c1"])
async def test_row_41_cohorts_that_a_client_claims(
    served: Served, user_id: dict[str, Any], claimed: Any
) -> None:
    user = {**user_id, "cohort_ids": claimed, "group_cohort_ids": {"org": {"a": ["c1"]}}}

    answer = await served.post(V2, msgspec.json.encode(user))

    assert answer.json["members"]["key"] == "off"


async def test_row_41_cohorts_count_where_clients_are_trusted() -> None:
    async with serving(settings=builders.settings(trust_client_cohorts=True)) as served:
        served.cohorts["User", "u1"] = ["c2"]
        claims: list[Any] = [["c1"], {"c1": {}}]
        for claimed in claims:
            user = {"cohort_ids": claimed, "user_id": "u1"}
            answer = await served.post(V2, msgspec.json.encode(user))

            assert answer.json["members"]["key"] == "on"
            assert served.tracked[-1].user["cohort_ids"].listed() == ["c1", "c2"]


async def test_row_42_silence_on_a_stream_is_broken_by_the_exact_keep_alive() -> None:
    """Every 15 seconds by default; the virtual clock of `test_stream_readers.py` shows that."""
    async with streaming(settings=streams(keep_alive_millis=100)) as ours, ours.stream() as client:
        await client.head()
        await client.chunk()
        assert await client.chunk() == b"data:  \n\n"


async def test_row_43_a_gzipped_body(served: Served) -> None:
    body = gzip.compress(b'{"user_id":"u1"}')

    answer = await served.post(V2, body, Content_Encoding="gzip")

    assert (answer.status, answer.json["targeted"]["key"]) == (200, "on")


async def test_row_44_head(served: Served) -> None:
    for target in ("/status", "/", V2, FLAG_CONFIGS):
        answer = await served.ask("HEAD", target, {})
        whole = await served.get(target)

        assert (answer.status, answer.body) == (200, b"")
        assert answer.headers["content-length"] == str(len(whole.body))


def test_the_flags_of_these_tests_are_all_in_force() -> None:
    compiled = compile_deployment(msgspec.json.encode(FLAGS))

    assert set(compiled.flags) == ALL
    assert not compiled.problems
