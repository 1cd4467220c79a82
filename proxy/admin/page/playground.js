// The playground: a user in, variants and the way to them out.

import { h, show } from "./dom.js";
import { explanation, title } from "./trace.js";

const STEP = 25;
const MOST_MILLIS = 15000;
const PREFIX = "#play=";
const EXAMPLE = {
  user_id: "ada",
  device_id: "device-1",
  country: "Germany",
  version: "2.9.1",
  user_properties: { email: "ada@example.com", plan: "gold" },
  groups: { org: ["acme"] },
};

const at = (id) => document.getElementById(id);
const ui = { answer: null, open: new Set(), shown: STEP, search: "" };
let asked = 0;
let wished = null;

/** Make the form work; `say` speaks to screen readers. */
export function begin(say) {
  at("play-user").value = JSON.stringify(EXAMPLE, null, 2);
  takeFragment();
  window.addEventListener("hashchange", takeFragment);
  at("play-form").addEventListener("submit", (event) => {
    event.preventDefault();
    explain(say);
  });
  at("play-form").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) at("play-form").requestSubmit();
  });
  at("play-link").addEventListener("click", copyLink);
  at("play-result").addEventListener("toggle", onToggle, true);
  at("play-result").addEventListener("input", onSearch);
}

/** Offer these deployments; one that a link wished for is taken, by its hash or its label. */
export function offer(choices) {
  const select = at("play-deployment");
  const chosen = wished ?? select.value;
  show(
    select,
    choices.map(({ id, name }) => h("option", { value: id, "data-key": id }, name)),
  );
  const found = choices.find(({ id, label }) => id === chosen || label === chosen);
  if (found) {
    select.value = found.id;
    wished = null;
  }
}

/** Suggest these flag keys. */
export function suggest(keys) {
  show(
    at("play-keys"),
    keys.slice(0, 200).map((key) => h("option", { value: key })),
  );
}

/** Fill in a flag and a deployment, and go there. */
export function prepare(deployment, flag) {
  at("play-deployment").value = deployment;
  at("play-flags").value = flag;
  at("playground").scrollIntoView();
  at("play-user").focus({ preventScroll: true });
}

/** Show more of the flags that were explained. */
export function showMore() {
  ui.shown += STEP;
  draw();
}

async function explain(say) {
  const question = ask();
  if (question === null) return;
  const turn = (asked += 1);
  at("play-result").setAttribute("aria-busy", "true");
  const [answer, mistake] = await post(question);
  if (turn !== asked) return;
  at("play-result").removeAttribute("aria-busy");
  complain(mistake, false);
  if (answer === null) return;
  const asking = new Set(question.flag_keys ?? []);
  const { traces } = answer;
  // What was asked for comes first, what it needs after it.
  traces.sort(
    (one, other) =>
      Number(asking.has(other.flagKey)) - Number(asking.has(one.flagKey)) ||
      (one.flagKey < other.flagKey ? -1 : 1),
  );
  ui.answer = answer;
  ui.shown = STEP;
  ui.search = "";
  // What was unfolded stays so: the same flag for another user is what one looks at next.
  for (const { flagKey } of traces) {
    if (asking.has(flagKey) || traces.length === 1) ui.open.add(flagKey);
  }
  draw();
  say(`Explained: ${traces.length} flags. The result stands after the form.`);
  const narrow = at("play-result").getBoundingClientRect().top > window.innerHeight * 0.8;
  if (narrow) at("play-result").scrollIntoView();
}

// The first mistake is told beside the form; nothing is sent then.
function ask() {
  let user;
  try {
    user = JSON.parse(at("play-user").value);
  } catch (error) {
    complain(`The user is not JSON: ${error.message}`);
    return null;
  }
  if (user === null || typeof user !== "object" || Array.isArray(user)) {
    complain('The user must be a JSON object, as {"user_id": "ada"}.');
    return null;
  }
  const deployment = at("play-deployment").value;
  if (!deployment) {
    complain("No deployment is known yet.", false);
    return null;
  }
  const question = { deployment, user };
  const keys = flagKeys();
  if (keys.length) question.flag_keys = keys;
  return question;
}

function flagKeys() {
  return at("play-flags")
    .value.split(",")
    .map((one) => one.trim())
    .filter(Boolean);
}

async function post(question) {
  try {
    const answer = await fetch("explain", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(question),
      signal: AbortSignal.timeout(MOST_MILLIS),
    });
    const told = await answer.json().catch(() => null);
    if (answer.ok && told) return [told, ""];
    return [null, (told && (told.error ?? told.reason)) || `The proxy answers ${answer.status}.`];
  } catch {
    return [null, "The proxy does not answer."];
  }
}

function complain(words, isOfUser = Boolean(words)) {
  at("play-error").textContent = words;
  at("play-user").setAttribute("aria-invalid", String(isOfUser));
}

function draw() {
  const { answer, open, shown, search } = ui;
  const many = answer.traces.length > 5;
  show(
    at("play-result"),
    h("div", { class: "result-head", "data-key": "head" }, title(answer), many ? finder() : null),
    explanation(answer, { shown, step: STEP, open, search }),
  );
  const find = at("play-find");
  if (find && find.value !== search) find.value = search;
}

function finder() {
  const input = h("input", {
    id: "play-find",
    type: "search",
    autocomplete: "off",
    spellcheck: "false",
    placeholder: "find a flag",
  });
  return h("label", null, h("span", { class: "unseen" }, "Find a flag"), input);
}

function onSearch(event) {
  if (event.target.id !== "play-find") return;
  ui.search = event.target.value;
  ui.shown = STEP;
  draw();
}

function onToggle(event) {
  const key = event.target.dataset.explained;
  if (key === undefined || event.target.open === ui.open.has(key)) return;
  if (event.target.open) ui.open.add(key);
  else ui.open.delete(key);
  draw();
}

// What follows the # stays in the browser: no server and no log sees the user.
function link() {
  const told = JSON.stringify({
    d: at("play-deployment").value,
    f: at("play-flags").value,
    u: at("play-user").value,
  });
  const letters = String.fromCharCode(...new TextEncoder().encode(told));
  return `${location.origin}${location.pathname}${PREFIX}${encodeURIComponent(btoa(letters))}`;
}

function takeFragment() {
  if (!location.hash.startsWith(PREFIX)) return;
  try {
    const letters = atob(decodeURIComponent(location.hash.slice(PREFIX.length)));
    const told = JSON.parse(
      new TextDecoder().decode(Uint8Array.from(letters, (one) => one.charCodeAt(0))),
    );
    wished = String(told.d);
    at("play-flags").value = String(told.f);
    at("play-user").value = String(told.u);
    at("playground").scrollIntoView();
  } catch {
    complain("The link is broken: what follows its # cannot be read.", false);
  }
}

async function copyLink() {
  const linked = at("play-linked");
  try {
    await navigator.clipboard.writeText(link());
    show(linked, "Copied.");
  } catch {
    // Browsers lend the clipboard to secure origins only.
    show(
      linked,
      h("label", null, "The link ", h("input", { type: "text", readonly: true, value: link() })),
    );
    linked.querySelector("input").select();
  }
}
