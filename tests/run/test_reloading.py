"""When the configuration is read again, and what becomes of it: without the rest of the proxy."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path
from typing import Any

import pytest

from proxy import tasks
from proxy.metrics import Metrics
from proxy.run.applying import Places
from proxy.run.reloading import Reloader
from proxy.settings.schema import Settings
from proxy.settings.source import ATTEMPTS, Source
from tests import builders
from tests.settings.asking import PROJECT, written

OTHER = f"{PROJECT}configuration:\n  limits:\n    maxFlagKeys: 7\n"


class Watched:
    """A reloader of a file, and what it put in force."""

    def __init__(
        self, folder: Path, text: str = PROJECT, environ: dict[str, str] | None = None
    ) -> None:
        self.folder = folder
        self.path = written(folder, text)
        self.metrics = Metrics()
        self.applied: list[Settings] = []
        self.breaks = False
        source = Source(environ or {}, str(self.path))
        self.reloader = Reloader(source.load(), source, self.metrics, clock=lambda: 1000.0)

    async def apply(self, settings: Settings) -> None:
        if self.breaks:
            raise RuntimeError("a defect")
        self.applied.append(settings)

    async def look(self, times: int = 1) -> Any:
        for _ in range(times):
            await self.reloader.look(self.apply)
        return self.reloader.status()["last_attempt"]

    def write(self, text: str) -> None:
        written(self.folder, text)

    def sample(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"amplitude_proxy_{name}", labels)


async def test_what_two_looks_saw_alike_is_put_in_force_once(tmp_path: Path) -> None:
    one = Watched(tmp_path)
    assert await one.look(3) is None

    one.write(OTHER)
    assert await one.look() is None
    told = await one.look(4)

    assert (told["outcome"], told["at"], told["trigger"]) == ("applied", 1000.0, "file")
    assert told["changed"] == ["configuration.limits.maxFlagKeys"]
    assert [settings.limits.max_flag_keys for settings in one.applied] == [7]
    assert one.reloader.settings is one.applied[0]
    assert one.sample("config_reload_total", outcome="applied") == 1


async def test_what_is_still_being_written_is_not_read(tmp_path: Path) -> None:
    one = Watched(tmp_path)

    for end in range(0, len(OTHER), 20):
        one.write(OTHER[:end])
        assert await one.look() is None
    one.write(OTHER)
    await one.look(2)

    assert len(one.applied) == 1


async def test_a_file_that_is_gone_for_one_look_is_nobodys_trouble(tmp_path: Path) -> None:
    one = Watched(tmp_path)

    one.path.unlink()
    await one.look()
    one.write(PROJECT)

    assert await one.look(3) is None
    assert one.sample("config_last_reload_successful") == 1


async def test_mistakes_are_told_once_and_until_they_are_mended(
    tmp_path: Path, log_lines: io.StringIO
) -> None:
    one = Watched(tmp_path)

    one.write(OTHER.replace("maxFlagKeys", "maxFlagKey"))
    told = await one.look(5)

    assert told["outcome"] == "refused"
    assert "limits.maxFlagKey: unknown key; did you mean `maxFlagKeys`?" in told["mistakes"][0]
    assert log_lines.getvalue().count("configuration not taken") == 1
    assert one.sample("config_last_reload_successful") == 0
    assert one.sample("config_reload_total", outcome="refused") == 1
    assert one.applied == []

    one.write(PROJECT)
    assert (await one.look(2))["outcome"] == "unchanged"
    assert one.sample("config_last_reload_successful") == 1


async def test_nothing_is_taken_of_what_needs_a_restart_in_part(tmp_path: Path) -> None:
    one = Watched(tmp_path)

    one.write(f"{OTHER}  port: 7\n")
    told = await one.look(2)

    assert told["mistakes"] == ["configuration.port: needs a restart"]
    assert told["changed"] == ["configuration.port", "configuration.limits.maxFlagKeys"]
    assert one.applied == []


async def test_a_defect_is_told_and_does_not_end_the_watch(
    tmp_path: Path, log_lines: io.StringIO
) -> None:
    one = Watched(tmp_path)
    one.breaks = True
    one.write(OTHER)
    told = await one.look(2)
    assert (told["outcome"], told["mistakes"]) == ("failed", ["RuntimeError"])
    assert "Traceback" not in str(told)
    assert "reload of the configuration died" in log_lines.getvalue()

    one.breaks = False
    one.write(f"{OTHER}# again\n")
    assert (await one.look(2))["outcome"] == "applied"


async def test_after_a_defect_even_the_settings_of_before_are_put_in_force_anew(
    tmp_path: Path,
) -> None:
    one = Watched(tmp_path)
    one.breaks = True
    one.write(OTHER)
    assert (await one.look(3))["outcome"] == "failed"
    one.breaks = False

    one.write(f"{PROJECT}# as before\n")
    assert (await one.look(3))["outcome"] == "applied"
    assert [settings.limits.max_flag_keys for settings in one.applied] == [
        one.reloader.settings.limits.max_flag_keys
    ]

    one.write(f"{PROJECT}# as before, still\n")
    assert (await one.look(3))["outcome"] == "unchanged"


async def test_files_that_never_rested_are_read_once_they_do(tmp_path: Path) -> None:
    class Restless(Source):
        looks = 0

        def look(self) -> dict[str, str]:
            found = super().look()
            if self.looks > 0:
                self.looks -= 1
                with Path(self.file).open("a") as file:
                    file.write("# more\n")
            return found

    path = written(tmp_path, PROJECT)
    source = Restless({}, str(path))
    reloader = Reloader(source.load(), source, Metrics(), clock=lambda: 1000.0)
    applied: list[Settings] = []

    async def apply(settings: Settings) -> None:
        applied.append(settings)

    following = tasks.start("configuration", reloader.run(apply))
    source.looks = ATTEMPTS
    written(tmp_path, OTHER)
    reloader.ask()
    async with asyncio.timeout(30):
        while reloader.status()["last_attempt"] is None:
            await asyncio.sleep(0)
    await tasks.stop(following)
    assert reloader.status()["last_attempt"]["outcome"] == "refused"

    for _ in range(3):
        await reloader.look(apply)

    assert [settings.limits.max_flag_keys for settings in applied] == [7]


async def test_what_a_start_would_only_say_is_said_of_what_is_new(
    tmp_path: Path, log_lines: io.StringIO
) -> None:
    written(tmp_path, PROJECT, "projects.yaml")
    environ = {"PROXY_PROJECTS_FILE_PATH": str(tmp_path / "projects.yaml")}
    one = Watched(tmp_path, "configuration: {}\n", environ)

    one.write(OTHER)
    told = await one.look(4)

    assert told["outcome"] == "applied"
    (line,) = [line for line in log_lines.getvalue().splitlines() if "note on the" in line]
    assert "projects: not read, as it is taken from" in line
    assert one.reloader.settings.notices


async def test_the_hash_in_force_is_the_only_one_shown(tmp_path: Path) -> None:
    one = Watched(tmp_path)
    before = one.reloader.status()["hash"]

    one.write(OTHER)
    await one.look(2)

    after = one.reloader.status()["hash"]
    assert before != after
    assert one.sample("config_info", hash=after) == 1
    assert one.sample("config_info", hash=before) is None


async def test_without_a_source_nothing_ever_changes() -> None:
    reloader = Reloader(builders.settings(), None, Metrics())

    async def apply(_settings: Settings) -> None:
        pytest.fail("nothing is to be applied")

    await reloader.look(apply)
    assert reloader.status()["file"] is None


def test_a_project_keeps_its_index_and_nobody_else_ever_gets_it() -> None:
    def of(*names: str) -> dict[int, str]:
        text = [builders.settings().projects[0]]
        made = [
            type(text[0])(api_key=type(text[0].api_key)(name), secret_key=text[0].secret_key)
            for name in names
        ]
        found = places.of(builders.settings(projects=tuple(made)))
        return {index: project.api_key.reveal() for index, project in found.items()}

    places = Places()

    assert of("a", "b") == {0: "a", 1: "b"}
    assert of("b") == {1: "b"}
    assert of("c", "b", "a") == {2: "c", 1: "b", 0: "a"}
