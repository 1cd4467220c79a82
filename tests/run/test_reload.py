"""The configuration is replaced while the whole proxy serves, without a restart."""

from __future__ import annotations

import asyncio
import base64
import io
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web

from proxy.secret import Secret
from proxy.settings.source import Source
from tests.builders import condition, flag, segment
from tests.fakes.upstream import FakeUpstream, Request, Step, answer, by_request, json_answer
from tests.run.whole import BATCH, FLAGS, INGESTED, Running, running

COHORT = "/sdk/v1/cohort/c1"
LISTING = "/api/1/deployments"
VARDATA = "/sdk/v2/vardata"
USER = {"user_id": "u1"}
ALPHA = {"apiKey": "api-alpha", "secretKey": "secret-alpha", "deploymentKeys": ["server-alpha"]}
BETA = {"apiKey": "api-beta", "secretKey": "secret-beta", "deploymentKeys": ["server-beta"]}
LISTED = {"apiKey": "api-beta", "secretKey": "secret-beta", "managementKey": "manage-1"}
SECRETS = ("api-alpha", "secret-alpha", "server-alpha", "api-beta", "secret-beta", "server-beta")


class Reloading:
    """A running proxy, and the file that its configuration is read from."""

    def __init__(self, upstream: FakeUpstream, path: Path, **configuration: Any) -> None:
        self.path = path
        self.url = upstream.url
        self.proxy: Running
        self.given: dict[str, Any] = {
            "host": "127.0.0.1",
            "port": 0,
            "metrics": {"host": "127.0.0.1", "port": 0},
            "streamUpdates": False,
            "reload": {"watchMillis": 20},
            **dict.fromkeys(
                ("serverUrl", "cohortServerUrl", "managementServerUrl", "analyticsServerUrl"),
                self.url,
            ),
            "assignment": {"eventUploadPeriodMillis": 3_600_000},
            **configuration,
        }

    def write(self, *projects: dict[str, Any], **configuration: Any) -> None:
        """Replace the file as a whole."""
        document = {"projects": projects, "configuration": {**self.given, **configuration}}
        fresh = self.path.with_suffix(".new")
        fresh.write_bytes(msgspec.json.encode(document))
        fresh.replace(self.path)

    async def config(self) -> dict[str, Any]:
        page = await self.proxy.json_of(self.proxy.operators + "/status")
        told: dict[str, Any] = page["config"]
        return told

    async def attempted(self, outcome: str, *, after: dict[str, Any] | None = None) -> Any:
        """Wait for an attempt that ended so, later than another one."""
        async with asyncio.timeout(30):
            while True:
                last = (await self.config())["last_attempt"]
                if last is not None and last["outcome"] == outcome and last != after:
                    return last
                await asyncio.sleep(0.01)

    async def reload(self, *projects: dict[str, Any], **configuration: Any) -> Any:
        """Write the file and wait until it is in force."""
        before = (await self.config())["last_attempt"]
        self.write(*projects, **configuration)
        return await self.attempted("applied", after=before)

    async def ask(self, key: str, user: Any = USER) -> int:
        headers = {"Authorization": f"Api-Key {key}"}
        url = self.proxy.clients + VARDATA
        async with self.proxy.session.post(url, json=user, headers=headers) as response:
            await response.read()
            return response.status

    async def variant(self, key: str, flag_key: str) -> str | None:
        headers = {"Authorization": f"Api-Key {key}"}
        url = self.proxy.clients + VARDATA
        async with self.proxy.session.post(url, json=USER, headers=headers) as response:
            found: str | None = (await response.json()).get(flag_key, {}).get("key")
            return found

    async def answers(self, key: str, status: int) -> None:
        async with asyncio.timeout(30):
            while await self.ask(key) != status:
                await asyncio.sleep(0.01)

    async def metrics(self) -> str:
        async with self.proxy.session.get(self.proxy.operators + "/metrics") as response:
            return await response.text()

    async def measured(self, sample: str) -> str:
        """Wait for metrics with a sample."""
        async with asyncio.timeout(30):
            while f"amplitude_proxy_{sample}\n" not in (text := await self.metrics()):
                await asyncio.sleep(0.01)
        return text


Start = Callable[..., Any]


@pytest.fixture
def start(upstream: FakeUpstream, tmp_path: Path) -> Start:
    @asynccontextmanager
    async def started(
        *projects: dict[str, Any], ready: bool = True, **configuration: Any
    ) -> AsyncIterator[Reloading]:
        reloading = Reloading(upstream, tmp_path / "config.json", **configuration)
        reloading.write(*projects)
        source = Source({}, str(reloading.path))
        async with running(source.load(), source=source) as proxy:
            reloading.proxy = proxy
            if ready:
                await proxy.wait_for(proxy.operators + "/readyz", 200)
            yield reloading

    return started


async def test_a_project_that_is_added_is_served_and_the_rest_notices_nothing(
    upstream: FakeUpstream, start: Start
) -> None:
    async with start(ALPHA) as one:
        assert await one.ask("server-beta") == 401
        asked_before = len(upstream.at(FLAGS))

        last = await one.reload(ALPHA, BETA)

        assert last["changed"][0].endswith(" added")
        await one.answers("server-beta", 200)
        assert await one.ask("server-alpha") == 200
        asked = [request.key for request in upstream.at(FLAGS)[asked_before:]]
        assert asked == ["server-beta"]
        assert await one.proxy.status_of(one.proxy.operators + "/readyz") == 200
        assert await one.ask("server-gamma") == 401


async def test_an_added_project_that_gets_nothing_takes_nobody_out_of_service(
    upstream: FakeUpstream, start: Start
) -> None:
    upstream.on("GET", LISTING, answer(403))
    async with start(ALPHA) as one:
        await one.reload(ALPHA, LISTED)
        await upstream.received(1, LISTING)

        assert await one.proxy.status_of(one.proxy.operators + "/readyz") == 200
        assert await one.ask("server-alpha") == 200


async def test_a_removed_project_is_told_401_and_its_events_still_arrive(
    upstream: FakeUpstream, start: Start
) -> None:
    upstream.on("POST", BATCH, answer(503))
    async with start(ALPHA, BETA) as one:
        assert await one.ask("server-beta") == 200

        await one.reload(ALPHA, assignment={"eventUploadPeriodMillis": 3_600_000})

        assert await one.ask("server-beta") == 401
        page = await one.proxy.json_of(one.proxy.operators + "/status")
        assert [row["configured"] for row in page["events"]] == [True, False]
        assert len(page["deployments"]) == len(page["cohorts"]) == 1
        upstream.on("POST", BATCH, json_answer(INGESTED))
        os.kill(os.getpid(), signal.SIGTERM)
        await one.proxy.exit_code
    told = [request.json for request in upstream.at(BATCH)]
    assert [body["events"][0]["user_id"] for body in told if body["api_key"] == "api-beta"]


async def test_the_senders_of_a_removed_project_end_with_its_last_event(
    upstream: FakeUpstream, start: Start
) -> None:
    async with start(ALPHA, BETA, assignment={"eventUploadPeriodMillis": 200}) as one:
        await one.ask("server-beta")

        await one.reload(ALPHA, assignment={"eventUploadPeriodMillis": 200})

        await upstream.received(1, BATCH)
        await wait_for_one_sender()
        page = await one.proxy.json_of(one.proxy.operators + "/status")
        assert [row["configured"] for row in page["events"]] == [True]


async def wait_for_one_sender() -> None:
    async with asyncio.timeout(30):
        while sum(task.get_name().startswith("backlog ") for task in asyncio.all_tasks()) > 1:
            await asyncio.sleep(0.01)


async def test_a_project_that_comes_back_is_served_again(
    upstream: FakeUpstream, start: Start
) -> None:
    async with start(ALPHA, BETA) as one:
        for _ in range(2):
            await one.reload(ALPHA)
            assert await one.ask("server-beta") == 401
            await one.reload(ALPHA, BETA)
            await one.answers("server-beta", 200)

        page = await one.proxy.json_of(one.proxy.operators + "/status")
        assert len(page["events"]) == 2


async def test_with_another_api_key_a_project_is_shown_under_the_name_that_it_had(
    upstream: FakeUpstream, start: Start
) -> None:
    upstream.on("POST", BATCH, answer(503))
    named = {**ALPHA, "id": "prod"}
    async with start(named) as one:
        assert await one.ask("server-alpha") == 200

        await one.reload({**named, "apiKey": "api-second"})

        await one.answers("server-alpha", 200)
        # One answer of each of the two waits for being sent.
        shown = await one.measured('events_pending{project="prod"} 2.0')
        assert 'cohort_members{project="prod"} 0.0' in shown
        assert 'cohorts{project="prod",state="here"} 0.0' in shown


async def test_what_an_earlier_life_left_of_a_project_that_comes_back_is_sent(
    upstream: FakeUpstream, start: Start, tmp_path: Path
) -> None:
    upstream.on("POST", BATCH, answer(503))
    kept = {"dataDir": str(tmp_path / "data"), "drainDeadlineMillis": 100}
    async with start(ALPHA, BETA, **kept) as one:
        assert await one.ask("server-beta") == 200
    upstream.on("POST", BATCH, json_answer(INGESTED))
    async with start(ALPHA, **kept) as one:
        unnamed = f'events_pending{{project="{Secret("api-beta").label}"}}'
        await one.measured(f"{unnamed} 1.0")

        await one.reload(ALPHA, {**BETA, "id": "beta"})

        assert unnamed not in await one.measured('events_total{outcome="sent",project="beta"} 1.0')


async def test_a_deployment_key_moves_from_one_project_to_another(
    upstream: FakeUpstream, start: Start
) -> None:
    async with start(ALPHA, BETA) as one:
        await one.reload({**ALPHA, "deploymentKeys": ["server-other"]}, {
            **BETA, "deploymentKeys": ["server-beta", "server-alpha"],
        })  # fmt: skip

        await one.answers("server-alpha", 200)
        await one.answers("server-other", 200)
        page = await one.proxy.json_of(one.proxy.operators + "/status")
        projects = [row["project"] for row in page["deployments"]]
        assert sorted(map(projects.count, set(projects))) == [1, 2]


async def test_deployment_keys_come_and_go(upstream: FakeUpstream, start: Start) -> None:
    async with start(ALPHA) as one:
        await one.reload({**ALPHA, "deploymentKeys": ["server-alpha", "server-more"]})
        await one.answers("server-more", 200)

        last = await one.reload({**ALPHA, "deploymentKeys": ["server-more"]})

        assert last["changed"] == ["projects[0].deploymentKeys"]
        assert await one.ask("server-alpha") == 401
        assert await one.ask("server-more") == 200


async def test_a_rotated_management_key_is_used_at_once_and_nothing_is_dropped(
    upstream: FakeUpstream, start: Start
) -> None:
    rows = {"deployments": [{"projectId": "42", "label": "web", "key": "server-listed"}]}
    upstream.on("GET", LISTING, json_answer(rows), key="manage-1")
    upstream.on("GET", LISTING, json_answer(rows), key="manage-2")
    async with start(LISTED) as one:
        flags_before = len(upstream.at(FLAGS))
        upstream.on("GET", LISTING, answer(401), key="manage-1")

        last = await one.reload({**LISTED, "managementKey": "manage-2"})

        assert last["changed"] == ["projects[0].managementKey"]
        await upstream.received(1, LISTING, key="manage-2")
        assert await one.ask("server-listed") == 200
        assert len(upstream.at(FLAGS)) == flags_before


async def test_a_static_key_that_goes_as_a_management_key_comes_is_refused_unless_listed(
    upstream: FakeUpstream, start: Start
) -> None:
    rows = {"deployments": [{"projectId": "42", "label": "web", "key": "server-beta"}]}
    upstream.on("GET", LISTING, json_answer(rows))
    fixed = {**BETA, "deploymentKeys": ["server-beta", "server-unlisted"]}
    async with start(fixed, deploymentSyncIntervalMillis=100) as one:
        assert await one.ask("server-unlisted") == 200

        await one.reload(LISTED, deploymentSyncIntervalMillis=100)

        await one.answers("server-unlisted", 401)
        assert await one.ask("server-beta") == 200


async def test_a_key_belongs_to_the_project_that_names_it_as_after_a_start(
    upstream: FakeUpstream, start: Start
) -> None:
    rows = {"deployments": [{"projectId": "42", "label": "web", "key": "server-listed"}]}
    upstream.on("GET", LISTING, json_answer(rows))
    async with start({**LISTED, "id": "beta"}, deploymentSyncIntervalMillis=100) as one:
        await one.answers("server-listed", 200)
        keys = ["server-alpha", "server-listed"]
        named = {**ALPHA, "id": "alpha", "deploymentKeys": keys}

        await one.reload({**LISTED, "id": "beta"}, named, deploymentSyncIntervalMillis=100)

        await one.answers("server-listed", 200)
        page = await one.proxy.json_of(one.proxy.operators + "/status")
        assert [row["project"] for row in page["deployments"]] == ["alpha", "alpha"]


async def test_a_listing_that_another_key_was_asked_with_counts_no_more(
    upstream: FakeUpstream, start: Start
) -> None:
    def rows(project: str, key: str) -> Step:
        return json_answer({"deployments": [{"projectId": project, "label": "web", "key": key}]})

    asked, go = asyncio.Event(), asyncio.Event()

    async def late(request: Request, raw: web.BaseRequest) -> web.StreamResponse:
        asked.set()
        await go.wait()
        return await rows("41", "server-of-another")(request, raw)

    upstream.on("GET", LISTING, late, key="manage-1")
    upstream.on("GET", LISTING, rows("42", "server-listed"), key="manage-2")
    async with start(LISTED, ready=False) as one:
        await asked.wait()
        await one.reload({**LISTED, "managementKey": "manage-2"})
        go.set()

        await one.answers("server-listed", 200)
        assert await one.ask("server-of-another") == 401


async def test_a_static_key_that_upstream_lists_stays_when_it_is_taken_out(
    upstream: FakeUpstream, start: Start
) -> None:
    rows = {"deployments": [{"projectId": "42", "label": "web", "key": "server-listed"}]}
    upstream.on("GET", LISTING, json_answer(rows))
    fixed = {**LISTED, "deploymentKeys": ["server-listed", "server-unlisted"]}
    async with start(fixed, deploymentSyncIntervalMillis=100) as one:
        await one.reload(LISTED, deploymentSyncIntervalMillis=100)

        await one.answers("server-unlisted", 401)
        assert await one.ask("server-listed") == 200


async def test_a_rotated_secret_key_is_used_at_once_and_no_cohort_is_dropped(
    upstream: FakeUpstream, start: Start
) -> None:
    def by_secret(request: Request) -> Step:
        name = base64.b64decode(request.headers["Authorization"].partition(" ")[2]).decode()
        asked.append(name)
        if name.endswith("secret-old"):
            return answer(401)
        members = ["u1"] if request.path.endswith("/c1") else ["u2"]
        told = {"groupType": "User", "lastModified": 1, "memberIds": members}
        return json_answer({"cohortId": request.path.rpartition("/")[2], **told})

    asked: list[str] = []
    only_members = condition(["context", "user", "cohort_ids"], "set contains any", "c1")
    upstream.on("GET", FLAGS, json_answer([flag("for-c1", segment("on", only_members))]))
    upstream.on("GET", COHORT, by_request(by_secret))
    async with start(ALPHA, cohortSyncIntervalMillis=3_600_000) as one:
        assert await one.variant("server-alpha", "for-c1") == "on"

        rotated = {**ALPHA, "secretKey": "secret-old"}
        last = await one.reload(rotated, cohortSyncIntervalMillis=3_600_000)

        assert last["changed"] == ["projects[0].secretKey"]
        # What is here was not refused: it waits for its time, and stays meanwhile.
        assert await one.variant("server-alpha", "for-c1") == "on"
        await one.reload(rotated, cohortSyncIntervalMillis=100)
        await one.reload({**ALPHA, "secretKey": "secret-new"}, cohortSyncIntervalMillis=100)
        assert await one.variant("server-alpha", "for-c1") == "on"
        page = await one.proxy.json_of(one.proxy.operators + "/status")
        assert page["cohorts"][0]["here"] == 1
        assert asked[0] == "api-alpha:secret-alpha"


async def test_limits_count_from_the_next_request_on(upstream: FakeUpstream, start: Start) -> None:
    async with start(ALPHA) as one:
        nested: dict[str, Any] = {"user_id": "u1", "user_properties": {"a": {"b": {"c": {}}}}}
        assert await one.ask("server-alpha", user=nested) == 200

        last = await one.reload(ALPHA, limits={"maxJsonDepth": 4})

        assert last["changed"] == ["configuration.limits.maxJsonDepth"]
        assert await one.ask("server-alpha", user=nested) == 400
        await one.reload(ALPHA, limits={"maxBodyBytes": 1024})
        assert await one.ask("server-alpha", user=nested) == 200
        assert await one.ask("server-alpha", user={"user_id": "u" * 1024}) == 413


async def test_cors_and_admission_are_switched_on_and_off(
    upstream: FakeUpstream, start: Start
) -> None:
    async with start(ALPHA) as one:

        async def allowed() -> str | None:
            headers = {"Authorization": "Api-Key server-alpha", "Origin": "https://a.example"}
            url = one.proxy.clients + VARDATA
            async with one.proxy.session.get(url, headers=headers) as response:
                found: str | None = response.headers.get("Access-Control-Allow-Origin")
                return found

        assert await allowed() == "*"
        await one.reload(ALPHA, cors={"origins": ["https://b.example"]})
        assert await allowed() is None
        await one.reload(ALPHA, cors={"origins": ["https://a.example"]})
        assert await allowed() == "https://a.example"

        bounds = {"requestsPerDeployment": 1, "burstPerDeployment": 1}
        await one.reload(ALPHA, admission=bounds)
        assert {await one.ask("server-alpha") for _ in range(5)} == {200, 429}
        page = await one.proxy.json_of(one.proxy.operators + "/status")
        assert page["edge"]["admission"]["on"] is True
        await one.reload(ALPHA)
        assert await allowed() == "*"
        assert {await one.ask("server-alpha") for _ in range(5)} == {200}


async def test_what_needs_a_restart_changes_nothing_at_all(
    upstream: FakeUpstream, start: Start, log_lines: io.StringIO
) -> None:
    async with start(ALPHA) as one:
        before = await one.config()

        one.write(ALPHA, BETA, drainDeadlineMillis=1, limits={"maxFlagKeys": 3})
        last = await one.attempted("refused")

        assert last["mistakes"] == ["configuration.drainDeadlineMillis: needs a restart"]
        assert "configuration.limits.maxFlagKeys" in last["changed"]
        assert await one.ask("server-beta") == 401
        after = await one.config()
        assert (after["hash"], after["loaded_at"]) == (before["hash"], before["loaded_at"])
        assert "amplitude_proxy_config_last_reload_successful 0.0" in await one.metrics()
        assert log_lines.getvalue().count("configuration not taken") == 1

        one.write(ALPHA)
        await one.attempted("unchanged")
        text = await one.metrics()
        assert "amplitude_proxy_config_last_reload_successful 1.0" in text
        assert 'amplitude_proxy_config_reload_total{outcome="refused"} 1.0' in text
        assert f'amplitude_proxy_config_info{{hash="{before["hash"]}"}} 1.0' in text


async def test_mistakes_and_a_missing_file_leave_all_in_force(
    upstream: FakeUpstream, start: Start, log_lines: io.StringIO
) -> None:
    async with start(ALPHA) as one:
        one.path.write_text('{"projects": [{"apiKey":')
        broken = await one.attempted("refused")
        one.path.unlink()
        gone = await one.attempted("refused", after=broken)
        assert "is gone" in gone["mistakes"][0]
        assert await one.ask("server-alpha") == 200

        one.write({**ALPHA, "secretKey": ""})
        blank = await one.attempted("refused", after=gone)

        assert "projects[0].secretKey" in blank["mistakes"][0]
        assert await one.ask("server-alpha") == 200
        for secret in SECRETS:
            assert secret not in log_lines.getvalue()
            assert secret not in str(blank)


async def test_a_signal_reads_the_file_at_once_even_when_nobody_watches_it(
    upstream: FakeUpstream, start: Start
) -> None:
    async with start(ALPHA, reload={"watchMillis": 0}) as one:
        one.write(ALPHA, BETA)
        os.kill(os.getpid(), signal.SIGHUP)

        last = await one.attempted("applied")

        assert last["trigger"] == "signal"
        await one.answers("server-beta", 200)
        os.kill(os.getpid(), signal.SIGHUP)
        assert (await one.attempted("unchanged"))["changed"] == []


async def test_secret_files_that_kubernetes_swaps_are_followed(
    upstream: FakeUpstream, start: Start, tmp_path: Path
) -> None:
    rows = {"deployments": [{"projectId": "42", "label": "web", "key": "server-listed"}]}
    upstream.on("GET", LISTING, json_answer(rows))
    mount = tmp_path / "secret"
    for version, text in ((1, "manage-1"), (2, "manage-2")):
        (mount / f"..{version}").mkdir(parents=True)
        (mount / f"..{version}" / "key").write_text(text)
    (mount / "..data").symlink_to("..1")
    (mount / "key").symlink_to(Path("..data", "key"))
    project = {**LISTED, "managementKeyFile": str(mount / "key")}
    del project["managementKey"]
    async with start(project) as one:
        (mount / "..new").symlink_to("..2")
        (mount / "..new").replace(mount / "..data")

        last = await one.attempted("applied")

        assert last["changed"] == ["projects[0].managementKey"]
        await upstream.received(1, LISTING, key="manage-2")


async def test_offline_a_key_that_is_added_is_served_from_what_is_there(
    upstream: FakeUpstream, start: Start, tmp_path: Path
) -> None:
    path = tmp_path / "flags.json"
    path.write_bytes(msgspec.json.encode([flag("kept")]))
    offline = {"path": str(path), "pollMillis": 100}
    async with start(ALPHA, offline=offline) as one:
        assert await one.variant("server-alpha", "kept") == "on"

        await one.reload(ALPHA, BETA, offline=offline)
        await one.answers("server-beta", 200)
        assert await one.variant("server-beta", "kept") == "on"

        await one.reload(BETA, offline=offline)
        assert await one.ask("server-alpha") == 401
        assert await one.variant("server-beta", "kept") == "on"
        assert await one.proxy.status_of(one.proxy.operators + "/readyz") == 200
    assert upstream.requests == []


async def test_streams_of_those_who_stay_go_on_and_those_of_the_removed_end(
    upstream: FakeUpstream, start: Start
) -> None:
    async with start(ALPHA, BETA) as one:
        url = one.proxy.clients + "/sdk/stream/v1/flags"
        headers = [{"Authorization": f"Api-Key {key}"} for key in ("server-alpha", "server-beta")]
        async with (
            one.proxy.session.get(url, headers=headers[0]) as stays,
            one.proxy.session.get(url, headers=headers[1]) as goes,
        ):
            await stays.content.readuntil(b"\n\n")

            await one.reload(ALPHA)

            async with asyncio.timeout(30):
                await goes.read()
            assert not stays.content.at_eof()
            upstream.on("GET", FLAGS, json_answer([flag("fresh")]))
            await one.reload(ALPHA, flagSyncIntervalMillis=100)


async def test_requests_under_way_are_answered_while_it_changes_again_and_again(
    upstream: FakeUpstream, start: Start
) -> None:
    async with start(ALPHA, reload={"watchMillis": 0}) as one:
        done = asyncio.Event()
        statuses: list[int] = []

        async def client() -> None:
            while not done.is_set():
                statuses.append(await one.ask("server-alpha"))

        clients = [asyncio.ensure_future(client()) for _ in range(4)]
        for turn in range(10):
            before = (await one.config())["last_attempt"]
            one.write(ALPHA, *([BETA] if turn % 2 else []), limits={"maxFlagKeys": 100 + turn})
            os.kill(os.getpid(), signal.SIGHUP)
            await one.attempted("applied", after=before)
        done.set()
        await asyncio.gather(*clients)
        assert set(statuses) == {200}
        assert len(statuses) > 10
