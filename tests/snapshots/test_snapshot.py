from proxy.secret import Secret
from proxy.snapshots.snapshot import Deployment


def test_a_deployment_does_not_show_its_key() -> None:
    deployment = Deployment(
        key=Secret("server-sesame"), label="prod", project="p", project_index=0, type="server"
    )

    assert "sesame" not in repr(deployment)
