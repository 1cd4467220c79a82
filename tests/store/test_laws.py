"""Whatever is kept, noted, forgotten, committed, lost and found: it is what a dictionary holds."""

import asyncio
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from proxy.store.store import Store
from tests.store.rig import (
    LARGE,
    Broken,
    FaultyDisk,
    contents,
    failures,
    files_in,
    make,
    make_file,
    named_in,
)

Kept = dict[tuple[str, str], tuple[object, dict[str, bytes]]]

kinds = st.sampled_from(["flags", "cohorts"])
ids = st.sampled_from(["a", "b", "c"])
metas = st.dictionaries(st.sampled_from("xy"), st.integers(0, 3), max_size=1)
bodies = st.sampled_from([b"", b"1", b"22", b"\x00" * 5000])
roles = st.dictionaries(st.sampled_from(["body", "index", "packed"]), bodies, max_size=2)
made = st.dictionaries(
    st.sampled_from(["index", "packed"]), st.sampled_from([1, LARGE]), max_size=2
)


class DiskAndModel(RuleBasedStateMachine):
    """`wanted` is what is kept now, `durable` what was kept at the last commit."""

    def __init__(self) -> None:
        super().__init__()
        self._loop = asyncio.new_event_loop()
        self._place = TemporaryDirectory()
        self._data = Path(self._place.name) / "data"
        self._wanted: Kept = {}
        self._durable: Kept = {}
        self._open()

    def _do(self, work: Any) -> Any:
        return self._loop.run_until_complete(work)

    def _open(self) -> None:
        self._disk = FaultyDisk(lambda _number, _name: None)
        self._store: Store = make(self._data, disk=self._disk)
        self._do(self._store.open())
        assert self._store.trouble == ""

    @rule(kind=kinds, id_=ids, meta=metas, bodies=roles, made=made)
    def keep(
        self,
        kind: str,
        id_: str,
        meta: dict[str, int],
        bodies: dict[str, bytes],
        made: dict[str, int],
    ) -> None:
        large = {role: b"x" * size for role, size in made.items()}
        bodies = {role: body for role, body in bodies.items() if role not in made}
        files = {role: make_file(self._store.workspace, body) for role, body in large.items()}
        self._store.keep(kind, id_, meta, bodies=bodies, files=files)
        self._wanted[kind, id_] = (meta, {**bodies, **large})

    @rule(kind=kinds, id_=ids, meta=metas)
    def note(self, kind: str, id_: str, meta: dict[str, int]) -> None:
        self._store.note(kind, id_, meta)
        if (kind, id_) in self._wanted:
            self._wanted[kind, id_] = (meta, self._wanted[kind, id_][1])

    @rule(kind=kinds, id_=ids)
    def forget(self, kind: str, id_: str) -> None:
        self._store.forget(kind, id_)
        self._wanted.pop((kind, id_), None)

    @rule()
    def commit(self) -> None:
        assert self._do(self._store.commit()) is True
        self._durable = dict(self._wanted)

    @rule()
    def reopen(self) -> None:
        self._do(self._store.close())
        self._durable = dict(self._wanted)
        self._open()
        self._compare()

    @rule()
    def crash(self) -> None:
        self._disk._go()
        with suppress(Broken):
            self._do(self._store.close())
        self._wanted = dict(self._durable)
        self._open()
        self._compare()

    @precondition(lambda self: self._wanted == self._durable)
    @rule()
    def look_from_beside(self) -> None:
        second = make(self._data)
        self._do(second.open())
        assert "another instance" in second.trouble
        self._compare(second)
        self._do(second.close())

    @invariant()
    def nothing_is_damaged(self) -> None:
        assert failures(self._store) == {}
        assert self._store.lost == frozenset()

    def _compare(self, store: Store | None = None) -> None:
        found = {
            (kind, id_): record
            for kind in ("flags", "cohorts")
            for id_, record in self._do(contents(store or self._store, kind)).items()
        }
        assert found == self._durable

    def teardown(self) -> None:
        self._do(self._store.close())
        assert files_in(self._data) <= named_in(self._data)
        self._loop.close()
        self._place.cleanup()


DiskAndModel.TestCase.settings = settings(max_examples=50, stateful_step_count=25, deadline=None)
test_the_disk_holds_what_a_dictionary_would = DiskAndModel.TestCase
