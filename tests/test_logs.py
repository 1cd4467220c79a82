import io
import logging
from collections.abc import Iterator

import msgspec
import pytest
import structlog

from proxy import logs
from proxy.secret import Secret


@pytest.fixture(autouse=True)
def restore() -> Iterator[None]:
    yield
    structlog.reset_defaults()
    logging.basicConfig(force=True)


def test_json_lines_hold_one_fact_each() -> None:
    out = io.StringIO()
    logs.configure(level="info", style="json", stream=out)

    logs.get("sync").info("flags published", deployment="prod", flags=3)

    line = msgspec.json.decode(out.getvalue())
    assert line["event"] == "flags published"
    assert line["room"] == "sync"
    assert line["level"] == "info"
    assert line["flags"] == 3
    assert out.getvalue().count("\n") == 1


def test_levels_below_the_chosen_one_are_silent() -> None:
    out = io.StringIO()
    logs.configure(level="WARNING", style="console", stream=out)

    logs.get("sync").info("quiet")
    logs.get("sync").warning("loud")

    assert "quiet" not in out.getvalue()
    assert "loud" in out.getvalue()


@pytest.mark.parametrize("style", ["json", "console"])
def test_no_secret_reaches_a_line(style: str) -> None:
    out = io.StringIO()
    logs.configure(level="info", style="json" if style == "json" else "console", stream=out)
    secret = Secret("sesame")

    logs.get("api").warning(
        "refused server-abcdef123",
        key=secret,
        nested={"client-abcdef123": [secret, "redis://user:hunter2@host"]},
    )

    for hidden in ("sesame", "server-abcdef123", "client-abcdef123", "hunter2"):
        assert hidden not in out.getvalue()
    assert secret.label in out.getvalue()


def test_an_error_is_told_with_its_traceback() -> None:
    out = io.StringIO()
    logs.configure(level="info", style="json", stream=out)

    try:
        raise RuntimeError("boom server-abcdef123")
    except RuntimeError:
        logs.get("api").exception("handler failed")

    assert "boom" in out.getvalue()
    assert "server-abcdef123" not in out.getvalue()
