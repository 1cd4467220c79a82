"""What OFREP says of a variant."""

from typing import Any

import msgspec
import pytest

from proxy.api.ofrep_answers import ValueOf, is_deployed, shown, wants_id
from proxy.evaluation.outcomes import Outcome
from tests import builders
from tests.builders import condition, flag, segment

LAST = 42_949_673


def bucketed(variant: str = "on", *, to: int = 100, by: str = "user_id") -> dict[str, Any]:
    """A bucket that gives a variant to so many percents."""
    return {
        "selector": ["context", "user", by],
        "salt": "s",
        "allocations": [
            {"range": [0, to], "distributions": [{"variant": variant, "range": [0, LAST]}]}
        ],
    }


def answered(
    config: dict[str, Any], user: dict[str, Any] | None = None, value_of: ValueOf = "payload"
) -> dict[str, Any]:
    """What is answered for a flag, as the providers decode it."""
    compiled = builders.snapshot([config]).compiled
    outcomes = compiled.evaluate(user or {"user_id": "u1"})
    outcome = outcomes[0] if outcomes else None
    found: dict[str, Any] = msgspec.json.decode(shown(compiled.flags["f"], outcome, value_of))
    return found


def with_variants(**variants: Any) -> dict[str, Any]:
    """A flag that gives everybody the first of its variants."""
    made = {key: {"key": key, **({} if own is None else own)} for key, own in variants.items()}
    return {**flag("f", segment(next(iter(variants)))), "variants": made}


@pytest.mark.parametrize(
    ("segments", "reason"),
    [
        ([segment("on")], "STATIC"),
        ([{"variant": "off", "bucket": bucketed()}], "STATIC"),
        ([segment("on", condition(["context", "user", "user_id"], "is", "u1"))], "TARGETING_MATCH"),
        (
            [
                {
                    **segment("off", condition(["context", "user", "user_id"], "is", "u1")),
                    "bucket": bucketed(),
                }
            ],
            "TARGETING_MATCH",
        ),
        ([{"variant": "on", "bucket": bucketed(to=50)}], "SPLIT"),
        ([segment("off")], "DEFAULT"),
        ([segment("on", condition(["context", "user", "user_id"], "is", "u2"))], "DEFAULT"),
    ],
)
def test_the_reason_says_how_the_variant_was_chosen(
    segments: list[dict[str, Any]], reason: str
) -> None:
    found = answered(flag("f", *segments))

    assert found["reason"] == reason
    assert ("value" in found) is (reason != "DEFAULT")


def test_a_flag_at_its_default_leaves_the_value_to_the_caller() -> None:
    assert answered(flag("f", segment("off"))) == {
        "key": "f",
        "reason": "DEFAULT",
        "variant": "off",
        "metadata": {"flagVersion": 1, "deployed": True, "default": True},
    }


def test_a_flag_that_gives_nothing_leaves_the_value_to_the_caller() -> None:
    nobody = segment("on", condition(["context", "user", "user_id"], "is", "nobody"))

    assert answered(flag("f", nobody)) == {"key": "f", "reason": "DEFAULT", "variant": ""}


@pytest.mark.parametrize(
    ("variants", "value"),
    [
        ({"on": {"value": "on"}, "off": None}, True),
        ({"off": {"value": "off"}, "on": None}, False),
        ({"true": None, "false": None}, True),
        ({"a": {"value": "FALSE"}, "b": {"value": "true"}}, False),
        ({"a": {"value": True}, "b": {"value": False}}, True),
        ({"control": {"value": "control"}, "on": {"value": "on"}}, "control"),
        ({"on": {"value": "on"}, "control": {"value": "control"}}, "on"),
        ({"green": {"value": "a longer text"}}, "a longer text"),
        ({"green": None}, "green"),
        ({"five": {"value": 5}}, "5"),
        ({"list": {"value": [1, "a"]}}, '[1,"a"]'),
        ({"on": {"payload": {"a": [1, None]}}, "off": None}, {"a": [1, None]}),
        ({"on": {"payload": "text"}}, "text"),
        ({"on": {"payload": 5}}, 5),
        ({"on": {"payload": 5.5}}, 5.5),
        ({"on": {"payload": False}}, False),
        ({"on": {"payload": [1, 2]}}, [1, 2]),
        ({"on": {"payload": None}, "off": None}, True),
    ],
)
def test_the_value_is_the_payload_or_what_the_variant_is_called(
    variants: dict[str, Any], value: Any
) -> None:
    found = answered(with_variants(**variants))

    assert found["value"] == value
    assert type(found["value"]) is type(value)
    assert found["variant"] == next(iter(variants))


def test_a_variant_without_payload_beside_others_with_one_has_no_value() -> None:
    found = answered(with_variants(control={"value": "control"}, red={"payload": {"a": 1}}))

    assert found["variant"] == "control"
    assert found["reason"] == "STATIC"
    assert "value" not in found


def test_payloads_may_be_left_out_of_account() -> None:
    red = with_variants(red={"value": "red", "payload": {"a": 1}}, green={"value": "green"})
    on = with_variants(on={"payload": {"a": 1}}, off=None)

    assert answered(red, value_of="variant")["value"] == "red"
    assert answered(on, value_of="variant")["value"] is True


def test_metadata_holds_scalars_only() -> None:
    config = flag(
        "f", text="a", number=1.5, yes=True, nothing=None, inner={"a": 1}, several=[1], big=2**70
    )

    assert answered(config)["metadata"] == {
        "flagVersion": 1,
        "deployed": True,
        "text": "a",
        "number": 1.5,
        "yes": True,
        "big": float(2**70),
        "segmentName": "All Other Users",
    }


def test_what_is_said_of_an_outcome_is_worked_out_once() -> None:
    compiled = builders.snapshot([flag("f")]).compiled
    (first,), (second,) = (compiled.evaluate({"user_id": name}) for name in ("u1", "u2"))

    of = compiled.flags["f"]
    assert shown(of, first, "payload") is shown(of, second, "payload")


def outcome_of(config: dict[str, Any], user: dict[str, Any]) -> tuple[Any, Outcome | None]:
    compiled = builders.snapshot([config]).compiled
    outcomes = compiled.evaluate(user)
    return compiled.flags[config["key"]], outcomes[0] if outcomes else None


@pytest.mark.parametrize(
    ("segments", "wants"),
    [
        ([{"variant": "off", "bucket": bucketed(to=50)}], True),
        ([{"variant": "off", "bucket": bucketed(to=50, by="device_id")}], True),
        ([{"variant": "off", "bucket": bucketed(to=50, by="country")}], False),
        ([segment("off")], False),
        ([segment("on"), {"variant": "off", "bucket": bucketed(to=50)}], False),
    ],
)
def test_an_id_is_missed_where_it_could_have_made_a_difference(
    segments: list[dict[str, Any]], wants: bool
) -> None:
    assert wants_id(*outcome_of(flag("f", *segments), {})) is wants


def test_flags_are_for_clients_unless_they_say_otherwise() -> None:
    flags = builders.snapshot(
        [flag("yes"), flag("no", deployed=False), {**flag("silent"), "metadata": {}}]
    ).compiled.flags

    assert {key: is_deployed(each) for key, each in flags.items()} == {
        "yes": True,
        "no": False,
        "silent": True,
    }
