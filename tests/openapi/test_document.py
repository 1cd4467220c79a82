"""The documents say what the routes are, in every configuration."""

from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any, get_args

import pytest
import schemathesis

import proxy
from proxy.api.routes import Route
from proxy.openapi.conditions import CONDITIONS
from proxy.openapi.document import WHEN, Port, operations, text_of
from tests.openapi.configured import CONFIGURATIONS, EVERYTHING, LITTLE, USUAL, document
from tests.openapi.ports import pages_of, router_of
from tests.openapi.reading import operations_of, resolved, validate

PORTS: tuple[Port, ...] = get_args(Port)
EACH = [(port, name) for port in PORTS for name in CONFIGURATIONS]


def parts(part: Any) -> Iterator[Any]:
    """Give a part of a document, and all parts in it."""
    yield part
    for one in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        yield from parts(one)


def methods_of(route: Route) -> set[str]:
    return {*route.guarded, *route.open, *(["POST"] if route.uploads else [])}


@pytest.mark.parametrize("name", CONFIGURATIONS)
async def test_every_route_of_the_clients_port_is_described_and_nothing_else(name: str) -> None:
    described: dict[str, set[str]] = {}
    for path, method, _ in operations(document("clients", CONFIGURATIONS[name])):
        described.setdefault(path, set()).add(method.upper())
    async with AsyncExitStack() as opened:
        router = await router_of(CONFIGURATIONS[name], opened)

        for path, route in router._routes.items():
            assert described.pop(path) == methods_of(route) - {"HEAD"}, path
        for beginning, route in router._beginnings:
            those = {path for path in described if path.startswith(beginning)}
            assert those, beginning
            for path in those:
                assert described.pop(path) == methods_of(route) - {"HEAD"}, path
        assert described == {}
        for route in (*router._routes.values(), *(route for _, route in router._beginnings)):
            assert ("GET" in methods_of(route)) == ("HEAD" in methods_of(route)), route.name


@pytest.mark.parametrize("name", CONFIGURATIONS)
async def test_every_page_of_the_operators_port_is_described_and_nothing_else(name: str) -> None:
    described: dict[str, set[str]] = {}
    for path, method, _ in operations(document("operators", CONFIGURATIONS[name])):
        described.setdefault(path, set()).add(method.upper())
    async with AsyncExitStack() as opened:
        pages = await pages_of(CONFIGURATIONS[name], opened)

        modules = {path for path in pages.by_path if path.endswith(".js")}
        assert "/page.js" in modules
        assert {"/{module}.js" if path in modules else path for path in pages.by_path} == set(
            described
        )
        for path, route in pages.by_path.items():
            assert set(route) == described["/{module}.js" if path in modules else path], path


@pytest.mark.parametrize(("port", "name"), EACH)
def test_documents_are_openapi(port: Port, name: str) -> None:
    made = document(port, CONFIGURATIONS[name])

    schemathesis.openapi.from_dict(made).validate()

    assert made["openapi"].startswith("3.1.")
    assert made["info"]["version"] == proxy.__version__
    names = [operation.name for operation in operations_of(made)]
    assert len(names) == len(set(names))
    for part in parts(made):
        if isinstance(part, dict):
            assert not [name for name in part if name.startswith("x-")]
            resolved(made, part)


@pytest.mark.parametrize("port", PORTS)
def test_documents_hold_no_component_that_nothing_uses(port: Port) -> None:
    made = document(port, LITTLE)
    used = {part["$ref"] for part in parts(made) if isinstance(part, dict) and "$ref" in part}

    for kind in set(made["components"]) - {"securitySchemes"}:
        assert {f"#/components/{kind}/{name}" for name in made["components"][kind]} <= used


@pytest.mark.parametrize("port", PORTS)
def test_operations_are_explained(port: Port) -> None:
    made = document(port, EVERYTHING)
    tags = {tag["name"] for tag in made["tags"]}

    for operation in operations_of(made):
        assert operation.text["summary"]
        assert set(operation.text["tags"]) <= tags
        assert all(part.get("description") for part in operation.parameters), operation.name
        assert all(
            operation.resolved(answer)["description"]
            for answer in operation.text["responses"].values()
        )


@pytest.mark.parametrize("port", PORTS)
def test_lists_say_what_is_in_them(port: Port) -> None:
    """Without it generators make nothing of the schema, nor of those that refer to it."""
    for part in parts(document(port, EVERYTHING)):
        kinds = part.get("type", ()) if isinstance(part, dict) else ()
        if "array" in ([kinds] if isinstance(kinds, str) else kinds):
            assert "items" in part, part


def test_conditions_are_those_of_the_texts() -> None:
    named = {
        part[WHEN]
        for port in PORTS
        for part in parts(text_of(port))
        if isinstance(part, dict) and WHEN in part
    }

    assert named == set(CONDITIONS)


@pytest.mark.parametrize("port", PORTS)
def test_examples_are_as_their_schemas(port: Port) -> None:
    made = document(port, EVERYTHING)
    shown = 0
    for part in parts(made):
        if not (isinstance(part, dict) and "schema" in part):
            continue
        values = [resolved(made, one)["value"] for one in part.get("examples", {}).values()]
        values += [part[name] for name in ("example",) if name in part]
        for value in values:
            validate(made, part["schema"], value)
            shown += 1
    assert shown > 2


def test_a_document_fits_the_configuration() -> None:
    usual, everything = document("clients", USUAL), document("clients", EVERYTHING)

    assert "/sdk/stream/v1/vardata" in everything["paths"]
    assert "/sdk/stream/v1/vardata" not in usual["paths"]
    assert "429" in everything["paths"]["/sdk/v2/vardata"]["get"]["responses"]
    assert "429" not in usual["paths"]["/sdk/v2/vardata"]["get"]["responses"]
    assert "ofrep" not in str(document("clients", LITTLE)["paths"])
    assert {"200", "501"} & set(
        document("clients", LITTLE)["paths"]["/sdk/stream/v1/flags"]["get"]["responses"]
    ) == {"501"}


def test_operators_see_how_their_port_is_protected_and_where_the_metrics_are() -> None:
    closed, open_ = document("operators", EVERYTHING), document("operators", LITTLE)

    assert closed["security"] == [{"bearer": []}, {"basic": []}]
    assert "401" in closed["paths"]["/status"]["get"]["responses"]
    assert "401" not in closed["paths"]["/livez"]["get"]["responses"]
    assert open_["security"] == []
    assert "401" not in open_["paths"]["/status"]["get"]["responses"]
    assert "/metrics" in closed["paths"]
    assert "/metrics" not in open_["paths"]
    assert "/numbers" in open_["paths"]
