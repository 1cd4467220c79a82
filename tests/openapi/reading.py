"""An OpenAPI document as tests read it: references followed, answers held against it."""

import base64
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

import msgspec
from jsonschema import Draft202012Validator

from proxy.openapi.document import operations
from proxy.sandbox.server import API_KEY, SECRET_KEY, SERVER_KEY

Json = dict[str, Any]
PROJECT = base64.b64encode(f"{API_KEY}:{SECRET_KEY}".encode()).decode()


class Operation(NamedTuple):
    """One operation, with the document that it stands in."""

    document: Json
    path: str
    method: str
    text: Json

    @property
    def name(self) -> str:
        return str(self.text["operationId"])

    @property
    def is_stream(self) -> bool:
        found = self.resolved(self.text["responses"].get("200", {}))
        return "text/event-stream" in found.get("content", {})

    def resolved(self, part: Json) -> Json:
        return resolved(self.document, part)

    @property
    def parameters(self) -> list[Json]:
        return [self.resolved(part) for part in self.text.get("parameters", [])]

    @property
    def authorization(self) -> str:
        """What the sandbox's keys make of the operation's security."""
        own = "security" in self.text
        wanted: list[Json] = (self.text if own else self.document)["security"]
        return f"Basic {PROJECT}" if {"projectKeys": []} in wanted else f"Api-Key {SERVER_KEY}"


class Example(NamedTuple):
    """A request that the document shows."""

    operation: Operation
    name: str
    target: str
    headers: dict[str, str]
    body: bytes | None


def resolved(document: Json, part: Json) -> Json:
    """Follow a reference, if it is one."""
    while "$ref" in part:
        found: Any = document
        for name in part["$ref"].removeprefix("#/").split("/"):
            found = found[name]
        part = found
    return part


def operations_of(document: Json) -> Iterator[Operation]:
    for path, method, text in operations(document):
        yield Operation(document, path, method.upper(), text)


def examples_of(operation: Operation) -> Iterator[Example]:
    """Give the requests that an operation shows: every body, with every example of a parameter."""
    shown = operation.resolved(operation.text.get("requestBody", {})).get("content", {})
    bodies: list[tuple[str, str, bytes | None]] = [
        (name, kind, msgspec.json.encode(operation.resolved(one)["value"]))
        for kind, media in shown.items()
        for name, one in media.get("examples", {}).items()
    ] or [("as it is", "", None)]
    given: list[dict[str, str]] = [{}]
    for parameter in operation.parameters:
        values = [str(one["value"]) for one in parameter.get("examples", {}).values()]
        values = values or [str(parameter[name]) for name in ("example",) if name in parameter]
        given = [{**some, parameter["name"]: one} for some in given for one in values] or given
        assert values or not parameter.get("required"), parameter
    for values_of in given:
        for name, kind, body in bodies:
            headers = {"Authorization": operation.authorization}
            if kind:
                headers["Content-Type"] = kind
            target, more = _placed(operation, values_of)
            yield Example(operation, f"{name} {target}", target, headers | more, body)


def _placed(operation: Operation, values: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    path, query, headers = operation.path, {}, {}
    for parameter in operation.parameters:
        name = parameter["name"]
        if name not in values:
            continue
        if parameter["in"] == "path":
            path = path.replace(f"{{{name}}}", quote(values[name], safe=""))
        elif parameter["in"] == "query":
            query[name] = values[name]
        else:
            headers[name] = values[name]
    return (f"{path}?{urlencode(query)}" if query else path), headers


def validate(document: Json, schema: Json, value: Any) -> None:
    """Hold a value against a schema of a document; ValidationError says what is wrong."""
    Draft202012Validator({**schema, "components": document["components"]}).validate(value)


def hold(operation: Operation, status: int, headers: Mapping[str, str], body: bytes) -> None:
    """Hold an answer against what an operation says of it: status, headers, type, body."""
    answers = operation.text["responses"]
    assert str(status) in answers, (operation.name, status, body[:500])
    told = operation.resolved(answers[str(status)])
    for name, header in told.get("headers", {}).items():
        wanted = operation.resolved(header)
        if wanted.get("required"):
            assert name in headers, (operation.name, status, name)
        if name in headers:
            is_number = wanted["schema"].get("type") == "integer"
            value: Any = int(headers[name]) if is_number else headers[name]
            validate(operation.document, wanted["schema"], value)
    content = told.get("content", {})
    if not content:
        assert body == b""
        return
    kind = headers["Content-Type"].partition(";")[0]
    assert kind in content, (operation.name, status, kind)
    value = msgspec.json.decode(body) if kind == "application/json" else body.decode()
    validate(operation.document, content[kind]["schema"], value)
