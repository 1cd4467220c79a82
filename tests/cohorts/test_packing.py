import gzip
import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.cohorts.jobs import FileMade
from proxy.cohorts.output import Output
from proxy.cohorts.packing import Heading, pack

HEADING = Heading("c1", "org id", 17)


def packed(path: Path, lots: list[list[str]]) -> tuple[bytes, int, FileMade]:
    path.unlink(missing_ok=True)
    encoded = [[name.encode("utf-8", "surrogatepass") for name in names] for names in lots]
    with Output(path) as to:
        plain_bytes = pack(HEADING, 5, encoded, to)
        made = to.finish()
    return path.read_bytes(), plain_bytes, made


@given(lots=st.lists(st.lists(st.text(st.characters(codec=None)), min_size=1), max_size=4))
def test_a_packed_body_has_all_five_fields_and_every_member(
    lots: list[list[str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("packing") / "packed"
    data, plain_bytes, made = packed(path, lots)
    text = gzip.decompress(data)
    assert json.loads(text) == {
        "cohortId": "c1",
        "groupType": "org id",
        "lastModified": 17,
        "size": 5,
        "memberIds": [name for names in lots for name in names],
    }
    assert plain_bytes == len(text)
    assert made == FileMade(name="packed", size=len(data), sha256=hashlib.sha256(data).hexdigest())


def test_equal_bodies_are_packed_to_equal_bytes(tmp_path: Path) -> None:
    one = packed(tmp_path / "one", [["a", "b"]])[0]
    assert one == packed(tmp_path / "two", [["a"], ["b"]])[0]
    assert gzip.decompress(one).endswith(b'"size":5,"memberIds":["a","b"]}')


def test_half_a_surrogate_pair_is_served_as_it_was_spelt(tmp_path: Path) -> None:
    data, plain_bytes, _ = packed(tmp_path / "packed", [["a", "\ud800", '"'], ["b"]])
    text = gzip.decompress(data)
    assert text.endswith(rb'["a","\ud800","\"","b"]}')
    assert len(text) == plain_bytes
