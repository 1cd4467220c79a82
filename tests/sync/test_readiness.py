from proxy.sync.readiness import Readiness, Standing

FLAGS = Standing("p", has_flags=True, hopeless=False)
NONE_YET = Standing("p", has_flags=False, hopeless=False)
HOPELESS = Standing("p", has_flags=False, hopeless=True)
KNOWN = {"p": True}


def test_a_project_whose_deployments_are_not_known_is_not_ready() -> None:
    assert not Readiness().decide({"p": False}, [])
    assert not Readiness().decide({"p": False}, [FLAGS])


def test_a_project_without_deployments_is_ready() -> None:
    assert Readiness().decide(KNOWN, [])


def test_at_first_every_deployment_must_have_flags() -> None:
    assert not Readiness().decide(KNOWN, [NONE_YET])
    assert not Readiness().decide(KNOWN, [FLAGS, NONE_YET])
    assert Readiness().decide(KNOWN, [FLAGS, FLAGS])


def test_a_hopeless_deployment_is_excused_beside_one_that_works() -> None:
    assert Readiness().decide(KNOWN, [FLAGS, HOPELESS])
    assert not Readiness().decide(KNOWN, [HOPELESS])


def test_a_deployment_that_appears_later_does_not_take_the_process_out() -> None:
    readiness = Readiness()
    assert readiness.decide(KNOWN, [FLAGS])

    assert readiness.decide(KNOWN, [FLAGS, NONE_YET])
    assert not readiness.decide(KNOWN, [NONE_YET])


def test_one_project_does_not_stand_in_for_another() -> None:
    readiness = Readiness()
    other = Standing("q", has_flags=False, hopeless=False)

    assert not readiness.decide({"p": True, "q": True}, [FLAGS, other])
    assert readiness.decide({"p": True, "q": True}, [FLAGS, other._replace(has_flags=True)])


def test_an_excused_project_takes_nobody_out_of_service() -> None:
    readiness = Readiness()
    readiness.excuse("q")

    none = Standing("q", has_flags=False, hopeless=False)
    assert readiness.decide({"p": True, "q": False}, [FLAGS, none])
    assert not readiness.decide({"p": True, "q": True}, [NONE_YET])
