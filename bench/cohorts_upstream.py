"""Amplitude's place in the cohort benchmark: serves flags and cohort bodies out of a folder."""

import sys
from pathlib import Path

import uvloop
from aiohttp import web


def main() -> None:
    folder = Path(sys.argv[2])

    async def flags(_request: web.Request) -> web.Response:
        body = (folder / "flags.json").read_bytes()
        return web.Response(body=body, content_type="application/json")

    async def cohort(request: web.Request) -> web.StreamResponse:
        if "lastModified" in request.query:
            return web.Response(status=204)
        headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
        return web.FileResponse(folder / f"{request.match_info['id']}.body", headers=headers)

    app = web.Application()
    app.router.add_get("/sdk/v2/flags", flags)
    app.router.add_get("/sdk/v1/cohort/{id}", cohort)
    uvloop.install()
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None)


if __name__ == "__main__":
    main()
