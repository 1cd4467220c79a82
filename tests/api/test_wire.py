from proxy.api.messages import TEXT, Response
from proxy.api.wire import CLOSE, Wire


def test_an_answer_is_written_whole() -> None:
    wire = Wire(lambda: 1.5)

    assert wire.encode(Response(200, b"{}")) == (
        b"HTTP/1.1 200 OK\r\n"
        b"Access-Control-Allow-Origin: *\r\n"
        b"Content-Type: application/json; charset=utf-8\r\n"
        b"Content-Length: 2\r\n"
        b"Date: Thu, 01 Jan 1970 00:00:01 GMT\r\n"
        b"\r\n"
        b"{}"
    )


def test_the_date_follows_the_clock() -> None:
    now = [0.0]
    wire = Wire(lambda: now[0])

    assert b"00:00:00 GMT" in wire.encode(Response())
    now[0] = 61
    assert b"00:01:01 GMT" in wire.encode(Response())


def test_answers_without_a_body_say_no_length() -> None:
    wire = Wire(lambda: 0.0)

    for status in (204, 304):
        raw = wire.encode(Response(status, b"never", TEXT, (("ETag", '"1"'),)), connection=CLOSE)
        assert raw.endswith(b"Connection: close\r\n\r\n")
        assert b'ETag: "1"\r\n' in raw
        assert b"Content-" not in raw


def test_the_answer_to_head_tells_the_length_of_what_it_leaves_out() -> None:
    raw = Wire(lambda: 0.0).encode(Response(200, b"abc"), with_body=False)

    assert b"Content-Length: 3\r\n" in raw
    assert raw.endswith(b"\r\n\r\n")


def test_the_head_of_a_body_that_follows_is_that_of_one_that_is_there() -> None:
    wire, extra = Wire(lambda: 0.0), (("Vary", "Accept-Encoding"),)

    head = wire.head(Response(headers=extra), 3, connection=CLOSE)

    assert head + b"abc" == wire.encode(Response(200, b"abc", headers=extra), connection=CLOSE)
