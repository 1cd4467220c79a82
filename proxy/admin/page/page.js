// The status page: asks the proxy every few seconds and shows what it says.

import { ask, choices, chosen, now, seen } from "./asking.js";
import { feed } from "./changes.js";
import { cohorts } from "./cohorts.js";
import { deployments } from "./deployments.js";
import { h, show } from "./dom.js";
import { countWords, found, list, trouble } from "./flags.js";
import { banner, body, healthOf, pill, reasonsOf, sentence } from "./health.js";
import { edge, events } from "./parts.js";
import * as playground from "./playground.js";
import { traffic } from "./traffic.js";
import { ago } from "./words.js";

const PAUSE_MILLIS = 2500;
/** Whoever waits for the proxy to come back looks at the page. */
const PAUSE_MILLIS_OF_SILENCE = 1000;
const STEPS = { flags: 50, trouble: 10, changes: 20, cohorts: 25 };

const at = (id) => document.getElementById(id);

const ui = {
  paused: false,
  deployment: "",
  search: "",
  kind: "",
  cohort: "",
  open: new Set(),
  shown: { ...STEPS },
};
const drawn = { flags: null, changes: null };
let timer = 0;
let told = "asking";

async function poll() {
  clearTimeout(timer);
  if (!(await ask(ui.deployment))) return;
  try {
    draw();
  } finally {
    plan();
  }
}

function plan() {
  clearTimeout(timer);
  const millis = seen.answers === "silent" ? PAUSE_MILLIS_OF_SILENCE : PAUSE_MILLIS;
  if (!ui.paused && !document.hidden) timer = setTimeout(poll, millis);
}

function draw() {
  drawHealth();
  const { status } = seen;
  if (!status) return;
  drawDeploymentChoice();
  show(at("traffic-body"), traffic(seen.traffic));
  show(at("deployments-body"), deployments(status.deployments));
  show(at("events-body"), events(status.events, status.spool));
  show(at("edge-body"), edge(status));
  show(at("footer"), `Evaluation proxy ${status.version} · Python ${status.python}`);
  drawCohorts();
  // Unlike ages, these stand still until they are asked for again.
  if (drawn.flags !== seen.flags || !seen.flags) drawFlags();
  if (drawn.changes !== seen.changes) drawChanges();
}

function drawHealth() {
  const health = healthOf(seen);
  at("pill").dataset.health = health;
  show(at("pill"), pill(health));
  show(at("banner"), banner(health, seen));
  document.title = `${{ ready: "✓", asking: "…" }[health] ?? "!"} Evaluation proxy`;
  drawFresh();
  if (seen.status)
    show(
      at("health-body"),
      body({
        status: seen.status,
        parts: seen.parts,
        samples: seen.traffic?.samples,
        isKnown: seen.answers === "yes",
      }),
    );
  if (told !== health) {
    // The first good news is no news.
    if (told !== "asking" || health !== "ready") say(sentence(health, reasonsOf(seen.parts)));
    told = health;
  }
}

function drawFresh() {
  const words = ui.paused
    ? "paused"
    : seen.heard === null
      ? ""
      : seen.answers === "yes"
        ? ""
        : `heard ${ago(now() - seen.heard)}`;
  show(at("fresh"), words);
}

function say(words) {
  at("said").textContent = words;
}

function drawDeploymentChoice() {
  const all = choices();
  show(
    at("flags-deployment"),
    all.map(({ id, name }) => h("option", { value: id, "data-key": id }, name)),
  );
  at("flags-deployment").value = chosen(ui.deployment);
  playground.offer(all);
}

function drawFlags() {
  const { flags } = seen;
  if (drawn.flags !== flags) playground.suggest((flags?.flags ?? []).map((one) => one.key));
  drawn.flags = flags;
  if (!flags) {
    show(at("flags-body"), h("p", { class: "quiet" }, "There are no flags yet."));
    show(at("flags-trouble"));
    show(at("flags-count"));
    return;
  }
  const onlyTrouble = ui.kind === "trouble";
  const left = onlyTrouble ? [] : found(flags.flags, ui);
  const wide = onlyTrouble ? flags.left_out.length + flags.waiting.length : ui.shown.trouble;
  show(
    at("flags-trouble"),
    trouble(flags, ui.search, { shown: Math.max(wide, ui.shown.trouble), step: STEPS.trouble }),
  );
  const none = flags.left_out.length + flags.waiting.length ? "" : "No flag is left out or waits.";
  show(at("flags-count"), onlyTrouble ? none : countWords(left.length, flags.flags.length));
  show(
    at("flags-body"),
    onlyTrouble ? null : list(left, { shown: ui.shown.flags, step: STEPS.flags, open: ui.open }),
  );
}

function drawChanges() {
  drawn.changes = seen.changes;
  show(at("changes-body"), feed(seen.changes, { shown: ui.shown.changes, step: STEPS.changes }));
}

function drawCohorts() {
  const all = seen.status.cohorts.reduce((sum, one) => sum + one.cohorts.length, 0);
  at("cohorts-controls").hidden = all < 10;
  show(
    at("cohorts-body"),
    cohorts(seen.status.cohorts, ui.cohort, ui.shown.cohorts, STEPS.cohorts),
  );
}

const DRAWN = { flags: drawFlags, trouble: drawFlags, changes: drawChanges, cohorts: drawCohorts };
const ACTIONS = {
  reload: () => location.reload(),
  play: ({ flag }) => playground.prepare(chosen(ui.deployment), flag),
  more: ({ section }, button) => {
    const heir = button.closest(".more").previousElementSibling;
    if (section === "explained") {
      playground.showMore();
    } else {
      ui.shown[section] += STEPS[section];
      DRAWN[section]();
    }
    // The button may be gone now; whoever pressed it by keyboard must not fall out of the page.
    if (!button.isConnected && heir) {
      heir.setAttribute("tabindex", "-1");
      heir.focus({ preventScroll: true });
    }
  },
};

function begin() {
  playground.begin(say);
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-action]");
    if (button) ACTIONS[button.dataset.action]?.(button.dataset, button);
  });
  document.addEventListener("visibilitychange", () =>
    document.hidden || ui.paused ? clearTimeout(timer) : poll(),
  );
  at("pause").addEventListener("click", () => {
    ui.paused = !ui.paused;
    at("pause").setAttribute("aria-pressed", String(ui.paused));
    drawFresh();
    if (ui.paused) clearTimeout(timer);
    else poll();
  });
  at("flags-form").addEventListener("submit", (event) => event.preventDefault());
  at("flags-search").addEventListener("input", () => {
    ui.search = at("flags-search").value;
    ui.shown.flags = STEPS.flags;
    drawFlags();
  });
  at("flags-kind").addEventListener("change", () => {
    ui.kind = at("flags-kind").value;
    ui.shown.flags = STEPS.flags;
    drawFlags();
  });
  at("flags-deployment").addEventListener("change", () => {
    ui.deployment = at("flags-deployment").value;
    ui.shown.flags = STEPS.flags;
    poll();
  });
  at("flags-body").addEventListener("toggle", unfolded, true);
  at("cohorts-search").addEventListener("input", () => {
    ui.cohort = at("cohorts-search").value;
    ui.shown.cohorts = STEPS.cohorts;
    if (seen.status) drawCohorts();
  });
  poll();
}

function unfolded(event) {
  const key = event.target.dataset.flag;
  if (key === undefined || event.target.open === ui.open.has(key)) return;
  if (event.target.open) ui.open.add(key);
  else ui.open.delete(key);
  drawFlags();
}

begin();
