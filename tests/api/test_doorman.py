from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from proxy.api.addresses import Addresses
from proxy.api.doorman import (
    HOLD_SECONDS,
    LEAST_HOLD_SECONDS,
    LEAST_PATIENCE,
    MOST_SURPLUS,
    MOST_SURPLUS_OF_ADDRESS,
    Doorman,
    Visitor,
)
from proxy.settings.admission import Admission


class Door:
    """A doorman, and all that he was told and has told."""

    def __init__(self, *, consequences: bool = True, **given: Any) -> None:
        self.told: list[tuple[str, str, str]] = []
        self.held: list[float] = []
        self._consequences = consequences
        bounds = Admission(**given).in_force
        addresses = Addresses(("10.0.0.0/8",), "X-Forwarded-For")
        self.man = Doorman(bounds, addresses, self._turn_away)

    def _turn_away(self, *what: str) -> bool:
        tier, reason, address = what
        self.told.append((tier, reason, address))
        return self._consequences

    def enter(self, host: str | None) -> Visitor:
        peer = None if host is None else (host, 1)
        return self.man.enter(peer, self.held.append)


def test_one_address_may_hold_so_many_connections_and_a_few_to_be_told_so() -> None:
    door = Door(connections_per_address=3)
    inside = [door.enter("1.1.1.1") for _ in range(3)]
    surplus = [door.enter("1.1.1.1") for _ in range(MOST_SURPLUS_OF_ADDRESS)]
    out = door.enter("1.1.1.1")

    assert [visitor.surplus for visitor in inside] == [False] * 3
    assert {(visitor.surplus, visitor.is_out) for visitor in surplus} == {(True, False)}
    assert (out.surplus, out.is_out) == (True, True)
    assert set(door.told) == {("address", "connections", "1.1.1.1")}
    assert not door.enter("2.2.2.2").surplus

    for visitor in (out, *surplus, inside[0]):
        door.man.leave(visitor)
    assert not door.enter("1.1.1.1").surplus
    assert door.enter("1.1.1.1").surplus


def test_all_together_may_hold_so_many_and_who_is_beyond_is_told_so() -> None:
    door = Door(connections=5)
    inside = [door.enter(f"1.1.1.{number}") for number in range(5)]
    surplus = [door.enter(f"2.2.{n // 200}.{n % 200}") for n in range(MOST_SURPLUS)]
    out = door.enter("3.3.3.3")

    assert not any(visitor.surplus for visitor in inside)
    assert {(visitor.surplus, visitor.is_out) for visitor in surplus} == {(True, False)}
    assert out.is_out
    for visitor in (out, *surplus):
        door.man.leave(visitor)
    again = door.enter("3.3.3.3")
    assert (again.surplus, again.is_out) == (True, False)
    assert {(tier, reason) for tier, reason, _ in door.told} == {("process", "connections")}


def test_proxies_and_the_unix_socket_hold_as_many_as_they_need() -> None:
    door = Door(connections_per_address=1)

    assert not any(door.enter(host).surplus for host in ("10.0.0.1", None) for _ in range(10))
    assert door.told == []


def test_without_consequences_everybody_comes_in() -> None:
    door = Door(consequences=False, connections=1, connections_per_address=1)

    assert not any(door.enter("1.1.1.1").surplus for _ in range(1000))
    assert len(door.told) == 999


def test_only_a_client_of_its_own_connection_is_slowed_down() -> None:
    door = Door(connections=100)
    for host in ("10.0.0.1", None):
        door.enter(host).slow_down(1.0)
    assert door.held == []

    visitor = door.enter("1.1.1.1")
    visitor.slow_down(1.0)
    visitor.slow_down(0.0)
    assert door.held == [HOLD_SECONDS, LEAST_HOLD_SECONDS]


def test_the_fuller_the_house_the_less_patience() -> None:
    door = Door(connections=100)
    shown = []
    for number in range(110):
        shown.append(door.man.patience)
        door.enter(f"1.1.1.{number}")

    assert shown[:51] == [1.0] * 51
    assert shown == sorted(shown, reverse=True)
    assert shown[-1] == LEAST_PATIENCE
    assert Door().man.patience == 1.0


@given(steps=st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=60))
def test_who_leaves_makes_room(steps: list[tuple[int, bool]]) -> None:
    door = Door(connections=6, connections_per_address=3)
    inside: list[Visitor] = []
    for number, enters in steps:
        if enters:
            inside.append(door.enter(f"1.1.1.{number}"))
        elif inside:
            door.man.leave(inside.pop(number % len(inside)))
    for visitor in inside:
        door.man.leave(visitor)

    told = len(door.told)
    assert not any(door.enter(f"1.1.1.{number}").surplus for number in (0, 0, 0, 1, 1, 1))
    assert len(door.told) == told
    assert door.enter("2.2.2.2").surplus


def test_other_bounds_count_those_who_are_inside_already() -> None:
    door = Door()
    inside = [door.enter("1.1.1.1") for _ in range(3)]

    trusted = Addresses(("1.1.1.1",), "X-Forwarded-For")
    door.man.apply(Admission(connections_per_address=3).in_force, trusted)
    assert not door.enter("1.1.1.1").surplus
    door.man.apply(Admission(connections_per_address=3).in_force, Addresses((), "X-Forwarded-For"))

    assert door.enter("1.1.1.1").surplus
    assert not any(visitor.surplus for visitor in inside)
    door.man.apply(Admission().in_force, Addresses((), "X-Forwarded-For"))
    assert not door.enter("1.1.1.1").surplus
