import pytest

from proxy.cohorts.names import digest


def test_a_digest_is_the_128_bit_hash_of_the_utf8_text() -> None:
    # MurmurHash3 x64 128 of the empty text, and of "hello" as its author's code gives it.
    assert digest("") == bytes(16)
    assert digest("hello").hex() == "029bbd41b3a7d8cb191dae486a901e5b"


@pytest.mark.parametrize("name", ["ü", "日本", "😀", "\ud800", "a\x00b"])
def test_every_name_has_a_digest_of_its_own(name: str) -> None:
    assert len(digest(name)) == 16
    assert digest(name) != digest(name + "x")
