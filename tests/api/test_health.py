from tests.serving import Served


async def test_status_and_root_need_no_key_and_are_always_fine(served: Served) -> None:
    served.ready[0] = False

    status = await served.get("/status", Authorization="")

    assert (status.status, status.body) == (200, b"OK")
    assert status.headers["content-type"].startswith("text/plain")
    assert (await served.get("/", Authorization="")).status == 200


async def test_readiness_goes_both_ways(served: Served) -> None:
    for path in ("/ready", "/status/ready"):
        for ready, status in ((True, 200), (False, 503), (True, 200)):
            served.ready[0] = ready
            assert (await served.get(path, Authorization="")).status == status
