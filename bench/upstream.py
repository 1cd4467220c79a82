"""Amplitude's place in the server benchmark: serves one flags file, accepts every event."""

import sys
from pathlib import Path

import uvloop
from aiohttp import web


def main() -> None:
    body = Path(sys.argv[2]).read_bytes()

    async def flags(_request: web.Request) -> web.Response:
        return web.Response(body=body, content_type="application/json")

    async def accept(request: web.Request) -> web.Response:
        await request.read()
        return web.json_response(
            {"code": 200, "events_ingested": 1, "payload_size_bytes": 1, "server_upload_time": 1}
        )

    app = web.Application(client_max_size=32 * 1024 * 1024)
    app.router.add_get("/sdk/v2/flags", flags)
    app.router.add_post("/batch", accept)
    uvloop.install()
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None)


if __name__ == "__main__":
    main()
