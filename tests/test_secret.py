from proxy.secret import Secret


def test_a_secret_shows_only_its_label() -> None:
    secret = Secret("server-very-secret")

    for shown in (repr(secret), str(secret), f"{secret}", f"{[secret]}"):
        assert "very" not in shown
        assert secret.label in shown
    assert secret.reveal() == "server-very-secret"


def test_secrets_compare_by_text() -> None:
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert hash(Secret("a")) == hash(Secret("a"))
    assert Secret("a").matches("a")
    assert not Secret("é\ud800").matches("é")
    assert not Secret("")
    assert Secret("x")
