from collections.abc import Mapping
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from proxy.secret import Secret
from proxy.snapshots.snapshot import Deployment
from proxy.sync.plan import Held, Owner, Plan, plan
from proxy.upstream.deployments import Listing, Row

OWNER = Owner(label="project", index=0, record="record")


def row(key: str, **changes: Any) -> Row:
    return msgspec.structs.replace(
        Row(key=Secret(key), label=f"label of {key}", project_id="42", type="server"), **changes
    )


def listing(*rows: Row, problems: tuple[str, ...] = ()) -> Listing:
    return Listing(rows=rows, problems=problems)


def deployment(key: str, **changes: Any) -> Deployment:
    return msgspec.structs.replace(
        Deployment(
            key=Secret(key),
            label=f"label of {key}",
            project="project",
            project_index=0,
            type="server",
        ),
        **changes,
    )


def held(*deployments: Deployment, **changes: Any) -> dict[Secret, Held]:
    return {one.key: Held(deployment=one, **changes) for one in deployments}


def carried_out(before: Mapping[Secret, Held], decided: Plan) -> dict[Secret, Held]:
    after = {
        key: msgspec.structs.replace(one, absences=decided.absences.get(key, one.absences))
        for key, one in before.items()
        if key not in decided.go
    }
    return after | {one.key: Held(deployment=one) for one in decided.appear}


def test_what_is_listed_appears() -> None:
    assert plan(listing(row("a"), row("b", deleted=True)), {}, OWNER) == Plan(
        upstream_id="42", appear=(deployment("a"),)
    )


def test_what_is_listed_again_stays() -> None:
    decided = plan(listing(row("a")), held(deployment("a")), OWNER)

    assert decided == Plan(upstream_id="42", absences={Secret("a"): 0})
    assert not decided.doubtful


def test_a_deployment_goes_after_two_listings_without_it() -> None:
    holds = held(deployment("a"), deployment("b"))

    first = plan(listing(row("b")), holds, OWNER)
    second = plan(listing(row("b"), row("a", deleted=True)), carried_out(holds, first), OWNER)

    assert first.go == ()
    assert first.absences == {Secret("a"): 1, Secret("b"): 0}
    assert first.doubtful
    assert second.go == (Secret("a"),)
    assert second.absences == {Secret("b"): 0}
    assert not second.doubtful


def test_an_absence_that_is_taken_back_does_not_count() -> None:
    holds = held(deployment("a"))
    for rows in ([], [row("a")], [], [row("a")], []):
        decided = plan(listing(*rows), holds, OWNER)
        assert decided.go == ()
        holds = carried_out(holds, decided)


def test_a_garbled_row_removes_nothing_and_hides_nothing() -> None:
    holds = held(deployment("a"), absences=1)

    decided = plan(listing(row("b"), problems=("row 0: no usable key",)), holds, OWNER)

    assert decided.go == ()
    assert decided.absences == {Secret("a"): 1}
    assert decided.appear == (deployment("b"),)
    assert decided.notes == ("row 0: no usable key",)


def test_what_is_called_deleted_goes_whatever_else_cannot_be_read() -> None:
    holds = held(deployment("a"), deployment("b"))
    told = listing(row("a", deleted=True), problems=("row 7: no usable key",))

    first = plan(told, holds, OWNER)
    second = plan(told, carried_out(holds, first), OWNER)

    assert first.go == ()
    assert second.go == (Secret("a"),)
    assert second.absences == {Secret("b"): 0}


def test_deployments_of_another_project_are_passed_over() -> None:
    decided = plan(listing(row("a"), row("b", project_id="43"), row("c")), {}, OWNER)

    assert [one.key.reveal() for one in decided.appear] == ["a", "c"]
    assert decided.upstream_id == "42"
    assert decided.notes == ("1 deployments of other projects than 42",)


def test_the_project_is_the_one_of_the_first_listing() -> None:
    owner = msgspec.structs.replace(OWNER, upstream_id="42")
    holds = held(deployment("a"), absences=1)

    decided = plan(listing(row("b", project_id="43")), holds, owner)

    assert decided.appear == decided.go == ()
    assert decided.absences == {Secret("a"): 1}


def test_a_row_without_project_is_ours() -> None:
    assert plan(listing(row("a", project_id="")), {}, OWNER).upstream_id == ""
    assert len(plan(listing(row("a", project_id=""), row("b")), {}, OWNER).appear) == 2


def test_a_key_of_another_owner_stays_where_it_is() -> None:
    holds = held(deployment("a", project_index=1))

    decided = plan(listing(row("a")), holds, OWNER)

    assert decided.appear == decided.describe == decided.go == ()
    assert decided.notes == (
        f"deployment {Secret('a').label} is served for another project already",
    )
    assert plan(listing(), holds, OWNER).absences == {}


def test_a_fixed_deployment_never_goes_but_learns_its_label() -> None:
    fixed = held(deployment("a", label=Secret("a").label, type=""), fixed=True, absences=5)

    assert plan(listing(), fixed, OWNER).go == ()
    assert plan(listing(row("a", deleted=True)), fixed, OWNER).go == ()
    assert plan(listing(row("a")), fixed, OWNER).describe == (deployment("a"),)


def test_labels_that_are_missing_or_shared_are_made_unique_and_stay_so() -> None:
    rows = [row("a", label="prod"), row("b", label="prod"), row("c", label="")]
    first = plan(listing(*rows), {}, OWNER)
    labels = {one.key.reveal(): one.label for one in first.appear}

    assert labels == {
        "a": "prod",
        "b": f"prod-{Secret('b').label[:6]}",
        "c": Secret("c").label,
    }
    again = plan(listing(*reversed(rows)), carried_out({}, first), OWNER)
    assert again.describe == again.appear == ()


def test_a_key_listed_twice_is_one_deployment() -> None:
    decided = plan(listing(row("a", deleted=True), row("a")), {}, OWNER)
    assert len(decided.appear) == 1


ROWS = st.lists(
    st.builds(
        row,
        st.sampled_from("abcde"),
        deleted=st.booleans(),
        label=st.sampled_from(["", "prod", "test"]),
        project_id=st.sampled_from(["42", "42", "42", ""]),
    ),
    max_size=6,
)
LISTINGS = st.lists(
    st.builds(Listing, rows=ROWS.map(tuple), problems=st.sampled_from([(), (), ("bad",)])),
    max_size=8,
)


@given(LISTINGS)
def test_laws_of_every_history(history: list[Listing]) -> None:
    holds: dict[Secret, Held] = {}
    live: list[set[Secret]] = []
    rows: list[set[Secret]] = []
    whole: list[bool] = []
    for one in history:
        decided = plan(one, holds, OWNER)
        live.append({each.key for each in one.rows if not each.deleted})
        rows.append({each.key for each in one.rows})
        whole.append(not one.problems)

        assert not set(decided.go) & live[-1]
        for key in decided.go:
            telling = [
                now
                for now, named, sure in zip(live, rows, whole, strict=True)
                if sure or key in named
            ]
            assert whole[-1] or key in rows[-1]
            assert key not in telling[-1]
            assert key not in telling[-2]
        holds = carried_out(holds, decided)
        for described in decided.describe:
            holds[described.key] = Held(
                deployment=described, absences=holds[described.key].absences
            )
        assert live[-1] <= set(holds)
        labels = [each.deployment.label for each in holds.values()]
        assert len(set(labels)) == len(labels)
