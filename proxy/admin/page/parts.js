// The events on their way to Amplitude, and what stands between clients and evaluations.

import { h } from "./dom.js";
import { facts, mark, table } from "./tables.js";
import { bytes, clock, count, counted, jsonText, span, valued, worded } from "./words.js";

/** Each project's events on their way upstream, and where they are kept meanwhile. */
export function events(list, spool) {
  return [
    table("Events on their way to Amplitude, by project", EVENTS, list, (one) => one.project),
    spool
      ? facts(
          [
            [
              "Kept",
              spool.place === "memory" ? `in memory (${spool.why ?? "no disk"})` : spool.place,
            ],
            ["Used", `${bytes(spool.used_bytes)} of ${bytes(spool.max_bytes)}`],
            ["Not yet written", count(spool.unwritten)],
            ["Last commit took", valued("seconds", spool.last_commit_seconds)],
          ],
          "facts inline",
        )
      : null,
  ];
}

const EVENTS = [
  { title: "Project", cell: (one) => h("strong", null, one.project) },
  { title: "Waiting", number: true, cell: (one) => count(one.pending) },
  {
    title: "Oldest",
    number: true,
    cell: (one) => (one.pending ? span(one.oldest_age_seconds) : "–"),
  },
  { title: "Accepted", number: true, cell: (one) => count(one.counts.accepted) },
  { title: "Sent", number: true, cell: (one) => count(one.counts.sent) },
  { title: "Retried", number: true, cell: (one) => count(one.counts.retried) },
  { title: "Dropped", cell: dropped },
  { title: "Last answer", cell: answer },
];

function dropped(one) {
  const reasons = Object.entries(one.counts.dropped ?? {}).filter(([, number]) => number);
  if (!reasons.length) return mark("good", "none");
  return h(
    "ul",
    { class: "plain" },
    reasons.map(([why, number]) => h("li", null, mark("bad", `${count(number)} ${worded(why)}`))),
  );
}

function answer(one) {
  if (!one.last_answer) return "none yet";
  const { status, said, at } = one.last_answer;
  const well = status >= 200 && status < 300 && !one.failures_in_a_row;
  return [
    mark(well ? "good" : "bad", [status, said].filter(Boolean).join(" ")),
    h(
      "small",
      null,
      clock(at),
      one.failures_in_a_row ? ` · ${counted(one.failures_in_a_row, "failure")} in a row` : "",
    ),
  ];
}

const PARTS = { cors: "CORS", ofrep: "OFREP", tls: "TLS", web: "Web experiments" };

/** What stands between clients and evaluations, one short list for each part. */
export function edge({ edge: parts, store, offline, config }) {
  const all = { ...parts };
  if (store) all.data_directory = storeFacts(store);
  if (offline) all.offline = offline;
  if (config) all.configuration = configFacts(config);
  return h(
    "div",
    { class: "cards" },
    Object.entries(all).map(([name, part]) =>
      h(
        "div",
        { class: "card", "data-key": name },
        h("h3", null, PARTS[name] ?? capital(worded(name))),
        facts(
          flat(part)
            .slice(0, 12)
            .map(([path, last, value]) => [worded(path), valued(last, value)]),
        ),
      ),
    ),
  );
}

function capital(words) {
  return words.charAt(0).toUpperCase() + words.slice(1);
}

function storeFacts(store) {
  const { directory, durable, trouble, records, damaged, lost, age_seconds } = store;
  return {
    directory: directory ?? "none",
    durable,
    trouble: trouble || "none",
    records,
    damaged,
    lost,
    age_seconds,
  };
}

function configFacts({ file, hash, loaded_at, last_attempt: last }) {
  const attempt = last ? `${last.outcome}, ${clock(last.at)}` : "none";
  return { file: file ?? "none", hash, loaded_at, last_attempt: attempt };
}

function flat(part, before = "") {
  return Object.entries(part ?? {}).flatMap(([name, value]) => {
    const path = before ? `${before} ${worded(name)}` : name;
    if (Array.isArray(value)) return [[path, name, value.length ? jsonText(value, 120) : "none"]];
    if (value && typeof value === "object") {
      const inner = flat(value, path);
      return inner.length || before ? inner : [[path, name, "none"]];
    }
    // Of what lies deep only that is told which is not nothing.
    return before && !value ? [] : [[path, name, value]];
  });
}
