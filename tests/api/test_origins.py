import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.api.origins import LONGEST, Origins
from proxy.settings.cors import ORIGIN

SHOP = "https://shop.example"


def test_an_exact_origin_is_itself_and_nothing_else() -> None:
    origins = Origins([SHOP])

    assert SHOP in origins
    assert "HTTPS://SHOP.example:443" in origins
    for other in (
        "http://shop.example", "https://shop.example:8443", "https://a.shop.example",
        "https://shop.example.evil.example", "https://shop.exampl", "https://shop.example/",
        "https://shop.example evil", f"{SHOP}\r\nX: y", f"{SHOP}\n", f" {SHOP}", "null", "", "*",
        "none", "https://*.shop.example",
    ):  # fmt: skip
        assert other not in origins


@pytest.mark.parametrize(
    ("pattern", "taken", "refused"),
    [
        (
            "https://*.example.com",
            ["https://a.example.com", "https://a.b.example.com", "https://a.example.com:443"],
            [
                "https://example.com", "https://evilexample.com", "http://a.example.com",
                "https://a.example.com.evil", "https://a.example.com:8443",
                "https://.example.com", "https://*.example.com",
            ],
        ),
        (
            "http://localhost:*",
            ["http://localhost", "http://localhost:3000", "http://localhost:80"],
            ["https://localhost:3000", "http://localhost.evil:3000", "http://localhost:"],
        ),
        (
            "https://*.example.com:*",
            ["https://a.example.com", "https://a.example.com:1"],
            ["https://example.com:1"],
        ),
        ("http://[::1]:3000", ["http://[::1]:3000"], ["http://[::1]", "http://[::2]:3000"]),
        ("capacitor://localhost", ["capacitor://localhost"], ["ionic://localhost"]),
        ("null", ["null"], ["https://null", ""]),
        ("HTTPS://Shop.Example", [SHOP], []),
    ],
)  # fmt: skip
def test_patterns_of_origins(pattern: str, taken: list[str], refused: list[str]) -> None:
    origins = Origins([pattern])

    assert re.fullmatch(ORIGIN, pattern)
    assert [text for text in taken if text not in origins] == []
    assert [text for text in refused if text in origins] == []


def test_any_origin_and_no_origin() -> None:
    assert Origins(["*"]).is_any
    assert "whatever" in Origins(["https://a.example", "*"])
    assert not Origins(["none"])
    assert not Origins([])
    assert SHOP in Origins(["none", SHOP])


@pytest.mark.parametrize(
    ("texts", "only"),
    [
        ([SHOP], SHOP),
        (["HTTPS://Shop.example"], SHOP),
        ([SHOP, "https://b.example"], None),
        ([SHOP, "null"], None),
        (["https://*.example"], None),
        (["http://localhost:*"], None),
        (["*"], None),
        ([], None),
    ],
)
def test_the_only_origin_is_known(texts: list[str], only: str | None) -> None:
    assert Origins(texts).only == only


LABEL = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)
HOST = st.lists(LABEL, min_size=1, max_size=4).map(".".join)


@given(host=HOST, under=HOST, other=HOST)
def test_a_pattern_takes_subdomains_only(host: str, under: str, other: str) -> None:
    origins = Origins([f"https://*.{host}"])

    assert f"https://{under}.{host}" in origins
    assert f"https://{host}" not in origins
    assert (f"https://{other}" in origins) == other.endswith("." + host)


@given(text=st.text(max_size=60) | st.from_regex(ORIGIN))
def test_what_is_taken_could_be_written_in_a_header(text: str) -> None:
    origins = Origins(["https://*.example.com", "http://localhost:*", "null"])

    if text in origins:
        assert text.isprintable()
        assert text.isascii()
        assert not set(text) & set(" ,;\r\n")


def test_endless_origins_are_none() -> None:
    assert "https://" + "a." * LONGEST + "example.com" not in Origins(["https://*.example.com"])
