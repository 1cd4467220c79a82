"""Blocks that are no commands: each is of a known kind, and is what the page takes it for."""

import ast
import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import yaml

from proxy.cli.main import _parser
from proxy.errors import SettingsError
from proxy.sandbox.world import read_world
from proxy.settings.load import load
from tests.clients.running import skip_for_lack_of
from tests.deploy.charts import CHART, OLDEST, USUAL, documents, refused, rendering
from tests.docs.laid import lay_files
from tests.docs.pages import PAGES, ROOT, Block, blocks, label
from tests.docs.reader import PROJECT, Reader

LANGUAGES = {"sh", "python", "js", "yaml", "json", "html", "go", "text", "promql", "ini", "nginx"}
SANDBOX = {"flags", "users", "cohorts", "exclusion_groups", "holdouts", "raw_flags"}
HELM = set(yaml.safe_load((CHART / "values.yaml").read_text()))


def of(*languages: str) -> pytest.MarkDecorator:
    """Mark a test to run for every block in these languages."""
    found = [block for page in PAGES for block in blocks(page) if block.language in languages]
    return pytest.mark.parametrize("block", found, ids=lambda block: block.place)


@pytest.mark.parametrize("page", PAGES, ids=label)
def test_every_block_is_in_a_language_that_is_looked_at(page: Path) -> None:
    for block in blocks(page):
        assert block.language in LANGUAGES, f"{block.place}: {block.language!r}"


def own(block: Block, work: Callable[[str, Path], None]) -> None:
    """Do something with a block's text as a reader has it, in the reader's folder."""
    with TemporaryDirectory(prefix="reader", dir="/tmp") as name, Reader(Path(name)) as reader:
        work(reader.own(block.text), Path(name))


def of_proxy(text: str, place: Path) -> None:
    """A configuration of the proxy must start it."""
    lay_files(text, place)
    document = yaml.safe_load(text)
    document.setdefault("projects", [PROJECT])
    file = place / "checked.yaml"
    # Written anew only where keys are missing: quotes and forms are to be read as they stand.
    file.write_text(text if "projects" in yaml.safe_load(text) else yaml.safe_dump(document))
    assert not load({}, str(file)).notices


def of_sandbox(text: str, _place: Path) -> None:
    assert read_world(text).flags is not None


def of_compose(text: str, _place: Path) -> None:
    for service in yaml.safe_load(text)["services"].values():
        image = service["image"]
        assert "evaluation-proxy" not in image or ":" in image


def of_kubernetes(text: str, _place: Path) -> None:
    for document in documents(text):
        version = USUAL if "initContainers" in text else OLDEST
        assert not refused(document, version)


def of_chart(text: str, _place: Path) -> None:
    if shutil.which("helm") is None:
        skip_for_lack_of("helm")
    values = yaml.safe_load(text)
    if not values.get("evaluationProxy", {}).get("projects") and "existingSecret" not in values:
        values.setdefault("evaluationProxy", {})["projects"] = [PROJECT]
    done = rendering(values=values)
    assert done.returncode == 0, done.stderr


def of_prometheus(text: str, place: Path) -> None:
    if shutil.which("promtool") is None:
        skip_for_lack_of("promtool")
    file = place / "prometheus.yaml"
    file.write_text(text)
    what = "rules" if "groups:" in text else "config"
    # Rule files that a configuration names stand elsewhere.
    options = ["--syntax-only"] if what == "config" else []
    done = subprocess.run(
        ["promtool", "check", what, *options, str(file)], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()


def kind(document: Any) -> Callable[[str, Path], None] | None:
    """Return what a YAML document must stand, by its keys."""
    keys = set(document)
    for known, check in (
        ({"projects", "configuration"}, of_proxy),
        (SANDBOX, of_sandbox),
        (HELM, of_chart),
        ({"services", "volumes", "secrets"}, of_compose),
        ({"groups"}, of_prometheus),
        ({"scrape_configs", "rule_files", "global", "alerting"}, of_prometheus),
        ({"apiVersion", "kind", "metadata", "spec", "data", "stringData", "type"}, of_kubernetes),
    ):
        if keys <= known:
            return check
    return None


@of("yaml")
def test_yaml_is_what_it_is_taken_for(block: Block) -> None:
    document = next(iter(yaml.safe_load_all(block.text)))
    check = kind(document)

    assert check is not None, f"{block.place} is none of the kinds of files that are known"
    if "wrong" in block.words:
        with pytest.raises((SettingsError, AssertionError)):
            own(block, check)
    else:
        own(block, check)


@of("json")
def test_json_can_be_read(block: Block) -> None:
    json.loads(block.text)


@of("html")
def test_html_names_a_script_that_is_served(block: Block) -> None:
    class Scripts(HTMLParser):
        def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
            source = dict(attributes).get("src")
            assert tag == "script"
            assert source is None or re.search(r"/script/\w+\.experiment\.js$", source)

    Scripts(convert_charrefs=True).feed(block.text)


@of("python")
def test_python_is_python(block: Block) -> None:
    ast.parse(block.text)


@of("promql")
def test_a_query_is_one(block: Block, tmp_path: Path) -> None:
    queries = [line for line in block.text.split("\n") if line and not line.startswith("#")]
    rules = [{"record": f"page:query:{n}", "expr": query} for n, query in enumerate(queries)]
    of_prometheus(yaml.safe_dump({"groups": [{"name": "page", "rules": rules}]}), tmp_path)


def commands(block: Block) -> list[list[str]]:
    """The commands of a block, each as words; continued lines are joined."""
    lines = block.text.replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


@of("sh")
def test_commands_that_are_not_run_agree_with_what_is_here(block: Block) -> None:
    made = {each.file_name for page in PAGES for each in blocks(page) if each.file_name}
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for words in commands(block):
        if words[0] == "make":
            assert set(words[1:]) <= targets, block.place
        if words[0].endswith("evaluation-proxy") and block.reason is not None:
            _parser().parse_args(words[1:])
        for word in words[1:]:
            if re.match(r"(\./)?(config|helm|docs|tests|bench)/", word):
                assert (ROOT / word.partition(":")[0]).exists(), f"{block.place}: {word}"
            if word.endswith((".yaml", ".yml")) and "/" not in word and block.reason:
                assert word in made, f"{block.place}: no block of a page makes {word}"


@of("sh")
def test_helm_renders_what_a_page_installs(block: Block) -> None:
    installing = [words for words in commands(block) if words[:1] == ["helm"] and len(words) > 3]
    installing = [words for words in installing if words[1] in {"install", "upgrade", "template"}]
    if installing and shutil.which("helm") is None:
        skip_for_lack_of("helm")
    with TemporaryDirectory() as name:
        place = Path(name)
        (place / "helm").symlink_to(ROOT / "helm")
        for each in [each for page in PAGES for each in blocks(page) if each.file_name]:
            if Path(block.page).name == Path(each.page).name:
                (place / str(each.file_name)).write_text(each.text)
        for words in installing:
            options = [word for word in words[2:] if word not in {"--install", "--wait"}]
            command = ["helm", "template", *options, "--kube-version", f"{USUAL}.0"]
            done = subprocess.run(command, cwd=place, capture_output=True, check=False)
            assert done.returncode == 0, f"{block.place}\n{done.stderr.decode()}"


@pytest.mark.parametrize(
    ("check", "text"),
    [
        (of_proxy, "configuration: {prot: 1}"),
        (of_sandbox, "flags: {a: {serve: nothing}}"),
        (of_kubernetes, "{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {prots: []}}"),
    ],
)
def test_a_file_can_be_wrong(check: Callable[[str, Path], None], text: str, tmp_path: Path) -> None:
    with pytest.raises((AssertionError, ValueError, SettingsError)):
        check(text, tmp_path)


def test_what_is_no_known_kind_of_file_is_said_to_be_none() -> None:
    assert kind({"prot": 1}) is None
