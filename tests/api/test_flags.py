import msgspec
import pytest

from proxy.api.flags import with_dependencies
from proxy.settings.schema import Limits
from tests import builders
from tests.builders import flag
from tests.serving import FLAGS, Served, serving

FLAG_CONFIGS = "/sdk/v2/flags"


def keys(body: bytes) -> list[str]:
    return [one["key"] for one in msgspec.json.decode(body)]


async def test_flags_are_served_as_they_came(served: Served) -> None:
    answer = await served.get(FLAG_CONFIGS + "?v=0&d=abcde&eval_mode=local")

    assert answer.body == msgspec.json.encode(FLAGS)
    assert answer.headers["content-type"] == "application/json; charset=utf-8"


async def test_304_is_for_those_who_name_the_version(served: Served) -> None:
    plain = await served.get(FLAG_CONFIGS)
    etag = plain.headers["etag"]

    for asked in (etag, f'"other", {etag.removeprefix("W/")}', "*"):
        answer = await served.get(FLAG_CONFIGS, If_None_Match=asked)
        assert (answer.status, answer.body) == (304, b"")
        assert answer.headers["etag"] == etag
    for asked in ('W/"other"', "", etag.strip('W/"')):
        assert (await served.get(FLAG_CONFIGS, If_None_Match=asked)).status == 200
    assert served.counted("get_flags_request_error_total") == 0


async def test_web_delivery_never_leaks_the_raw_rules(served: Served) -> None:
    for target in ("?delivery_method=web", "?v=0&delivery_method=web", "?delivery_method=%77eb"):
        answer = await served.get(FLAG_CONFIGS + target)
        assert (answer.status, answer.json) == (200, [])
    for target in ("?delivery_method=feature", "?delivery_method=", "?x=delivery_method=web"):
        assert (await served.get(FLAG_CONFIGS + target)).body == msgspec.json.encode(FLAGS)


async def test_named_flags_come_with_their_dependencies(served: Served) -> None:
    assert keys((await served.get("/v1/flags?flag_keys=child,nobody,plain")).body) == [
        "plain",
        "parent",
        "child",
    ]
    assert (await served.get("/v1/flags?flag_keys=nobody")).body == b"[]"
    assert (await served.get("/v1/flags")).body == msgspec.json.encode(FLAGS)
    assert (await served.get("/v1/flags?flag_keys=")).body == msgspec.json.encode(FLAGS)


async def test_too_many_names_are_refused() -> None:
    chosen = builders.settings(limits=Limits(max_flag_keys=2))
    async with serving(settings=chosen) as served:
        assert (await served.get("/v1/flags?flag_keys=a,b")).status == 200
        assert (await served.get("/v1/flags?flag_keys=a,b,c")).status == 400
        assert (await served.get("/sdk/v2/vardata?flag_keys=a,b,c")).status == 400


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [(["c"], {"a", "b", "c"}), (["a"], {"a"}), ([], set()), (["d", "c"], {"a", "b", "c", "d"})],
)
def test_dependencies_are_followed_to_the_end(asked: list[str], wanted: set[str]) -> None:
    chain = [
        flag("a"),
        flag("b", dependencies=["a"]),
        flag("c", dependencies=["b", "a"]),
        flag("d"),
    ]
    compiled = builders.snapshot(chain).compiled

    assert with_dependencies(compiled, asked) == wanted
