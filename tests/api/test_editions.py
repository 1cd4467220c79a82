"""An edition lasts as long as what decides the answers, and is let go with it."""

import gc
import weakref

from proxy.api.editions import BODY, HEADER, SOME, Edition, Editions
from proxy.evaluation.cohorts import USER
from proxy.secret import Secret
from proxy.snapshots.board import Board
from proxy.snapshots.snapshot import Snapshot
from tests import builders
from tests.builders import KEY, condition, flag, segment
from tests.serving import DictHoldings

TARGETED = flag(
    "members", segment("on", condition(["context", "user", "cohort_ids"], "set contains any", "c"))
)


class Rig:
    """Editions of deployments on a board, and those that were retired."""

    def __init__(self, *, knows_cohorts: bool = True) -> None:
        self.board = Board()
        self.cohorts: dict[tuple[str, str], list[str]] = {}
        self.retired: list[Edition] = []
        holdings = DictHoldings(self.cohorts) if knows_cohorts else None
        self.editions = Editions(self.board, holdings, self.retired.append, trusts_claims=False)

    def publish(self, key: str = KEY, *names: str, targeted: bool = False) -> Snapshot:
        flags = [flag(name) for name in names] + [TARGETED] * targeted
        snapshot = builders.snapshot(flags, builders.deployment(key, label=key))
        self.board.authorise(snapshot.deployment)
        self.board.publish(key, snapshot)
        return snapshot

    def of(self, snapshot: Snapshot) -> Edition:
        edition = self.editions.of(snapshot)
        assert edition is not None
        return edition


def test_new_flags_are_a_new_edition_and_retire_the_last() -> None:
    rig = Rig()
    old = rig.publish(KEY, "a")
    before = rig.of(old)
    assert rig.of(old) is before

    after = rig.of(rig.publish(KEY, "b"))

    assert after.number != before.number
    assert (before.is_live, after.is_live) == (False, True)
    assert rig.retired == [before]


def test_a_request_from_before_the_change_retires_nothing() -> None:
    rig = Rig()
    old, new = rig.publish(KEY, "a"), rig.publish(KEY, "b")
    current = rig.of(new)

    late = rig.of(old)

    assert (late.is_live, current.is_live) == (False, True)
    assert rig.of(new) is current
    assert late.tag((0, BODY, "", b"{}")) != current.tag((0, BODY, "", b"{}"))


def test_cohorts_count_for_those_who_target_any() -> None:
    rig = Rig()
    plain, targeted = rig.publish("plain", "a"), rig.publish("targeted", targeted=True)
    before = rig.of(plain), rig.of(targeted)

    rig.cohorts[USER, "u"] = ["c"]

    assert rig.of(plain) is before[0]
    assert rig.of(targeted) is not before[1]
    assert rig.retired == [before[1]]


def test_without_word_of_cohorts_nothing_can_be_said_of_those_who_target_them() -> None:
    rig = Rig(knows_cohorts=False)

    assert rig.editions.of(rig.publish("targeted", targeted=True)) is None
    assert rig.of(rig.publish("plain", "a")).is_live


def test_keys_do_not_share_an_edition_and_equal_flags_share_their_tags() -> None:
    rig = Rig()

    one, other = rig.of(rig.publish("one", "a")), rig.of(rig.publish("other", "a"))

    assert one.number != other.number
    assert one.tag((0, HEADER, "", "user")) == other.tag((0, HEADER, "", "user"))


def test_deployments_that_were_revoked_are_let_go() -> None:
    rig = Rig()
    held = []
    for number in range(3 * SOME):
        snapshot = rig.publish(f"key-{number}", "a")
        held.append(weakref.ref(rig.of(snapshot).compiled))
        del snapshot
        rig.board.revoke(f"key-{number}")
    rig.retired.clear()
    gc.collect()

    assert sum(compiled() is not None for compiled in held) <= SOME + 1


def test_a_key_never_shows() -> None:
    rig = Rig()
    edition = rig.of(rig.publish("very-secret", "a"))

    assert "very-secret" not in repr(edition)
    assert Secret("very-secret").label not in repr(edition)
