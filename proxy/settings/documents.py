"""What the schema yields for people and editors: JSON schema, example file, README table.

`python -m proxy.settings.documents` writes them anew.
"""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from proxy.settings.leaves import FILE, FILE_ENVIRONMENT, Leaf, leaves
from proxy.settings.schema import Configuration, Project

if TYPE_CHECKING:
    from collections.abc import Iterator

BEGIN = "<!-- settings:begin -->"
END = "<!-- settings:end -->"
SCHEMA_FILE = "config/schema.json"
EXAMPLE_FILE = "config/evaluation-proxy-config.example.yaml"
README_FILE = "README.md"

# What YAML of old takes for a boolean.
BOOLEANS = {"on", "off", "yes", "no"}
PLACEHOLDERS = {
    "apiKey": "the-api-key-of-the-project",
    "secretKey": "the-secret-key-of-the-project",
    "managementKey": "a-management-api-key",
}
HEADING = """\
# Every setting, at its default; only the keys of the project are yours to fill in.
# The proxy reads this file at /etc/evaluation-proxy-config.yaml, or where PROXY_CONFIG_FILE_PATH
# (or --config) says. A variable of the environment overrides its setting. Any key can be left out.
# yaml-language-server: $schema=schema.json
"""


def json_schema() -> dict[str, Any]:
    """Return the JSON schema of the file: every key with its form, limits, default and meaning."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "The configuration of evaluation-proxy",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "projects": {
                "description": "The Amplitude projects to serve.",
                "type": ["array", "null"],
                "items": _object(leaves(Project)),
            },
            "configuration": _object(leaves(Configuration)),
        },
    }


def _object(known: tuple[Leaf, ...], depth: int = 0) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    for leaf in known:
        name = leaf.path[depth]
        if len(leaf.path) > depth + 1:
            here = leaf.path[: depth + 1]
            inside = tuple(each for each in known if each.path[: depth + 1] == here)
            properties[name] = _object(inside, depth + 1)
            continue
        properties[name] = _described(leaf)
        if leaf.is_secret:
            properties[name + FILE] = {
                "description": f"The file that holds `{name}`.",
                "type": ["string", "number", "null"],
            }
    return {"type": ["object", "null"], "additionalProperties": False, "properties": properties}


def _described(leaf: Leaf) -> dict[str, Any]:
    schema: dict[str, Any] = {"description": _meaning(leaf)} | _form(leaf)
    if not leaf.required and leaf.default_in_words is None:
        default = leaf.default
        schema["default"] = list(default) if isinstance(default, tuple) else default
    return schema


def _form(leaf: Leaf) -> dict[str, Any]:
    """Say what the loading takes; numbers and booleans may be quoted, texts may be numbers."""
    match leaf.kind:
        case "integer":
            bounds = {"minimum": leaf.least, "maximum": leaf.greatest}
            return {"type": ["integer", "string", "null"], **bounds, "pattern": r"^\s*[0-9]+\s*$"}
        case "boolean":
            pattern = _pattern(_any_case("true", "false"))
            return {"type": ["boolean", "string", "null"], "pattern": pattern}
        case "choice":
            spelt = {"type": "string", "pattern": _pattern(_any_case(*leaf.choices, *leaf.aliases))}
            also = [False] if "false" in leaf.aliases else []
            return {"anyOf": [{"enum": [*leaf.choices, *also, None]}, spelt]}
        case "secrets":
            return {"type": ["array", "null"], "items": {"type": ["string", "number"]}}
        case "texts":
            each = {"type": ["string", "number"], "pattern": _pattern(_body(leaf) or ".*")}
            return {"type": ["array", "null"], "items": each}
        case _:
            types = ["string", "null"] if leaf.kind == "url" else ["string", "number", "null"]
            body = _body(leaf)
            if body and leaf.means_none(""):
                body = f"(?:{body})?"
            return {"type": types} | ({"pattern": _pattern(body)} if body else {})


def _body(leaf: Leaf) -> str | None:
    return leaf.pattern.removeprefix("^").removesuffix("$") if leaf.pattern else None


def _pattern(body: str) -> str:
    return rf"^\s*(?:{body})\s*$"


def _any_case(*words: str) -> str:
    return "|".join(
        re.sub(r"[A-Za-z]", lambda found: f"[{found[0].upper()}{found[0].lower()}]", word)
        for word in words
    )


def settings_table() -> str:
    """Return the README's table: key, environment, default and meaning of every setting."""
    return "\n".join(
        [
            "Under `configuration:`",
            "",
            *_table(leaves(Configuration)),
            "",
            "Under `projects:`, a list with one item for each project",
            "",
            *_table(leaves(Project)),
        ]
    )


def _table(known: tuple[Leaf, ...]) -> Iterator[str]:
    yield "| key | environment | default | meaning |"
    yield "|---|---|---|---|"
    for leaf in known:
        keys, names = f"`{leaf.key}`", f"`{leaf.environment}`"
        if leaf.is_secret:
            keys += f", `{leaf.key}{FILE}`"
            names += f", `{leaf.environment}{FILE_ENVIRONMENT}`"
        yield f"| {keys} | {names} | {_default(leaf)} | {_meaning(leaf)} |"


def _default(leaf: Leaf) -> str:
    if leaf.required:
        return "required"
    if leaf.default is None or leaf.default_in_words:
        return leaf.default_in_words or "none"
    return f"`{_scalar(leaf.default)}`"


def _meaning(leaf: Leaf) -> str:
    return f"{leaf.meaning} (Accepted, not used yet.)" if leaf.unused else leaf.meaning


def _scalar(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def refresh(readme: str) -> str:
    """Return the text with the block between the two markers replaced by the current table."""
    before, found_begin, rest = readme.partition(BEGIN)
    _, found_end, after = rest.partition(END)
    if not (found_begin and found_end):
        raise ValueError(f"the text has no lines {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{settings_table()}\n{END}{after}"


def example() -> str:
    """Return the example file: every setting with its meaning, at its default."""
    lines = [HEADING, "projects:", "  -"]
    for leaf in leaves(Project):
        lines += _example_lines(leaf, "    ")
    lines += ["", "configuration:"]
    group: tuple[str, ...] = ()
    for leaf in leaves(Configuration):
        if leaf.path[:-1] != group:
            above, group = group, leaf.path[:-1]
            lines.append("")
            for depth, name in enumerate(group):
                if group[: depth + 1] != above[: depth + 1]:
                    lines.append(f"{'  ' * (depth + 1)}{name}:")
        lines += _example_lines(leaf, "  " * len(leaf.path))
    return "\n".join(lines) + "\n"


def _example_lines(leaf: Leaf, indent: str) -> list[str]:
    name = leaf.path[-1]
    value = PLACEHOLDERS.get(name, leaf.default)
    described = f"{leaf.environment}: {_meaning(leaf)}"
    comment = textwrap.wrap(described, 96 - len(indent), break_on_hyphens=False)
    lines = [f"{indent}# {line}" for line in comment]
    if leaf.is_secret:
        lines.append(f"{indent}# {name}{FILE}: /run/secrets/{name}")
    return [*lines, f"{indent}{name}: {_yaml(value)}"]


def _yaml(value: Any) -> str:
    plain = isinstance(value, str) and re.fullmatch(r"[A-Za-z][A-Za-z_-]*", value)
    return str(value) if plain and value not in BOOLEANS else msgspec.json.encode(value).decode()


def write(root: Path) -> None:
    """Write the schema, the example and, where there is one, the README's table below `root`."""
    (root / "config").mkdir(exist_ok=True)
    schema = msgspec.json.format(msgspec.json.encode(json_schema()))
    (root / SCHEMA_FILE).write_bytes(schema + b"\n")
    (root / EXAMPLE_FILE).write_text(example(), encoding="utf-8")
    readme = root / README_FILE
    if readme.exists():
        readme.write_text(refresh(readme.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    write(Path.cwd())
