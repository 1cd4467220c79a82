import msgspec
import pytest

from proxy.evaluation.decode import decode_flag
from proxy.evaluation.delivery import delivered_by_web, for_web, is_for_web
from proxy.evaluation.model import Flag
from proxy.evaluation.partial_plan import FlagPlan, encode
from tests.builders import flag
from tests.evaluation.engines import match


def made(*flags: object) -> dict[str, Flag]:
    return {one.key: one for one in map(decode_flag, map(msgspec.json.encode, flags))}


FLAGS = made(
    flag("unrelated"),
    flag("deep"),
    flag("group", dependencies=["deep", "ghost"]),
    flag("page", deliveryMethod="web", dependencies=["group"]),
    flag("mobile", deliveryMethod="feature", dependencies=["page"]),
    flag("other page", deliveryMethod="web", dependencies=["page"]),
)


def test_web_flags_come_with_what_they_depend_on_and_nothing_else() -> None:
    assert delivered_by_web(FLAGS) == {
        "deep": False,
        "group": False,
        "page": True,
        "other page": True,
    }
    assert delivered_by_web({}) == {}


@pytest.mark.parametrize("method", ["feature", "Web", "", None, 1, ["web"], {"web": "web"}])
def test_another_delivery_method_is_not_the_web(method: object) -> None:
    (one,) = made(flag("f", deliveryMethod=method)).values()

    assert not is_for_web(one)


def test_however_it_is_written_web_is_web() -> None:
    (one,) = made(flag("f")).values()
    escaped = msgspec.structs.replace(one, metadata={"deliveryMethod": msgspec.Raw(b'"\\u0077eb"')})

    assert is_for_web(escaped)


@pytest.mark.parametrize("mode", ["remote", "local", None])
def test_pages_are_told_to_evaluate_locally(mode: str | None) -> None:
    (one,) = made(flag("f", deliveryMethod="web", evaluationMode=mode)).values()
    (told,) = msgspec.json.decode(encode([FlagPlan(for_web(one, itself=True), match)], {}))

    assert told["metadata"]["evaluationMode"] == "local"
    assert told["metadata"]["deliveryMethod"] == "web"
    assert bytes(one.metadata["evaluationMode"]) == msgspec.json.encode(mode)


def test_payloads_stay_here_of_flags_that_are_there_for_their_results() -> None:
    (one,) = made(flag("f", payload={"price": 7})).values()

    for itself in (True, False):
        (told,) = msgspec.json.decode(encode([FlagPlan(for_web(one, itself=itself), match)], {}))
        assert ("payload" in told["variants"]["on"]) is itself
        assert told["variants"]["on"]["value"] == "on"
