"""The pages for people, taken apart: blocks of code, headings, links, names in backticks."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
CHART_PAGE = ROOT / "helm" / "evaluation-proxy" / "README.md"
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), CHART_PAGE)
LINKED = (*PAGES, *(ROOT / name for name in ("CHANGELOG.md", "DECISIONS.md")))

NOT_RUN = {
    "needs-cluster": "a Kubernetes cluster",
    "needs-docker": "a Docker daemon",
    "needs-root": "the rights of root, for what it would change on the machine",
    "needs-amplitude": "an account at Amplitude",
    "takes-minutes": "minutes, or gigabytes",
}
"""Why a command of a page may be left alone; the page says which by `not-run=...`."""

FENCE = re.compile(r"^(?P<indent> *)(?P<ticks>```+)(?P<info>[^`]*)$")
LINK = re.compile(r"(?<!!)\[(?:[^\]\[]|\[[^\]]*\])*\]\(([^)\s]+)\)")
TICKED = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
HEADING = re.compile(r"^#{1,6} (.+?)#*$", re.MULTILINE)


class Block(NamedTuple):
    """A fenced block: where it stands, what its fence says, and its text."""

    page: str
    line: int
    language: str
    words: tuple[str, ...]
    text: str

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def reason(self) -> str | None:
        """Why it is not run, or None."""
        said = [word.partition("=")[2] for word in self.words if word.startswith("not-run=")]
        return said[0] if said else None

    @property
    def file_name(self) -> str | None:
        """The file that the reader is to make of it: its first line is `# name.yaml`."""
        found = re.match(r"(?:#|//) ([\w.-]+\.(?:ya?ml|json|py|m?js|toml))\n", self.text)
        return found[1] if found else None


@cache
def blocks(page: Path) -> tuple[Block, ...]:
    """Every fenced block of a page, in order."""
    return tuple(_blocks(page))


def _blocks(page: Path) -> Iterator[Block]:
    opened: re.Match[str] | None = None
    began, inside = 0, list[str]()
    for number, line in enumerate(page.read_text().splitlines(), 1):
        found = FENCE.match(line)
        if opened is None:
            if found is not None:
                opened, began, inside = found, number, []
        elif found is not None and found["ticks"] == opened["ticks"] and not found["info"].strip():
            language, *words = opened["info"].split() or [""]
            text = "".join(f"{each.removeprefix(opened['indent'])}\n" for each in inside)
            yield Block(str(page.relative_to(ROOT)), began, language, tuple(words), text)
            opened = None
        else:
            inside.append(line)
    assert opened is None, f"{page.name}:{began}: the block does not end"


@cache
def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    kept, inside = [], False
    for line in page.read_text().splitlines():
        if FENCE.match(line):
            inside = not inside
        elif not inside:
            kept.append(line)
    return "\n".join(kept)


def label(page: Path) -> str:
    """Return what a test of a page is called by."""
    return str(page.relative_to(ROOT))


def names(page: Path) -> set[str]:
    """What stands in backticks."""
    return set(TICKED.findall(prose(page)))


def links(page: Path) -> set[str]:
    """Where its links lead, those to the web left out."""
    found = set(LINK.findall(TICKED.sub("`", prose(page))))
    return {link for link in found if not re.match(r"[a-z]+:", link)}


@cache
def anchors(page: Path) -> frozenset[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    found: dict[str, int] = {}
    made = set()
    for heading in HEADING.findall(prose(page)):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading.strip()).lower()
        slug = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        count = found.setdefault(slug, 0)
        made.add(f"{slug}-{count}" if count else slug)
        found[slug] += 1
    return frozenset(made)
