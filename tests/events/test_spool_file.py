"""The file alone: what is committed is there, within its bounds, and what is broken is no crash."""

import os
import sqlite3
import stat
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.errors import SpoolDamaged, SpoolUnusable
from proxy.events.event import RECORD_BYTES, Event
from proxy.events.spool_file import Change, SpoolFile
from proxy.events.spool_folder import DAMAGED_NAME, NAME, set_aside
from proxy.upstream.analytics import Limits

WIDE = Limits(events=1000, size=1_000_000)
ALL = (-(2**40), 2**40)
MEBIBYTE = 1_048_576


@contextmanager
def opened(folder: Path) -> Iterator[SpoolFile]:
    file = SpoolFile.open(folder)
    try:
        yield file
    finally:
        file.close()


def change(*added: Event, label: str = "p", **given: Any) -> Change:
    usual = {"removed": (), "spared": (), "labels": [label], "max_bytes": 2**30}
    return Change(added=[(label, event) for event in added], **{**usual, **given})


def made(number: int, size: int = 20, at: float = 1000.0, **members: Any) -> Event:
    return Event(number, b"%d" % number + b" " * size, at, **members)


def read(file: SpoolFile, limits: Limits = WIDE, span: tuple[int, int] = ALL) -> list[Event]:
    return file.read("p", span, [], limits)[0]


def numbers(events: list[Event]) -> list[int]:
    return [event.number for event in events]


events = st.builds(
    Event,
    number=st.integers(1, 2**40),
    body=st.binary(max_size=200),
    at=st.integers(0, 2**41).map(lambda millis: millis / 1000),
    key=st.integers(0, 2**128 - 1),
    kind=st.sampled_from(["assignment", "exposure", "ingest"]),
)


@settings(max_examples=25)
@given(st.lists(events, unique_by=lambda event: event.number, max_size=150))
def test_what_is_committed_is_read_as_it_was_by_the_next_process_too(
    tmp_path_factory: pytest.TempPathFactory, some: list[Event]
) -> None:
    folder = tmp_path_factory.mktemp("spool")
    some.sort(key=lambda event: event.number)

    with opened(folder) as file:
        file.commit(change(*some))
        assert read(file) == some
    with opened(folder) as file:
        again = read(file)

    assert [(e.body, e.at, e.key, e.kind) for e in again] == [
        (e.body, e.at, e.key, e.kind) for e in some
    ]
    assert all(event.number < 1 for event in again), "numbers begin anew"


def test_a_batch_is_full_when_the_next_event_has_no_room(tmp_path: Path) -> None:
    with opened(tmp_path) as file:
        file.commit(change(*(made(n, size=9) for n in range(1, 6))))

        two, is_full = file.read("p", ALL, [1], Limits(events=9, size=21))
        rest, is_all = file.read("p", (4, 9), [], WIDE)

    assert (numbers(two), is_full) == ([2, 3], True)
    assert (numbers(rest), is_all) == ([4, 5], False)


def test_a_batch_has_one_set_of_options(tmp_path: Path) -> None:
    with opened(tmp_path) as file:
        kinds = [b"{}", b'{"min_id_length":7}'] * 3
        file.commit(change(*(made(n, options=options) for n, options in enumerate(kinds, 1))))

        first = read(file)
        second = file.read("p", ALL, numbers(first), WIDE)[0]

    assert numbers(first) == [1, 3, 5]
    assert numbers(second) == [2, 4, 6]
    assert {event.options for event in second} == {b'{"min_id_length":7}'}


def test_projects_are_apart(tmp_path: Path) -> None:
    with opened(tmp_path) as file:
        file.commit(change(made(1), made(3)))
        file.commit(change(made(2, size=50), label="other"))

        assert numbers(read(file)) == [1, 3]
        assert sorted(found[:2] for found in file.found()) == [("other", 1), ("p", 2)]


def test_what_is_removed_is_gone(tmp_path: Path) -> None:
    with opened(tmp_path) as file:
        file.commit(change(made(1), made(2), made(3)))
        done = file.commit(change(removed=[1, 3]))
        assert done.oldest == {"p": 1000.0}
        file.commit(change(removed=[2]))
        assert file.commit(change()).oldest == {}
    with opened(tmp_path) as file:
        assert file.found() == []


def test_the_old_go_save_those_on_their_way(tmp_path: Path) -> None:
    with opened(tmp_path) as file:
        file.commit(change(*(made(n, at=float(n), key=n) for n in range(1, 6))))

        done = file.commit(change(before=4.0, spared=[2]))

        assert [(reason, slip.key) for reason, _, slip in done.lost] == [
            ("too_old", 1),
            ("too_old", 3),
        ]
        assert numbers(read(file)) == [2, 4, 5]


def test_the_oldest_give_way_and_no_more_than_need_to(tmp_path: Path) -> None:
    size = 5_000 - RECORD_BYTES
    with opened(tmp_path) as file:
        lost = []
        for n in range(1, 401):
            done = file.commit(change(made(n, size=size), max_bytes=MEBIBYTE, spared=[5]))
            lost += [slip.number for _, _, slip in done.lost]
            assert done.used <= MEBIBYTE

        left = numbers(read(file, Limits(events=1000, size=2**30)))

    assert 5 in left
    assert sorted(lost + left) == list(range(1, 401))
    assert lost == sorted(lost)
    assert all(n > lost[-1] for n in left if n != 5)
    assert len(left) > 160, "most of the room is used"
    assert sum(each.stat().st_size for each in tmp_path.glob(NAME)) <= 1.2 * MEBIBYTE


def test_what_cannot_be_dropped_stays_whatever_the_bound(tmp_path: Path) -> None:
    with opened(tmp_path) as file:
        done = file.commit(change(made(1, size=2 * MEBIBYTE), max_bytes=MEBIBYTE, spared=[1]))

        assert done.lost == []
        assert numbers(read(file)) == [1]


def test_room_that_is_not_needed_goes_back(tmp_path: Path) -> None:
    with opened(tmp_path) as file:
        file.commit(change(*(made(n, size=15_000) for n in range(1, 2001))))
        file.commit(change(removed=range(1, 2001)))
        for _ in range(20):
            file.commit(change(made(1), removed=[1]))
            file.commit(change(removed=[1]))
    assert (tmp_path / NAME).stat().st_size < 20_000_000


def test_a_failed_commit_changes_nothing(tmp_path: Path) -> None:
    with opened(tmp_path) as file:
        file.commit(change(made(1)))

        with pytest.raises(SpoolUnusable):
            file.commit(change(made(2), made(3, kind=None)))

        assert numbers(read(file)) == [1]
        file.commit(change(made(2)))
        assert numbers(read(file)) == [1, 2]


class Failing(sqlite3.Connection):
    """A disk that fails at the statements that it is told to fail at."""

    fails_at: tuple[str, ...] = ()
    done_all_the_same = False

    def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
        if sql.startswith(self.fails_at or ("nothing",)):
            if self.done_all_the_same:
                super().execute(sql, *values)
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR
            raise error
        return super().execute(sql, *values)


@contextmanager
def failing(folder: Path) -> Iterator[tuple[SpoolFile, Failing]]:
    with opened(folder):
        pass
    connection = sqlite3.connect(folder / NAME, isolation_level=None, factory=Failing)
    connection.text_factory = bytes
    try:
        yield SpoolFile(connection), connection
    finally:
        connection.close()


def test_what_could_not_be_undone_is_undone_later(tmp_path: Path) -> None:
    with failing(tmp_path) as (file, disk):
        file.commit(change(made(1)))
        disk.fails_at = ("COMMIT", "ROLLBACK")
        with pytest.raises(SpoolUnusable, match="the disk fails"):
            file.commit(change(made(2), removed=[1]))
        disk.fails_at = ()

        assert numbers(read(file)) == [1]
        file.commit(change(made(3)))
        assert numbers(read(file)) == [1, 3]


def test_what_is_on_disk_though_it_could_not_be_is_nobodys(tmp_path: Path) -> None:
    with failing(tmp_path) as (file, disk):
        file.commit(change(made(1)))
        disk.fails_at, disk.done_all_the_same = ("COMMIT",), True
        with pytest.raises(SpoolUnusable):
            file.commit(change(made(2), made(3)))
        disk.fails_at = ()

        assert numbers(read(file)) == [1], "the others are in memory"
        assert file.commit(change(made(3))).lost == []
        assert numbers(read(file)) == [1, 3]
        assert file.commit(change(max_bytes=0)).lost[-1][2].number == 3


@pytest.mark.parametrize("column", ["options", "kind", "project"])
def test_text_that_is_none_is_damage(tmp_path: Path, column: str) -> None:
    with opened(tmp_path) as file:
        file.commit(change(made(1)))
    connection = sqlite3.connect(tmp_path / NAME)
    connection.execute(f"UPDATE event SET {column} = CAST(x'ff' AS TEXT)")
    connection.commit()
    connection.close()

    with opened(tmp_path) as file:
        look = file.found if column == "project" else partial(read, file)
        with pytest.raises(SpoolDamaged):
            look()


def test_rights_of_others_are_taken_away(tmp_path: Path) -> None:
    folder = tmp_path / "events"
    folder.mkdir()
    folder.chmod(0o755)

    with opened(folder):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.needs("root")
@pytest.mark.parametrize("foreign", ["data", "data/events"])
def test_what_belongs_to_somebody_else_is_not_used(tmp_path: Path, foreign: str) -> None:
    folder = tmp_path / "data" / "events"
    (tmp_path / foreign).mkdir(parents=True)
    try:
        os.chown(tmp_path / foreign, 12345, -1)
    except PermissionError:
        pytest.skip("needs root")

    with pytest.raises(SpoolUnusable, match="it belongs to user 12345 and not to user 0"):
        SpoolFile.open(folder)

    assert not (folder / NAME).exists()


def test_a_link_in_the_place_of_the_directory_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "events").symlink_to("elsewhere")

    with pytest.raises(SpoolUnusable, match="Not a directory"):
        SpoolFile.open(tmp_path / "events")

    assert not list((tmp_path / "elsewhere").iterdir())


def test_only_the_owner_may_read_it(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "events"
    with opened(folder) as file:
        file.commit(change(made(1)))
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert {stat.S_IMODE(each.stat().st_mode) for each in folder.iterdir()} == {0o600}


@pytest.mark.parametrize("garbage", [b"not a database at all" * 400, b"\0" * 4096])
def test_garbage_is_set_aside_and_one_copy_is_kept(tmp_path: Path, garbage: bytes) -> None:
    for _ in range(2):
        (tmp_path / NAME).write_bytes(garbage)
        with pytest.raises(SpoolDamaged):
            SpoolFile.open(tmp_path)
        set_aside(tmp_path)
        with opened(tmp_path) as file:
            file.commit(change(made(1)))

    assert (tmp_path / DAMAGED_NAME).read_bytes() == garbage
    assert {each.name for each in tmp_path.iterdir()} == {NAME, DAMAGED_NAME}


def test_another_versions_file_is_not_touched(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / NAME)
    connection.execute("PRAGMA user_version = 7")
    connection.close()

    with pytest.raises(SpoolDamaged, match="version is 7"):
        SpoolFile.open(tmp_path)


def test_pages_that_went_bad_are_noticed_when_they_are_read(tmp_path: Path) -> None:
    with opened(tmp_path) as file:
        file.commit(change(*(made(n, size=9000) for n in range(1, 200))))
    size = (tmp_path / NAME).stat().st_size
    with (tmp_path / NAME).open("r+b") as raw:
        raw.seek(5 * 16_384)
        raw.write(os.urandom(size - 5 * 16_384))

    with pytest.raises(SpoolDamaged), opened(tmp_path) as file:
        read(file, Limits(events=1000, size=2**30))


def test_no_directory_can_be_made_where_a_file_is(tmp_path: Path) -> None:
    (tmp_path / "events").write_text("")

    with pytest.raises(SpoolUnusable, match="Not a directory"):
        SpoolFile.open(tmp_path / "events")


def test_a_second_process_is_told_that_somebody_has_it(tmp_path: Path) -> None:
    other = """
        import sys
        from pathlib import Path
        from proxy.errors import SpoolUnusable
        from proxy.events.spool_file import SpoolFile
        try:
            SpoolFile.open(Path(sys.argv[1]))
        except SpoolUnusable as error:
            print(error)
    """
    command = [sys.executable, "-c", textwrap.dedent(other), str(tmp_path)]
    with opened(tmp_path) as file:
        file.commit(change(made(1)))
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        file.commit(change(made(2)))
        assert numbers(read(file)) == [1, 2]

    assert said == "another process has it\n"
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout == ""
