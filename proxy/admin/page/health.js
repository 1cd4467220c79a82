// Whether the proxy is well, and what is wrong if it is not.

import { h } from "./dom.js";
import { facts, mark } from "./tables.js";
import { clock, count, counted, rough, span } from "./words.js";

const PILLS = {
  asking: ["…", "Asking"],
  ready: ["✓", "Ready"],
  unready: ["!", "Not ready"],
  stopping: ["!", "Stopping"],
  silent: ["×", "No answer"],
  login: ["×", "Login needed"],
};

/** One word for what is known: a key of PILLS. */
export function healthOf({ answers, status }) {
  if (answers !== "yes") return answers;
  if (status.stopping) return "stopping";
  return status.ready ? "ready" : "unready";
}

/** The pill's content. */
export function pill(health) {
  const [glyph, word] = PILLS[health];
  return [h("span", { class: "glyph", "aria-hidden": "true" }, glyph), h("span", null, word)];
}

/** What a screen reader is told when the health changes. */
export function sentence(health, reasons) {
  const why = reasons.length
    ? `: ${reasons.map(([name, reason]) => `${name}, ${reason}`).join("; ")}`
    : "";
  return {
    asking: "",
    ready: "The proxy is ready.",
    unready: `The proxy is not ready${why}.`,
    stopping: "The proxy is stopping.",
    silent: "The proxy does not answer. What the page shows is how it was before.",
    login: "The operators' port needs a login.",
  }[health];
}

/** The line above everything when what is shown may not be so any more. */
export function banner(health, { since, heard, why }) {
  if (health === "silent") {
    const was = heard
      ? `What stands below is how it was at ${clock(heard)}.`
      : "Nothing has been heard of it yet.";
    return h(
      "div",
      { class: "banner bad" },
      h("strong", null, why || `The proxy has not answered since ${clock(since)}.`),
      ` ${was} The page keeps asking.`,
    );
  }
  if (health === "login") {
    return h(
      "div",
      { class: "banner bad" },
      h("strong", null, "This port needs a login. "),
      "Reload the page and give the user name and password of the operators’ port. ",
      h("button", { type: "button", "data-action": "reload" }, "Reload"),
    );
  }
  return null;
}

/** Names and reasons of all that keeps the proxy from being ready. */
export function reasonsOf(parts) {
  return (parts ?? [])
    .filter((one) => !one.ready)
    .map((one) => [one.name, one.reason || "not ready"]);
}

/** The verdict, what is wrong, and the key figures. */
export function body({ status, parts, samples, isKnown }) {
  const lines = troubles(status, parts);
  const verdict = isKnown
    ? mark("good", "Everything is in order.")
    : mark("off", "Everything was in order.");
  return [
    lines.length ? h("ul", { class: "troubles" }, lines) : h("p", { class: "verdict" }, verdict),
    figures(status, samples),
  ];
}

function troubles(status, parts) {
  const reasons = reasonsOf(parts);
  const named = new Set(reasons.map(([name]) => name));
  const lines = reasons.map(([name, reason]) => line("bad", name, reason));
  if (status.stopping && !named.has("process")) lines.push(line("bad", "process", "stopping"));
  for (const name of status.loops_down ?? []) {
    if (!named.has(name)) lines.push(line("bad", name, "the background loop is down"));
  }
  // Some parts are ready with a word of warning.
  for (const one of parts ?? []) {
    const usual = !one.reason || (one.name === "process" && one.reason === "serving");
    if (one.ready && !usual) lines.push(line("warn", one.name, one.reason));
  }
  for (const [name, words] of warnings(status)) {
    const isTold = (parts ?? []).some((one) => one.name === name && one.reason?.includes(words));
    if (!isTold) lines.push(line("warn", name, words));
  }
  return lines;
}

// What takes nobody out of service, yet is not as it should be.
function warnings({
  deployments,
  projects,
  cohorts,
  events,
  spool,
  store,
  offline,
  config,
  notices,
}) {
  const found = [];
  for (const one of projects ?? []) if (one.trouble) found.push([one.project, one.trouble]);
  for (const one of deployments ?? []) {
    if (one.trouble) found.push([one.deployment, one.trouble]);
    if (one.flags === 0 && !one.left_out?.length && one.age_seconds != null)
      found.push([one.deployment, "no flags: none are deployed to it in Amplitude"]);
    if (one.left_out?.length)
      found.push([one.deployment, `${counted(one.left_out.length, "flag")} left out`]);
  }
  for (const one of cohorts ?? []) {
    if (one.missing) found.push([one.project, `${counted(one.missing, "cohort")} missing`]);
    for (const [trouble, number] of tally((one.cohorts ?? []).map((each) => each.trouble)))
      found.push([one.project, `${counted(number, "cohort")}: ${trouble.replace(/^cohort: /, "")}`]);
  }
  for (const one of events ?? []) {
    const dropped = Object.values(one.counts?.dropped ?? {}).reduce(
      (sum, number) => sum + number,
      0,
    );
    if (one.failures_in_a_row)
      found.push([one.project, "events do not arrive at Amplitude; they are kept"]);
    if (dropped) found.push([one.project, `${counted(dropped, "event")} dropped since the start`]);
  }
  if (store?.directory && spool?.place === "memory")
    found.push(["events", `wait in memory only: ${spool.why}`]);
  if (store?.trouble) found.push(["data directory", store.trouble]);
  if (offline?.trouble) found.push(["offline", offline.trouble]);
  const last = config?.last_attempt;
  if (last && ["refused", "failed"].includes(last.outcome)) {
    const mistakes = last.mistakes.join("; ");
    found.push([
      "configuration",
      `not taken at ${clock(last.at)}, the old one is in force: ${mistakes}`,
    ]);
  }
  for (const each of notices ?? []) found.push(["settings", String(each)]);
  return found;
}

// Each text that is not empty, with how often it occurs.
function tally(texts) {
  const numbers = new Map();
  for (const text of texts) if (text) numbers.set(text, (numbers.get(text) ?? 0) + 1);
  return numbers;
}

function line(mood, name, words) {
  return h("li", null, mark(mood, h("strong", null, name), ` ${words}`));
}

function figures(status, samples) {
  const sum = (list, part) => (list ?? []).reduce((total, one) => total + (part(one) || 0), 0);
  const last = samples?.at(-1);
  return facts(
    [
      ["Requests", last ? `${rough(last.requests_per_second)} /s` : "–"],
      ["Deployments", count(status.deployments.length)],
      ["Flags", count(sum(status.deployments, (one) => one.flags))],
      ["Cohorts", count(sum(status.cohorts, (one) => one.cohorts.length))],
      ["Events waiting", count(sum(status.events, (one) => one.pending))],
      ["Up for", span(status.uptime_seconds)],
      ["Version", status.version],
    ],
    "figures",
  );
}
