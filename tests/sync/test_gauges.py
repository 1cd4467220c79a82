from proxy.evaluation.deployment import compile_deployment
from proxy.snapshots.snapshot import Snapshot
from proxy.sync.gauges import Gauges
from tests.sync.rig import KEY, Rig, array, flag


def publish(rig: Rig, body: bytes) -> str:
    compiled = compile_deployment(body)
    snapshot = Snapshot(
        deployment=rig.slot().deployment, compiled=compiled, source="poll", changed_at=rig.now
    )
    rig.board.publish(KEY, snapshot)
    return compiled.version


async def test_before_the_first_flags_only_the_stream_is_shown(rig: Rig) -> None:
    gauges = Gauges(rig.slot(), rig.metrics, rig.clock)
    gauges.show()

    assert rig.series("alpha") == ["amplitude_proxy_stream_connected"]


async def test_a_new_version_takes_the_place_of_the_old(rig: Rig) -> None:
    gauges = Gauges(rig.slot(), rig.metrics, rig.clock)
    old = publish(rig, array(flag()))
    gauges.show()
    gauges.show()
    new = publish(rig, array(flag(variant="off"), flag("b"), {"key": "broken"}))
    gauges.show()

    assert rig.metric("snapshot_info", deployment="alpha", version=old) is None
    assert rig.metric("snapshot_info", deployment="alpha", version=new) == 1
    assert rig.metric("flags", deployment="alpha") == 2
    assert rig.metric("flags_left_out", deployment="alpha") == 1


async def test_the_age_counts_from_the_last_confirmation(rig: Rig) -> None:
    gauges = Gauges(rig.slot(), rig.metrics, rig.clock)
    publish(rig, b"[]")
    gauges.show()
    rig.now += 90
    assert rig.metric("snapshot_age_seconds", deployment="alpha") == 90

    rig.board.confirm(KEY, rig.now)
    assert rig.metric("snapshot_age_seconds", deployment="alpha") == 0


async def test_a_new_label_takes_all_series_along(rig: Rig) -> None:
    gauges = Gauges(rig.slot(), rig.metrics, rig.clock)
    publish(rig, array(flag()))
    gauges.show()
    gauges.stream(delivers=True)
    before = rig.series("alpha")

    rig.slot(label="beta")
    gauges.show()

    assert rig.series("alpha") == []
    assert rig.series("beta") == before
    assert rig.metric("stream_connected", deployment="beta") == 1


async def test_a_deployment_that_goes_leaves_no_series(rig: Rig) -> None:
    gauges = Gauges(rig.slot(), rig.metrics, rig.clock)
    publish(rig, array(flag()))
    gauges.show()

    gauges.remove()
    gauges.remove()

    assert rig.series("alpha") == []
