"""The house keeps its own rules."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = sorted((ROOT / "proxy").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
# Paths of one machine, and addresses that a package client wrote into a lock file.
SPOKEN_OF = re.compile(r"/(?:work|farm)/[a-z]|\"resolved\":|--(?:extra-)?index-url [a-z]*:")


def functions(module: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    tree = ast.parse(module.read_text())
    return [
        node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_rooms_are_small(module: Path) -> None:
    lines = module.read_text().count("\n")
    assert lines <= 300, f"{lines} lines: two ideas in one module?"
    for function in functions(module):
        length = (function.end_lineno or function.lineno) - function.lineno + 1
        assert length <= 50, f"{function.name} has {length} lines: two steps in one?"
        args = function.args
        count = len(args.args) + len(args.kwonlyargs) + len(args.posonlyargs)
        assert count <= 8, f"{function.name} takes {count} arguments"


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_package_files_are_door_plates(module: Path) -> None:
    tree = ast.parse(module.read_text())
    assert ast.get_docstring(tree) is not None or module.name == "__main__.py"
    if module.name == "__init__.py" and module.parent.name != "proxy":
        assert len(tree.body) == 1, "a package's __init__ is its door plate and nothing else"


@pytest.mark.parametrize("module", TESTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_tests_await_conditions(module: Path) -> None:
    """No test sleeps for a while and hopes; a poll inside a `wait_until` loop is the exception."""
    tree = ast.parse(module.read_text())
    for function in tree.body:
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if "wait" in function.name or "poll" in function.name:
            continue
        source = " ".join(map(ast.unparse, function.decorator_list))
        for node in ast.walk(function):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in {
                "time.sleep",
                "asyncio.sleep",
            }:
                zero = bool(node.args) and ast.unparse(node.args[0]) == "0"
                assert zero or "looptime" in source, f"{function.name} sleeps"


def test_the_tree_speaks_of_itself_alone() -> None:
    own = Path(__file__)
    for path in ROOT.rglob("*"):
        parts = path.relative_to(ROOT).parts
        if not path.is_file() or path == own or path.suffix in {".png", ".jar", ".class"}:
            continue
        if set(parts) & {".git", ".venv", "node_modules", "target", "__pycache__"}:
            continue
        if parts[0].startswith(".") and parts[0] != ".ci":
            continue
        found = SPOKEN_OF.findall(path.read_text(errors="replace"))
        assert not found, f"{path} says {found}"
