"""The yardstick: a bare aiohttp application that answers a constant."""

import sys

import uvloop
from aiohttp import web


async def hello(_request: web.Request) -> web.Response:
    return web.Response(body=b'{"hello":"world","is":"constant"}', content_type="application/json")


def main() -> None:
    app = web.Application()
    app.router.add_get("/", hello)
    uvloop.install()
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None)


if __name__ == "__main__":
    main()
