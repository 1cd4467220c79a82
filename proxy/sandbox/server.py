"""Amplitude's interfaces on loopback: deployments, flags, cohorts, evaluation and ingestion."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
from pathlib import Path
from typing import Any, Final

import msgspec
from aiohttp import web

from proxy import logs, tasks
from proxy.sandbox.ingest import Ingest
from proxy.sandbox.remote import RemoteEvaluation
from proxy.sandbox.watch import FlagFile
from proxy.sandbox.web import NAME as SCRIPT_NAME
from proxy.sandbox.web import RELAY_PAGE, previews, script, web_flags
from proxy.sandbox.world import World

MANAGEMENT_KEY: Final = "sandbox-management-key"
API_KEY: Final = "sandbox-api-key"
SECRET_KEY: Final = "sandbox-secret-key"  # noqa: S105  known to all; nothing real opens with it
SERVER_KEY: Final = "server-sandbox-deployment-key"
CLIENT_KEY: Final = "client-sandbox-deployment-key"
DEPLOYMENTS: Final = tuple(
    {"id": str(number), "projectId": "1", "label": label, "key": key, "deleted": False}
    for number, (label, key) in enumerate((("server", SERVER_KEY), ("client", CLIENT_KEY)), start=1)
)
KEEP_ALIVE_SECONDS = 15.0
KEEP_ALIVE = b"data:  \n\n"
LARGEST_BODY = 32 << 20
log = logs.get("sandbox")


class Sandbox:
    """A stand-in for Amplitude whose flags come from the file at `path`."""

    def __init__(self, path: Path, clock: tasks.Clock = tasks.wall_clock) -> None:
        self._file = FlagFile(path, clock)
        self._clock = clock
        self._ingest = Ingest(API_KEY)
        self._remote = RemoteEvaluation()
        self._changed = asyncio.Event()
        self._closing = False
        self._runner: web.AppRunner | None = None
        self._watch: asyncio.Task[None] | None = None

    @property
    def flag_keys(self) -> tuple[str, ...]:
        """The keys of the flags served now."""
        return self._file.world.flag_keys

    async def start(self, host: str, port: int) -> int:
        """Read the file, listen, watch the file; return the port (chosen when `port` is 0).

        Raises OSError (file or port) or FileMistake.
        """
        self._file.read()
        self._runner = web.AppRunner(self._app(), access_log=None, shutdown_timeout=2.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port)
        try:
            await site.start()
        except OSError:
            await self._runner.cleanup()
            raise
        self._watch = tasks.start("sandbox file", self._keep_watching())
        return int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """End the streams and close the port."""
        self._closing = True
        self._changed.set()
        if self._watch is not None:
            await tasks.stop(self._watch)
        if self._runner is not None:
            await self._runner.cleanup()

    async def _keep_watching(self) -> None:
        def on_death(error: BaseException | None, _pause: float) -> None:
            log.error("watching the flag file failed", error=repr(error))

        await tasks.keep_alive(lambda: self._file.follow(self._publish), on_death)

    def _publish(self, _world: World) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _app(self) -> web.Application:
        app = web.Application(client_max_size=LARGEST_BODY)
        app.add_routes(
            [
                web.get("/", self._welcome),
                web.get("/api/1/deployments", self._deployments),
                web.get("/sdk/v2/flags", self._flags),
                web.get("/sdk/stream/v1/flags", self._stream),
                web.get("/script/{name}", self._script),
                web.get("/web/v1/configs", self._previews),
                web.get("/sdk/v2/vardata", self._vardata),
                web.post("/sdk/v2/vardata", self._vardata),
                web.get("/sdk/v1/cohort/{cohort}", self._cohort),
                web.post("/2/httpapi", self._upload),
                web.post("/batch", self._upload),
                web.get("/events", self._events),
            ]
        )
        return app

    async def _welcome(self, _request: web.Request) -> web.Response:
        return web.Response(
            text="A stand-in for Amplitude Experiment.\n"
            "GET /events shows the events that came in (?type=... for one type).\n"
            f"Flags: {', '.join(self.flag_keys)}\n"
        )

    async def _deployments(self, request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != f"Bearer {MANAGEMENT_KEY}":
            return _text(401, "Unauthorized")
        start = _number(request.query.get("cursor"), 0)
        end = start + max(1, min(_number(request.query.get("limit"), 1000), 1000))
        page: dict[str, Any] = {"deployments": DEPLOYMENTS[start:end]}
        if end < len(DEPLOYMENTS):
            page["nextCursor"] = str(end)
        return _json(200, page)

    async def _flags(self, request: web.Request) -> web.Response:
        for_web = request.query.get("delivery_method") == "web"
        if not (_has_deployment_key(request) or (for_web and _has_api_key(request))):
            return _text(401, "Unauthorized")
        world = self._file.world
        try:
            body = web_flags(world, request.headers) if for_web else world.flags
        except ValueError:
            return _text(400, "Invalid user")
        answer = web.Response(body=body, content_type="application/json")
        answer.enable_compression()
        return answer

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        if not _has_deployment_key(request):
            return _text(401, "Unauthorized")
        answer = web.StreamResponse(headers={"Cache-Control": "no-cache"})
        answer.content_type = "text/event-stream"
        with contextlib.suppress(ConnectionResetError):
            await answer.prepare(request)
            await self._send_changes(answer)
        return answer

    async def _send_changes(self, answer: web.StreamResponse) -> None:
        sent: bytes | None = None
        while not self._closing:
            changed = self._changed
            flags = self._file.world.flags
            if flags != sent:
                await answer.write(b"data: %b\n\n" % flags)
                sent = flags
            if not await tasks.wait_for_event(changed, KEEP_ALIVE_SECONDS):
                await answer.write(KEEP_ALIVE)

    async def _script(self, request: web.Request) -> web.Response:
        found = SCRIPT_NAME.fullmatch(request.match_info["name"])
        if found is None or found[1] not in (API_KEY, SERVER_KEY, CLIENT_KEY):
            return _text(404, "Not found")
        body, kind = RELAY_PAGE, "text/html"
        if found[2] == "experiment.js":
            integration = request.query.get("integration", "")
            body, kind = script(self._file.world, found[1], integration), "application/javascript"
        answer = web.Response(body=body, content_type=kind, charset="utf-8")
        answer.headers["Cache-Control"] = "public, max-age=60"
        answer.headers["ETag"] = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
        answer.enable_compression()
        return answer

    async def _previews(self, request: web.Request) -> web.Response:
        if not (_has_deployment_key(request) or _has_api_key(request)):
            return _text(401, "Unauthorized")
        return web.Response(body=previews(self._file.world), content_type="application/json")

    async def _vardata(self, request: web.Request) -> web.Response:
        if not _has_deployment_key(request):
            return _text(401, "Unauthorized")
        body, now = await request.read(), self._clock()
        try:
            told = self._remote.tell(self._file.world, request.headers, body, now)
        except ValueError:
            return _text(400, "Invalid user or flag keys")
        if told.event is not None:
            self._ingest.note(told.event)
            log.info("evaluated", **_summary(told.event))
        return web.Response(body=told.body, content_type="application/json")

    async def _cohort(self, request: web.Request) -> web.Response:
        credentials = base64.b64encode(f"{API_KEY}:{SECRET_KEY}".encode()).decode()
        if request.headers.get("Authorization") != f"Basic {credentials}":
            return _text(401, "Unauthorized")
        cohort = self._file.world.cohorts.get(request.match_info["cohort"])
        if cohort is None:
            return _text(404, "Cohort not found")
        if cohort.size > _number(request.query.get("maxCohortSize"), 2**31 - 1):
            return _text(413, "Cohort exceeds the size limit")
        if _number(request.query.get("lastModified"), -1) == cohort.last_modified:
            return web.Response(status=204)
        answer = _json(200, cohort)
        answer.enable_compression()
        return answer

    async def _upload(self, request: web.Request) -> web.Response:
        body = await request.read()
        answer, new = self._ingest.post(request.path, body, self._clock())
        if answer["code"] == 200:
            for event in new:
                log.info("event", **_summary(event))
        else:
            log.warning("events refused", **answer)
        return _json(answer["code"], answer)

    async def _events(self, request: web.Request) -> web.Response:
        ingest = self._ingest
        found = ingest.events(request.query.get("type"))
        counts = dict(ingest.taken)
        return _json(200, {"counts": counts, "repeated": ingest.repeated, "events": found})


def _summary(event: dict[str, Any]) -> dict[str, Any]:
    """Return what a reader wants to know of an event in one line."""
    properties = event.get("event_properties")
    seen = properties if isinstance(properties, dict) else {}
    variants = {
        name.removesuffix(".variant"): variant
        for name, variant in seen.items()
        if name.endswith(".variant")
    }
    ids = {name: event[name] for name in ("user_id", "device_id") if event.get(name)}
    return {"type": event["event_type"], **ids, "variants": variants}


def _has_deployment_key(request: web.Request) -> bool:
    sent = request.headers.get("Authorization")
    return any(sent == f"Api-Key {deployment['key']}" for deployment in DEPLOYMENTS)


def _has_api_key(request: web.Request) -> bool:
    return request.headers.get("Authorization") == f"Api-Key {API_KEY}"


def _number(text: str | None, usual: int) -> int:
    return int(text) if text is not None and text.isascii() and text.isdigit() else usual


def _json(status: int, content: Any) -> web.Response:
    body = msgspec.json.encode(content)
    return web.Response(status=status, body=body, content_type="application/json")


def _text(status: int, reason: str) -> web.Response:
    return web.Response(status=status, text=reason)
