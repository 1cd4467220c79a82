"""The status page of a real proxy in a real browser: what it shows, and that it stays true."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib.resources import files
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect

from proxy.admin.wording import COHORT_WORDS, WORDS
from proxy.evaluation.bucketing import bucket_hash
from proxy.sandbox.server import API_KEY, CLIENT_KEY, MANAGEMENT_KEY, SECRET_KEY, SERVER_KEY
from tests.system.programs import Pair

pytestmark = [pytest.mark.system, pytest.mark.needs("chromium")]

DESKTOP, PHONE = (1280, 900), (360, 740)
USER, PASSWORD = "grace", "hopper-at-night"
MANY = 60
EVIL = "<img src=x onerror=alert(1)>"
LONG = "long" * 40
NAMES_WITHOUT_TEXT = Path(__file__).with_name("accessible.js").read_text()
CONTRASTS = Path(__file__).with_name("contrast.js").read_text()

Seen = Callable[..., Page]
"""Open the page at a size; it must say nothing on the console and call nobody but the proxy."""


def flags_file(*, rollout: int = 20) -> str:
    """Return flags of which one targets, one is hostile and one cannot be used."""
    flags = {
        "checkout": {
            "variants": {"blue": {"payload": {"shade": "navy"}}, "red": None},
            "segments": [
                {"name": "Gold", "when": ["plan is gold", "country is Germany"], "serve": "blue"},
                {"name": "Testers", "when": "in cohort testers", "serve": "red"},
            ],
            "rollout": f"{rollout}%",
        },
        EVIL: {"variants": {EVIL: None}, "serve": EVIL},
        LONG: {
            "variants": {LONG: None},
            "segments": [{"name": LONG, "when": f"{LONG} is {LONG}", "serve": LONG}],
        },
        **{f"many-{number:03}": {"serve": "on"} for number in range(MANY)},
        **{
            f"for-{number:03}": {"segments": [{"when": f"in cohort c{number:03}", "serve": "on"}]}
            for number in range(MANY)
        },
    }
    cohorts = {"testers": ["ada"], **{f"c{number:03}": ["bob"] for number in range(MANY)}}
    broken = {"key": "broken", "variants": {}, "segments": [], "dependencies": ["broken"]}
    # YAML takes JSON.
    return json.dumps({"flags": flags, "cohorts": cohorts, "raw_flags": [broken]})


@pytest.fixture(scope="module")
def running() -> Iterator[ExitStack]:
    """The proxy's process: closing the stack ends it."""
    with ExitStack() as running:
        yield running


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory, running: ExitStack) -> Iterator[Pair]:
    """A proxy whose operators' port asks for a password: what is seen is seen with a login."""
    pair = Pair(tmp_path_factory.mktemp("status-page"), flags_file())
    config = pair.config()
    config["configuration"]["metrics"] |= {"basicUser": USER, "basicPassword": PASSWORD}
    pair.config_file.write_text(json.dumps(config))
    with pair.sandbox():
        running.enter_context(pair.serve())
        yield pair
        running.close()


@pytest.fixture(autouse=True)
def patience() -> None:
    expect.set_options(timeout=30_000)


@pytest.fixture
def seen(browser: Browser, watched: Pair) -> Iterator[Seen]:
    contexts: list[BrowserContext] = []
    said: list[str] = []
    called: list[str] = []

    def open_page(size: tuple[int, int] = DESKTOP, *, dark: bool = False, at: str = "") -> Page:
        width, height = size
        context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            http_credentials={"username": USER, "password": PASSWORD},
            reduced_motion="reduce",
        )
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: said.append(f"dialog: {dialog.message}"))
        page.on("request", lambda request: called.append(request.url))
        page.goto(f"{watched.operators}/{at}")
        expect(page.locator("#flags-body details").first).to_be_visible()
        return page

    yield open_page
    for context in contexts:
        context.close()
    # The browser itself notes each refusal, though the page asked for it and shows it.
    assert not [words for words in said if "status of 400 (Bad Request)" not in words]
    assert not [url for url in called if not url.startswith((watched.operators, "data:"))]


def flag(page: Page, key: str) -> Locator:
    return page.locator(f"#flags-body details[data-flag={json.dumps(key)}]")


def explain(page: Page, flags: str = "checkout", **user: object) -> Locator:
    """Ask the playground about a user; return the result."""
    page.get_by_label("User JSON").fill(json.dumps(user))
    page.get_by_label("Flags optional").fill(flags)
    page.get_by_role("button", name="Explain", exact=True).click()
    result = page.get_by_role("region", name="Result")
    expect(result.locator("details[data-explained]").first).to_be_visible()
    return result


def scrolls_sideways(page: Page) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth > innerWidth"))


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_health_and_all_parts_are_seen_at_a_glance(seen: Seen, size: tuple[int, int]) -> None:
    page = seen(size)

    expect(page.locator("#pill")).to_have_text("✓Ready")
    expect(page.locator("#deployments-body tbody tr")).to_have_count(2)
    expect(page.locator("#deployments-body")).to_contain_text("delivers")
    expect(page.locator("#health-body")).to_contain_text("1 flag left out")
    expect(page.locator("#flags-trouble")).to_contain_text("broken left out:")
    expect(page.locator("#events-body")).to_contain_text("in memory")
    expect(page.locator("#edge-body")).to_contain_text("Answer cache")
    flag(page, "checkout").locator("summary").click()
    explain(page, flags=f"checkout, {LONG}", user_id="ada", country="Germany")
    assert not scrolls_sideways(page)


def test_many_rows_are_held_back_until_asked_for(seen: Seen) -> None:
    page = seen()
    flags, cohorts = page.locator("#flags-body details"), page.locator("#cohorts-body tbody tr")
    expect(flags).to_have_count(50)
    expect(cohorts).to_have_count(25)

    page.locator("#flags").get_by_role("button", name="Show 50 more").click()
    expect(flags).to_have_count(100)
    page.get_by_label("Search", exact=True).first.fill("c007")

    expect(flags).to_have_count(1)
    expect(flag(page, "for-007")).to_be_visible()
    page.locator("#cohorts-search").fill("c007")
    expect(cohorts).to_have_count(1)


def test_a_flag_unfolds_into_its_segments_and_shares(seen: Seen) -> None:
    page = seen()

    flag(page, "checkout").locator("summary").click()

    inside = flag(page, "checkout").locator(".segments > li")
    expect(inside).to_have_count(3)
    expect(inside.nth(0)).to_contain_text("user_properties.plan is gold")
    expect(inside.nth(0)).to_contain_text("blue100 %")
    expect(inside.nth(2)).to_contain_text("off80 %")


def test_a_change_shows_without_a_reload_and_disturbs_nobody(seen: Seen, watched: Pair) -> None:
    page = seen()
    attempts = page.locator("#deployments-body details").first
    attempts.locator("summary").click()
    flag(page, "checkout").locator("summary").click()
    search = page.locator("#flags-search")
    search.fill("check")
    search.press("ArrowLeft")
    page.evaluate("scrollTo(0, 300)")
    rollout = flag(page, "checkout").locator(".segments > li").nth(2)
    expect(rollout).to_contain_text("off80 %")

    watched.flag_file.write_text(flags_file(rollout=50))

    expect(page.locator("#changes-body")).to_contain_text("checkout changed")
    expect(page.locator("#changes-body")).to_contain_text("50 %")
    expect(rollout).to_contain_text("off50 %")
    expect(search).to_be_focused()
    assert search.input_value() == "check"
    assert attempts.evaluate("details => details.open")
    assert search.evaluate("input => input.selectionStart") == 4
    assert page.evaluate("scrollY") == 300
    watched.flag_file.write_text(flags_file())


def test_the_playground_shows_the_failing_condition_and_the_bucket(seen: Seen) -> None:
    page = seen()

    result = explain(page, user_id="eve", country="France", user_properties={"plan": "gold"})

    steps = result.locator(".step")
    failed = steps.nth(0).locator(".failed")
    expect(steps.nth(0).locator(".held")).to_contain_text("user_properties.plan is gold")
    expect(failed).to_contain_text("country is Germany")
    expect(failed).to_contain_text('fails: the value is "France"')
    expect(steps.nth(1)).to_contain_text("user is in any of the cohorts testers")
    expect(steps.nth(1)).to_contain_text("fails: in no cohort that flags ask for")
    hashed = dict(
        zip(
            steps.nth(2).locator("dt").all_inner_texts(),
            steps.nth(2).locator("dd").all_inner_texts(),
            strict=True,
        )
    )
    expected = bucket_hash(hashed["salt"], "eve")
    assert hashed["user_id"] == '"eve"'
    assert hashed["hash"] == str(expected)
    assert hashed["bucket"] == f"{expected % 100} of 0–99"
    expect(steps.nth(2).get_by_role("img").first).to_have_attribute(
        "aria-label", f"Bucket {expected % 100} lies outside the rollout, which takes 0–19."
    )
    expect(steps.last).to_contain_text("Variant off")


def test_conditions_are_worded_as_in_the_flags() -> None:
    script = (files("proxy.admin") / "page" / "conditions.js").read_text()

    for op, words in {**WORDS, **COHORT_WORDS}.items():
        assert re.search(rf'^  "?{op}"?: "{words}",$', script, re.MULTILINE), op


def test_a_known_cohort_and_a_payload_show_in_the_playground(seen: Seen) -> None:
    page = seen()

    expect(explain(page, user_id="ada").locator(".decides")).to_contain_text("Testersgives red")

    gold = explain(page, user_id="ada", country="Germany", user_properties={"plan": "gold"})
    expect(gold.locator(".step.end")).to_contain_text('"shade": "navy"')
    expect(gold.locator(".step.after").first).to_contain_text("would give red")

    every = explain(page, flags="", user_id="eve")
    expect(every.locator("details[data-explained]")).to_have_count(25)
    expect(every.locator("details[open] .step.end")).to_have_text("→Variant off")


def test_a_mistake_in_the_playground_is_told_beside_it(seen: Seen) -> None:
    page = seen(PHONE)
    alert = page.locator("#play-error")

    for text, words in (
        ("{", "The user is not JSON"),
        ("[1]", "must be a JSON object"),
        ('{"a": ' * 500 + "1" + "}" * 500, "nested deeper"),
    ):
        page.get_by_label("User JSON").fill(text)
        # The third is the proxy's own refusal.
        if "nested" in words:
            with page.expect_response("**/explain") as refused:
                page.get_by_role("button", name="Explain", exact=True).click()
            assert refused.value.status == 400
        else:
            page.get_by_role("button", name="Explain", exact=True).click()
        expect(alert).to_contain_text(words)


def test_a_link_brings_the_question_along_and_no_server_hears_of_it(seen: Seen) -> None:
    page = seen()
    page.get_by_label("User JSON").fill('{"user_id": "Zoë"}')
    page.get_by_label("Flags optional").fill("checkout")
    page.locator("#play-deployment").select_option(label="client")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy link").click()
    expect(page.locator("#play-linked")).to_have_text("Copied.")
    link: str = page.evaluate("navigator.clipboard.readText()")

    other = seen(at="#" + link.partition("#")[2])

    assert other.get_by_label("User JSON").input_value() == '{"user_id": "Zoë"}'
    assert other.get_by_label("Flags optional").input_value() == "checkout"
    assert other.locator("#play-deployment option:checked").inner_text() == "client"


def test_hostile_names_are_text(seen: Seen) -> None:
    page = seen()
    flag(page, EVIL).locator("summary").click()
    explain(page, flags=EVIL, user_id="ada")

    expect(flag(page, EVIL)).to_contain_text(EVIL)
    expect(page.locator("#play-result")).to_contain_text(f"Variant {EVIL}")
    assert page.locator("body img").count() == 0


def test_no_key_is_anywhere_in_the_page(seen: Seen) -> None:
    page = seen()
    flag(page, "checkout").locator("summary").click()
    explain(page, flags="", user_id="ada")
    page.get_by_text("The user as evaluated").click()

    held = page.content()

    assert "checkout" in held
    for key in (SERVER_KEY, CLIENT_KEY, API_KEY, SECRET_KEY, MANAGEMENT_KEY, PASSWORD):
        assert key not in held


@pytest.mark.parametrize(
    ("size", "dark"), [(DESKTOP, False), (PHONE, True)], ids=["desktop-light", "phone-dark"]
)
def test_all_text_can_be_read_and_everything_has_a_name(
    seen: Seen, size: tuple[int, int], dark: bool
) -> None:
    page = seen(size, dark=dark)
    flag(page, "checkout").locator("summary").click()
    explain(page, user_id="eve", country="Germany")

    assert page.evaluate(CONTRASTS) == []
    assert page.evaluate(NAMES_WITHOUT_TEXT) == []


def test_the_keyboard_alone_gets_an_explanation(seen: Seen) -> None:
    page = seen()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.get_by_role("link", name="Playground").focus()
    page.keyboard.press("Enter")
    for _ in range(3):
        page.keyboard.press("Tab")
    expect(page.get_by_label("User JSON")).to_be_focused()
    page.keyboard.press("Control+A")
    page.keyboard.insert_text('{"user_id": "ada"}')
    page.keyboard.press("Control+Enter")
    result = page.get_by_role("region", name="Result")
    first = result.locator("details[data-explained]").first
    expect(first).to_be_visible()

    for _ in range(4):
        page.keyboard.press("Tab")
    expect(first.locator("summary")).to_be_focused()
    page.keyboard.press("Enter")
    expect(first.locator(".step").first).to_be_visible()
    expect(first.locator("summary")).to_be_focused()


def test_a_login_that_is_needed_is_asked_for(browser: Browser, watched: Pair) -> None:
    context = browser.new_context(http_credentials={"username": USER, "password": PASSWORD})
    page = context.new_page()
    page.goto(watched.operators)
    expect(page.locator("#pill")).to_have_text("✓Ready")

    # As after a restart with another password; a browser keeps sending the one that it has.
    context.route("**/status", lambda route: route.fulfill(status=401))

    expect(page.locator("#pill")).to_have_text("×Login needed")
    expect(page.locator("#banner").get_by_role("button", name="Reload")).to_be_visible()
    context.close()


def test_events_that_wait_are_counted_and_what_keeps_them_is_told(
    browser: Browser, tmp_path: Path
) -> None:
    pair = Pair(tmp_path, flags_file())
    config = pair.config()
    config["configuration"]["drainDeadlineMillis"] = 100
    pair.config_file.write_text(json.dumps(config))
    context = browser.new_context()
    page = context.new_page()
    with pair.sandbox() as sandbox, pair.serve():
        sandbox.stop()
        pair.variants({"user_id": "ada"})

        page.goto(pair.operators)

        health = page.get_by_role("region", name="Health")
        expect(health).to_contain_text("events do not arrive at Amplitude; they are kept")
        expect(health).to_contain_text(re.compile(r"Events waiting\s*1"))
        expect(page.get_by_role("row").filter(has_text="failure")).to_contain_text("1")
        context.close()


def test_a_page_whose_proxy_is_gone_says_so_and_recovers(
    browser: Browser, watched: Pair, running: ExitStack
) -> None:
    context = browser.new_context(http_credentials={"username": USER, "password": PASSWORD})
    page = context.new_page()
    page.goto(watched.operators)
    expect(page.locator("#pill")).to_have_text("✓Ready")

    running.close()

    expect(page.locator("#pill")).to_have_text("×No answer")
    expect(page.locator("#banner")).to_contain_text("has not answered since")
    expect(page.locator("#said")).to_contain_text("does not answer")
    expect(page.locator("#flags-body")).to_contain_text("checkout")
    running.enter_context(watched.serve())
    expect(page.locator("#pill")).to_have_text("✓Ready")
    expect(page.locator("#banner")).to_be_empty()
    expect(page.locator("#said")).to_have_text("The proxy is ready.")
    context.close()
