// The deployments: how fresh their flags are, and what was tried last.

import { h } from "./dom.js";
import { mark, table } from "./tables.js";
import { ago, clock, count, counted, span } from "./words.js";

/** All deployments with age, source and stream. */
export function deployments(list) {
  if (!list.length) return h("p", { class: "quiet" }, "No deployment is known yet.");
  return table("Deployments and how fresh their flags are", DEPLOYMENT, list, (one) => one.key);
}

const DEPLOYMENT = [
  {
    title: "Deployment",
    cell: (one) => [h("strong", null, one.deployment), h("small", null, one.type)],
  },
  { title: "Project", cell: (one) => one.project },
  {
    title: "Flags",
    number: true,
    cell: (one) => [
      h("span", null, count(one.flags)),
      one.left_out?.length
        ? h("small", { class: "warn" }, `! ${count(one.left_out.length)} left out`)
        : null,
      one.waiting?.length
        ? h("small", { class: "wait" }, `… ${count(one.waiting.length)} waiting`)
        : null,
    ],
  },
  { title: "Confirmed", number: true, cell: (one) => ago(one.age_seconds) },
  { title: "Changed", number: true, cell: (one) => (one.changed_at ? clock(one.changed_at) : "–") },
  { title: "Source", cell: (one) => one.source ?? "–" },
  { title: "Stream", cell: (one) => stream(one.stream) },
  { title: "Version", cell: (one) => h("code", null, one.version ?? "–") },
  { title: "Latest attempts", cell: attempts },
];

function stream(state) {
  if (!state) return "–";
  if (state === "delivers") return mark("good", state);
  return mark(state === "off" ? "off" : "wait", state);
}

function attempts(one) {
  const outcomes = one.last_outcomes ?? [];
  const missing = Object.entries(one.cohorts_missing ?? {});
  return h(
    "details",
    null,
    h("summary", null, one.trouble ? mark("bad", one.trouble) : mark("good", "no trouble")),
    h(
      "ul",
      { class: "plain" },
      outcomes.map((each) => h("li", null, outcome(each))),
      (one.broken_patterns ?? []).map((each) =>
        h("li", null, `${each.flag}: a pattern that matches nothing: ${each.reason}`),
      ),
      missing.slice(0, 20).map(([id, why]) => h("li", null, `cohort ${id} is missing: ${why}`)),
      missing.length > 20
        ? h("li", null, `${counted(missing.length - 20, "more cohort")} missing`)
        : null,
      typeof one.next_attempt_in_seconds === "number"
        ? h("li", { class: "quiet" }, `next attempt in ${span(one.next_attempt_in_seconds)}`)
        : null,
    ),
  );
}

function outcome(each) {
  const detail = each.detail ? `: ${each.detail}` : "";
  return [h("time", null, clock(each.at)), ` ${each.what} ${each.outcome}${detail}`];
}
