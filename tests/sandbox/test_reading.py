"""The YAML reader: lines, texts that stay texts, and mistakes that say where."""

import pytest

from proxy.sandbox.reading import FileMistake, Node, read_yaml


def test_words_that_yaml_takes_for_truth_values_stay_words() -> None:
    tree = read_yaml("on: off\nyes: no\nday: 2026-03-01\ntime: 12:30\n")

    assert tree.plain() == {"on": "off", "yes": "no", "day": "2026-03-01", "time": "12:30"}


def test_scalars_are_numbers_truth_values_and_null_where_they_look_so() -> None:
    tree = read_yaml("[1, -2, 1.5, .5e3, true, False, null, ~, '1', \"true\", 1.2.3, '']")

    assert tree.plain() == [1, -2, 1.5, 500.0, True, False, None, None, "1", "true", "1.2.3", ""]


def test_an_empty_file_is_an_empty_map() -> None:
    assert read_yaml("# nothing\n").entries("the file") == {}


def test_every_entry_knows_the_line_of_its_name() -> None:
    tree = read_yaml("a:\n  b: 1\n  c:\n    - 1\n    - 2\n")

    inner = tree.entries("top")["a"].entries("a")
    assert (inner["b"].line, inner["c"].line) == (2, 3)
    assert [item.line for item in inner["c"].items("c")] == [4, 5]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: 1\nb: [1, 2\nc: 3\n", 3),
        ("a: 1\n\tb: 2\n", 2),
        ("a: *unknown\n", 1),
        ("a: 1\na: 2\n", 2),
        ("a: 1\n? [x]\n: 2\n", 2),
        ("a: &a\n  - *a\n", 1),
        ("a: \x07\n", 1),
    ],
    ids=["unclosed", "tab", "alias", "twice", "list as a name", "endless", "control character"],
)
def test_what_is_no_yaml_is_a_mistake_with_its_line(text: str, line: int) -> None:
    with pytest.raises(FileMistake) as caught:
        read_yaml(text)

    assert caught.value.line == line
    assert str(caught.value).startswith(f"line {line}: ")


def test_what_is_never_closed_tells_where_it_began() -> None:
    with pytest.raises(FileMistake, match=r"line 3: .* that begins in line 2\)$"):
        read_yaml("a: 1\nb: [1, 2\nc: 3\n")


@pytest.mark.parametrize("wrong", ["101%", "-1", "a quarter", "2.5%", "1000"])
def test_percents_are_whole_and_at_most_a_hundred(wrong: str) -> None:
    with pytest.raises(FileMistake, match="whole percents"):
        Node(7, wrong).percent("rollout")


def test_percents_may_have_a_sign() -> None:
    assert [Node(1, given).percent("rollout") for given in ("25%", 25, "100 %", "0")] == [
        25,
        25,
        100,
        0,
    ]


def test_scalars_are_read_as_the_text_that_stands_there() -> None:
    assert read_yaml("[a, 1, 1.5, true]").texts("list") == ["a", "1", "1.5", "true"]
    assert read_yaml("just one").texts("list") == ["just one"]
    assert Node(1, None).texts("list") == []


@pytest.mark.parametrize(
    "ask",
    [
        lambda node: node.entries("it"),
        lambda node: node.text("it"),
        lambda node: Node(3, {"a": node}).items("it"),
        lambda node: Node(3, {"a": node}).entries("it", ("b",)),
    ],
    ids=["a list for a map", "a list for a text", "a map for a list", "an unknown name"],
)
def test_a_value_of_the_wrong_kind_is_a_mistake(ask: object) -> None:
    node = Node(3, [])

    with pytest.raises(FileMistake) as caught:
        ask(node)  # type: ignore[operator]

    assert caught.value.line == 3
