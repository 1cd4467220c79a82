"""From one data directory to another, or not at all."""

import gzip
import hashlib
import os
import tracemalloc
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.archives import facts as spelled
from proxy.archives.exporting import export
from proxy.archives.importing import Terms, import_archive
from proxy.archives.inspecting import inspect
from proxy.archives.keys import read_trusted
from proxy.archives.refusals import REASONS
from proxy.errors import ArchiveError
from proxy.secret import Secret
from proxy.store.disk import Disk
from proxy.store.ledger import Content, Entry
from proxy.store.records import StoredFile
from proxy.store.writer import Writer
from tests.archives.rig import (
    KEYS,
    NOW,
    SECRETS,
    Forge,
    Pair,
    described,
    exported,
    files_in,
    filled,
    flags_of,
    held,
    let_in,
    members_of,
    packed,
    pair,
    same,
    with_list,
)

OTHER = (
    "flags: {plain: {serve: off}, more: {serve: on}}\ncohorts: {others: [bob], friends: [ada]}\n"
)


@pytest.fixture
def keys(tmp_path: Path) -> Pair:
    return pair(tmp_path)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return filled(tmp_path / "source")


def refused(path: Path, directory: Path, keys: Pair, **terms: Any) -> str:
    """The word for why an archive is refused; the directory holds what it held."""
    before = files_in(directory)
    with pytest.raises(ArchiveError) as caught:
        let_in(path, directory, keys, **terms)
    assert files_in(directory) == before
    assert caught.value.reason in REASONS
    return caught.value.reason


def test_what_is_exported_is_what_is_imported(tmp_path: Path, keys: Pair, source: Path) -> None:
    outcome = let_in(exported(source, keys), tmp_path / "site", keys)

    there = held(tmp_path / "site")
    assert same(there, held(source))
    assert flags_of(there).keys() == {Secret(key).label for key in KEYS}
    [(name, (size, body))] = members_of(there).items()
    assert name.endswith("/friends")
    assert size == 2
    assert b"grace" in body
    assert outcome.changed
    assert outcome.signer == keys.signer.fingerprint
    assert there.imported is not None
    assert there.imported.id == outcome.facts.id
    assert there.as_of == NOW - 100


def test_the_same_again_changes_nothing(tmp_path: Path, keys: Pair, source: Path) -> None:
    path = exported(source, keys)
    let_in(path, tmp_path / "site", keys)
    before = files_in(tmp_path / "site"), (tmp_path / "site" / "manifest.json").stat().st_ino

    assert not let_in(path, tmp_path / "site", keys).changed
    after = files_in(tmp_path / "site"), (tmp_path / "site" / "manifest.json").stat().st_ino
    assert after == before


def test_a_newer_one_takes_the_place_of_all_that_was_there(
    tmp_path: Path, keys: Pair, source: Path
) -> None:
    let_in(exported(source, keys), tmp_path / "site", keys)
    newer = filled(tmp_path / "newer", OTHER, NOW - 50)

    assert let_in(exported(newer, keys), tmp_path / "site", keys).changed
    assert same(held(tmp_path / "site"), held(newer))


def test_no_key_is_in_it(tmp_path: Path, keys: Pair, source: Path) -> None:
    path = exported(with_list(source), keys)

    forge = Forge(path)
    everything = path.read_bytes() + b"".join(
        gzip.decompress(data) for data in forge.members.values() if data[:2] == b"\x1f\x8b"
    )
    assert not [secret for secret in SECRETS if secret.encode() in everything]
    assert keys.private.read_bytes().splitlines()[1] not in everything
    named = {one.key: one.label for one in forge.facts.deployments}
    assert named == {
        Secret("server-listed-key").label: "production",
        Secret(KEYS[0]).label: "staging",
    }


def test_a_list_of_deployments_stays_where_it_was(tmp_path: Path, keys: Pair, source: Path) -> None:
    site = with_list(filled(tmp_path / "site", OTHER, NOW - 500))
    lists = held(site).lists

    let_in(exported(source, keys), site, keys)

    assert same(held(site), held(source))
    assert held(site).lists == lists != {}


def test_a_flipped_bit_is_refused_wherever_it_is(tmp_path: Path, keys: Pair, source: Path) -> None:
    path = exported(source, keys)
    good, other = path.read_bytes(), tmp_path / "flipped"
    missed = []
    for place in range(0, len(good), 31):
        bad = bytearray(good)
        bad[place] ^= 1 << place % 8
        other.write_bytes(bad)
        try:
            inspect(other, keys.trusted)
        except ArchiveError:
            continue
        missed.append(place)
    assert missed == []


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_changed_file_never_comes_in(
    tmp_path: Path, keys: Pair, source: Path, data: st.DataObject
) -> None:
    good = exported(source, keys).read_bytes()
    site = tmp_path / "site"
    if not site.exists():
        filled(site, OTHER, NOW - 500)
    start = data.draw(st.integers(0, len(good) - 1))
    end = data.draw(st.integers(start, min(start + 700, len(good))))
    middle = data.draw(st.binary(max_size=700))
    bad = good[:start] + middle + good[end:]
    if bad == good:
        return
    changed = tmp_path / "changed"
    changed.write_bytes(bad)

    before = (site / "manifest.json").read_bytes()
    refused(changed, site, keys)
    assert (site / "manifest.json").read_bytes() == before


@pytest.mark.parametrize("length", [0, 1, 511, 512, 1024, -1, -512, -1024])
def test_a_cut_file_is_refused(tmp_path: Path, keys: Pair, source: Path, length: int) -> None:
    path = exported(source, keys)
    path.write_bytes(path.read_bytes()[:length])

    assert refused(path, tmp_path / "site", keys) == "damaged"


def test_what_follows_the_end_is_refused(tmp_path: Path, keys: Pair, source: Path) -> None:
    path = exported(source, keys)
    path.write_bytes(path.read_bytes() + b"\0")

    assert refused(path, tmp_path / "site", keys) == "damaged"


def test_only_trusted_keys_count_and_each_of_them(tmp_path: Path, keys: Pair, source: Path) -> None:
    path, stranger = exported(source, keys), pair(tmp_path, "stranger")

    assert refused(path, tmp_path / "site", stranger) == "unknown_signer"
    assert not (tmp_path / "site").exists()
    both = tmp_path / "both.pub"
    both.write_bytes(stranger.public.read_bytes() + b"\n" + keys.public.read_bytes())
    let_in(path, tmp_path / "site", keys._replace(trusted=read_trusted(both)))


def test_a_stranger_cannot_sign_in_the_name_of_a_trusted_key(
    tmp_path: Path, keys: Pair, source: Path
) -> None:
    stranger = pair(tmp_path, "stranger").signer
    stranger.fingerprint = keys.signer.fingerprint
    path = Forge(exported(source, keys)).written(tmp_path / "forged", stranger)

    assert refused(path, tmp_path / "site", keys) == "bad_signature"


@pytest.mark.parametrize("format_", [2, 99])
def test_a_newer_format_is_refused_as_such(
    tmp_path: Path, keys: Pair, source: Path, format_: int
) -> None:
    forge = Forge(exported(source, keys))
    manifest = b'{"format":%d,"whatever":["comes"]}\n' % format_
    path = forge.written(tmp_path / "newer", keys.signer, manifest)

    assert refused(path, tmp_path / "site", keys) == "newer_format"


@pytest.mark.parametrize("manifest", [b"{}", b"[", b'{"format":0}', b'{"format":1}', b"[" * 9999])
def test_a_signed_manifest_that_makes_no_sense_is_refused(
    tmp_path: Path, keys: Pair, source: Path, manifest: bytes
) -> None:
    path = Forge(exported(source, keys)).written(tmp_path / "odd", keys.signer, manifest)

    assert refused(path, tmp_path / "site", keys) == "damaged"


@pytest.mark.parametrize("name", ["../../../etc/passwd", "/etc/passwd", "a" * 31, "A" * 32, ""])
def test_no_name_leads_out(tmp_path: Path, keys: Pair, source: Path, name: str) -> None:
    forge = Forge(exported(source, keys))
    forge.change_member(
        "flags", "body", lambda member, data: (msgspec.structs.replace(member, name=name), data)
    )
    path = forge.written(tmp_path / "leading-out", keys.signer)

    assert refused(path, tmp_path / "site", keys) == "damaged"


@pytest.mark.parametrize(
    "changes",
    [
        {"sha256": "0"},
        {"plain_sha256": "F" * 64},
        {"size": -1},
        {"plain_size": -1},
        {"size": 10**30},
        {"packed": False},
    ],
    ids=str,
)
def test_a_member_that_cannot_be_is_refused(
    tmp_path: Path, keys: Pair, source: Path, changes: Any
) -> None:
    forge = Forge(exported(source, keys))
    records = []
    for record in forge.facts.records:
        body = record.files.get("body")
        if body is not None:
            other = msgspec.structs.replace(body, **changes)
            record = msgspec.structs.replace(record, files={"body": other})  # noqa: PLW2901
        records.append(record)
    forge.change(records=tuple(one for one in records if one.kind == "flags"))
    manifest = spelled.encode(forge.facts)
    forge.change(records=())
    path = forge.written(tmp_path / "odd", keys.signer, manifest)

    assert refused(path, tmp_path / "site", keys) == "damaged"


@pytest.mark.parametrize("role", ["body", "index", "packed"])
def test_a_file_that_is_not_what_the_manifest_says_is_refused(
    tmp_path: Path, keys: Pair, source: Path, role: str
) -> None:
    """Signed it may be, by somebody who made a mistake."""
    forge = Forge(exported(source, keys))
    kind = "flags" if role == "body" else "cohorts"
    wrong = (
        {"plain_sha256": "0" * 64}
        if role == "body"
        else {"sha256": "0" * 64, "plain_sha256": "0" * 64}
    )
    forge.change_member(kind, role, lambda one, data: (msgspec.structs.replace(one, **wrong), data))
    path = forge.written(tmp_path / "odd", keys.signer)

    assert refused(path, tmp_path / "site", keys) == "damaged"


def test_what_does_not_unpack_is_refused(tmp_path: Path, keys: Pair, source: Path) -> None:
    forge = Forge(exported(source, keys))
    forge.change_member(
        "flags", "body", lambda one, _: (described(one, b"no gzip", b"[]"), b"no gzip")
    )
    path = forge.written(tmp_path / "odd", keys.signer)

    assert refused(path, tmp_path / "site", keys) == "damaged"


def test_a_damaged_file_that_is_there_already_is_written_anew(
    tmp_path: Path, keys: Pair, source: Path
) -> None:
    path, site = exported(source, keys), tmp_path / "site"
    let_in(path, site, keys)
    for file in (site / "files").iterdir():
        file.write_bytes(bytes(len(file.read_bytes())))

    assert let_in(path, site, keys).changed
    assert same(held(site), held(source))


def test_the_same_name_twice_is_refused(tmp_path: Path, keys: Pair, source: Path) -> None:
    forge = Forge(exported(source, keys))
    forge.change(records=forge.facts.records * 2)
    path = forge.written(tmp_path / "twice", keys.signer)

    assert refused(path, tmp_path / "site", keys) == "damaged"


def test_what_unpacks_to_more_than_is_allowed_is_refused_before_anything_is_made(
    tmp_path: Path, keys: Pair, source: Path
) -> None:
    path = exported(source, keys)
    size = Forge(path).facts.plain_bytes

    assert refused(path, tmp_path / "site", keys, most_bytes=size - 1) == "too_large"
    let_in(path, tmp_path / "site", keys, most_bytes=size)


def test_what_unpacks_to_more_than_it_says_is_refused(
    tmp_path: Path, keys: Pair, source: Path
) -> None:
    bomb = gzip.compress(bytes(50_000_000))
    forge = Forge(exported(source, keys))
    forge.change_member("flags", "body", lambda one, _: (described(one, bomb, b"[]"), bomb))
    path = forge.written(tmp_path / "bomb", keys.signer)

    tracemalloc.start()
    assert refused(path, tmp_path / "site", keys) == "damaged"
    assert tracemalloc.get_traced_memory()[1] < 20_000_000
    tracemalloc.stop()


def test_what_follows_a_packed_file_is_refused_unread(
    tmp_path: Path, keys: Pair, source: Path
) -> None:
    forge = Forge(exported(source, keys))
    plain = gzip.decompress(_any_flags(forge))
    data = gzip.compress(plain) + bytes(40 << 20)
    forge.change_member("flags", "body", lambda one, _: (described(one, data, plain), data))
    path = forge.written(tmp_path / "longer", keys.signer)

    tracemalloc.start()
    assert refused(path, tmp_path / "site", keys) == "damaged"
    assert tracemalloc.get_traced_memory()[1] < 20_000_000
    tracemalloc.stop()


class AlmostFull(Disk):
    """A disk with little room left."""

    def free(self, inside: int) -> int:
        return 1000


def test_what_is_there_already_needs_no_room(tmp_path: Path, keys: Pair, source: Path) -> None:
    large_packed(source, 1 << 20)
    site, terms = tmp_path / "site", Terms(keys.trusted)
    path = exported(source, keys)
    with pytest.raises(ArchiveError, match="1000 are free"):
        import_archive(path, site, terms, NOW, AlmostFull())
    let_in(path, site, keys)
    again = exported(source, keys, now=NOW + 1)

    assert import_archive(again, site, terms, NOW, AlmostFull()).changed


def test_none_of_another_site_replaces_what_is_there(
    tmp_path: Path, keys: Pair, source: Path
) -> None:
    site, path = tmp_path / "site", exported(source, keys)
    ours = frozenset({Secret(KEYS[0]).label, "0" * 12})

    assert refused(path, site, keys, wanted=frozenset({"0" * 12}), force=True) == "empty"
    assert let_in(path, site, keys, wanted=ours).changed


def test_what_no_disk_holds_is_refused(tmp_path: Path, keys: Pair, source: Path) -> None:
    forge = Forge(exported(source, keys))
    huge = [
        msgspec.structs.replace(one, files={role: _huge(file) for role, file in one.files.items()})
        for one in forge.facts.records
        if one.kind == "cohorts"
    ]
    forge.change(records=tuple(huge))
    path = forge.written(tmp_path / "huge", keys.signer)

    assert refused(path, tmp_path / "site", keys, most_bytes=2**60, force=True) == "no_room"


def _huge(member: spelled.Member) -> spelled.Member:
    return msgspec.structs.replace(member, size=2**50, plain_size=2**50)


def test_an_older_one_is_refused_unless_it_is_forced(
    tmp_path: Path, keys: Pair, source: Path
) -> None:
    older = exported(filled(tmp_path / "older", OTHER, NOW - 1000), keys)
    site = tmp_path / "site"
    let_in(exported(source, keys), site, keys)

    assert refused(older, site, keys) == "older"
    assert same(held(site), held(source))
    let_in(older, site, keys, force=True)
    assert same(held(site), held(tmp_path / "older"))


def test_one_that_was_made_earlier_of_the_same_state_is_older(
    tmp_path: Path, keys: Pair, source: Path
) -> None:
    earlier = exported(source, keys, tmp_path / "earlier", NOW - 10)
    let_in(exported(source, keys), tmp_path / "site", keys)

    assert refused(earlier, tmp_path / "site", keys) == "older"


def test_a_directory_that_asked_amplitude_since_is_newer(
    tmp_path: Path, keys: Pair, source: Path
) -> None:
    online = filled(tmp_path / "online", OTHER, NOW - 1)

    assert refused(exported(source, keys), online, keys) == "older"


def test_without_flags_it_is_refused(tmp_path: Path, keys: Pair, source: Path) -> None:
    forge = Forge(exported(source, keys))
    forge.change(records=tuple(one for one in forge.facts.records if one.kind == "cohorts"))
    path = forge.written(tmp_path / "empty", keys.signer)

    assert refused(path, tmp_path / "site", keys) == "empty"


@pytest.mark.parametrize("body", [b"", b"{}", b"[1]", b'[{"key": 1}]', b"[}"])
def test_flags_that_nobody_could_serve_are_refused(
    tmp_path: Path, keys: Pair, source: Path, body: bytes
) -> None:
    forge = Forge(exported(source, keys))
    forge.change_member("flags", "body", lambda member, _: packed(member, body))
    path = forge.written(tmp_path / "unusable", keys.signer)

    assert refused(path, tmp_path / "site", keys) == "unusable"


def test_one_flag_that_cannot_be_used_is_told_and_stops_nothing(
    tmp_path: Path, keys: Pair, source: Path
) -> None:
    forge = Forge(exported(source, keys))
    body = msgspec.json.decode(gzip.decompress(_any_flags(forge)))
    body.append({"key": "broken", "segments": 5})
    forge.change_member("flags", "body", lambda one, _: packed(one, msgspec.json.encode(body)))
    path = forge.written(tmp_path / "mostly", keys.signer)

    assert let_in(path, tmp_path / "site", keys).problems == len(KEYS)


def _any_flags(forge: Forge) -> bytes:
    record = next(one for one in forge.facts.records if one.kind == "flags")
    return forge.members[f"files/{record.files['body'].name}"]


@pytest.mark.parametrize("index", [b"", bytes(64), bytes(200)], ids=len)
def test_a_cohort_that_cannot_be_looked_up_is_refused(
    tmp_path: Path, keys: Pair, source: Path, index: bytes
) -> None:
    forge = Forge(exported(source, keys))
    forge.change_member("cohorts", "index", lambda one, _: (described(one, index, index), index))
    path = forge.written(tmp_path / "unusable", keys.signer)

    assert refused(path, tmp_path / "site", keys) == "unusable"


@pytest.mark.parametrize(
    "changes",
    [{"id": "another"}, {"meta": msgspec.Raw(b"{}")}, {"meta": msgspec.Raw(b"[]")}, {"files": {}}],
)
def test_records_that_this_version_does_not_keep_so_are_refused(
    tmp_path: Path, keys: Pair, source: Path, changes: Any
) -> None:
    for kind in ("flags", "cohorts"):
        forge = Forge(exported(source, keys))
        records = [
            msgspec.structs.replace(one, **changes)
            for one in forge.facts.records
            if one.kind == kind
        ]
        forge.change(records=tuple(records[:1]))
        path = forge.written(tmp_path / "unusable", keys.signer)

        assert refused(path, tmp_path / "site", keys, force=True) == "unusable"


def test_a_cohort_of_another_size_than_it_says_is_refused(
    tmp_path: Path, keys: Pair, source: Path
) -> None:
    forge = Forge(exported(source, keys))
    records = [
        msgspec.structs.replace(
            one, meta=msgspec.Raw(bytes(one.meta).replace(b'"size":2', b'"size":3'))
        )
        for one in forge.facts.records
    ]
    forge.change(records=tuple(records))

    path = forge.written(tmp_path / "unusable", keys.signer)
    assert refused(path, tmp_path / "site", keys) == "unusable"


def test_a_directory_that_somebody_holds_is_left_alone(
    tmp_path: Path, keys: Pair, source: Path
) -> None:
    path, site = exported(source, keys), filled(tmp_path / "site", OTHER, NOW - 500)
    holder = Writer(site, Disk())
    holder.acquire()

    with pytest.raises(ArchiveError, match="another instance holds"):
        let_in(path, site, keys)
    holder.close()
    let_in(path, site, keys)


def test_a_directory_that_a_proxy_holds_can_be_exported(
    tmp_path: Path, keys: Pair, source: Path
) -> None:
    holder = Writer(source, Disk())
    holder.acquire()
    path = exported(source, keys)
    holder.close()

    let_in(path, tmp_path / "site", keys)
    assert same(held(tmp_path / "site"), held(source))


@pytest.mark.parametrize("kind", ["missing", "empty", "file"])
def test_there_must_be_flags_to_export(tmp_path: Path, keys: Pair, kind: str) -> None:
    directory = tmp_path / "nothing"
    if kind == "empty":
        filled(directory, "flags: {}\n")
        (directory / "manifest.json").unlink()
    if kind == "file":
        directory.write_text("a file")

    with pytest.raises(ArchiveError) as caught:
        exported(directory, keys)
    assert caught.value.reason in {"empty", "unreadable"}


def test_an_export_that_fails_leaves_what_was_there(
    tmp_path: Path, keys: Pair, source: Path
) -> None:
    out = exported(source, keys)
    before = out.read_bytes()
    body = held(source).cohorts[Secret("an-api-key").label]["friends"].cohort.packed
    raw = bytearray(body.read_bytes())
    raw[-1] ^= 1
    body.write_bytes(raw)

    with pytest.raises(ArchiveError, match=r"friends.*damaged"):
        exported(source, keys, out)
    assert out.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_records_with_lost_files_are_left_out_and_told(
    tmp_path: Path, keys: Pair, source: Path
) -> None:
    whole = held(source)
    whole.cohorts[Secret("an-api-key").label]["friends"].cohort.packed.unlink()

    done = export(source, tmp_path / "out", keys.signer, NOW)

    assert len(done.left_out) == 1
    assert "friends" in done.left_out[0]
    let_in(tmp_path / "out", tmp_path / "site", keys)
    assert flags_of(held(tmp_path / "site")) == flags_of(whole)


def test_it_is_for_its_owner_only(keys: Pair, source: Path) -> None:
    assert exported(source, keys).stat().st_mode & 0o777 == 0o600
    assert keys.private.stat().st_mode & 0o777 == 0o600


def test_a_large_cohort_does_not_need_memory(tmp_path: Path, keys: Pair, source: Path) -> None:
    large_packed(source, 24 << 20)
    tracemalloc.start()
    path = exported(source, keys)
    let_in(path, tmp_path / "site", keys)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert path.stat().st_size > 24 << 20
    assert peak < 16 << 20


def large_packed(directory: Path, size: int) -> None:
    """Let the packed body of the only cohort be so long; only its digest is ever looked at."""
    writer = Writer(directory, Disk())
    found = writer.acquire()
    entries = {}
    for key, record in found.usable.items():
        files = dict(record.files)
        if "packed" in files:
            digest = hashlib.sha256()
            with (directory / "files" / ("a" * 32)).open("wb") as file:
                for _ in range(size >> 20):
                    piece = os.urandom(1 << 20)
                    digest.update(piece)
                    file.write(piece)
            files["packed"] = StoredFile("a" * 32, size, digest.hexdigest())
        entries[key] = Entry(bytes(record.meta), Content(files=files), ours=True)
    assert writer.commit(entries, (), (), NOW).hindered is None
    writer.close()


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12)


@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(cohorts=st.dictionaries(TEXTS, st.lists(TEXTS, max_size=4), max_size=3))
def test_whatever_is_there_arrives(
    tmp_path_factory: pytest.TempPathFactory, keys: Pair, cohorts: dict[str, list[str]]
) -> None:
    folder = tmp_path_factory.mktemp("law")
    text = msgspec.yaml.encode({"flags": {"plain": {"serve": "on"}}, "cohorts": cohorts}).decode()
    source = filled(folder / "source", text)

    let_in(exported(source, keys), folder / "site", keys)

    assert same(held(folder / "site"), held(source))
