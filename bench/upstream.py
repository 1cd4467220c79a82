"""Amplitude's place in the server benchmarks: serves one flags file, accepts every event.

Each cohort holds a quarter of the workload's users.
"""

import sys
from pathlib import Path

import uvloop
from aiohttp import web

from bench import workload

USERS = 10_000


def cohort_members() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {name: [] for name in workload.COHORTS}
    for user in workload.users(USERS):
        for name in user["cohort_ids"]:
            found[name].append(user["user_id"])
    return found


def main() -> None:
    body = Path(sys.argv[2]).read_bytes()
    members = cohort_members()

    async def flags(_request: web.Request) -> web.Response:
        return web.Response(body=body, content_type="application/json")

    async def cohort(request: web.Request) -> web.Response:
        name = request.match_info["id"]
        if "lastModified" in request.query:
            return web.Response(status=204)
        return web.json_response(
            {
                "cohortId": name,
                "groupType": "User",
                "lastModified": 1_700_000_000_000,
                "size": len(members[name]),
                "memberIds": members[name],
            }
        )

    async def accept(request: web.Request) -> web.Response:
        await request.read()
        return web.json_response(
            {"code": 200, "events_ingested": 1, "payload_size_bytes": 1, "server_upload_time": 1}
        )

    app = web.Application(client_max_size=32 * 1024 * 1024)
    app.router.add_get("/sdk/v2/flags", flags)
    app.router.add_get("/sdk/v1/cohort/{id}", cohort)
    app.router.add_post("/batch", accept)
    uvloop.install()
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None)


if __name__ == "__main__":
    main()
