"""Every command and every program of the pages is run, or says why not."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.docs.likeness import alike
from tests.docs.pages import NOT_RUN, PAGES, Block, blocks, label
from tests.docs.reader import Reader

RUN = {"sh", "python", "js"}
SAID = {"output", "until-stopped", "wrong"}
"""What a fence may say: the answer to the block above; until Ctrl-C; wrong on purpose."""


def work(page: Path) -> list[tuple[Block, Block | None]]:
    """What a reader does, each with the answer that the page shows of it."""
    found = blocks(page)
    following = (*found[1:], None)
    return [
        (block, after if after is not None and "output" in after.words else None)
        for block, after in zip(found, following, strict=False)
        if "output" not in block.words
        and block.reason is None
        and (block.language in RUN or block.file_name is not None)
    ]


@pytest.mark.system
@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if any(block.language in RUN for block, _ in work(page))],
    ids=label,
)
def test_a_reader_can_do_what_the_page_says(page: Path) -> None:
    # Not pytest's own folder: the path of a Unix socket below it would be too long.
    with (
        TemporaryDirectory(prefix="reader", dir="/tmp", ignore_cleanup_errors=True) as place,
        Reader(Path(place)) as reader,
    ):
        for block, answer in work(page):
            reader.do(block, answer)


@pytest.mark.parametrize("page", PAGES, ids=label)
def test_what_is_not_run_says_why(page: Path) -> None:
    for block in blocks(page):
        assert block.reason is None or block.reason in NOT_RUN, block.place
        unknown = {word for word in block.words if not word.startswith("not-run=")} - SAID
        assert not unknown, f"{block.place} says {unknown}"


def test_an_answer_is_compared_with_what_the_page_shows() -> None:
    assert alike("a  1\nb 2\n", "a 1\n…", "text")
    assert not alike("a 1\n", "a 2\n", "text")
    assert alike('{"a": {"b": 1, "c": 2}, "d": 3}', '{"a": {"b": 1}, "d": "…"}', "json")
    assert not alike('{"a": {"b": 1}}', '{"a": {"b": 2}}', "json")
    assert not alike("{}", '{"a": "…"}', "json")
    assert not alike("[1, 2]", "[1]", "json")
    assert alike("[1, 2]", '[2, "…"]', "json")
    assert not alike("not json", "{}", "json")
