// The cohorts: their size, their age, and how far those are that load.

import { h } from "./dom.js";
import { mark, more, table } from "./tables.js";
import { ago, bytes, clock, count, counted, percent } from "./words.js";

/** The cohorts that a search leaves, at most `most` of them. */
export function cohorts(groups, search, most, step) {
  const wanted = search.toLowerCase();
  const all = groups.flatMap((group) =>
    group.cohorts.map((one) => ({ ...one, project: group.project })),
  );
  if (!all.length) return [h("p", { class: "quiet" }, "No flag asks for a cohort.")];
  const found = all.filter((one) => one.id.toLowerCase().includes(wanted));
  found.sort((one, other) => ORDER[one.state] - ORDER[other.state] || (one.id < other.id ? -1 : 1));
  if (!found.length) return [h("p", { class: "quiet" }, "No cohort has this in its id.")];
  return [
    table(
      "Cohorts with size and age",
      COHORT,
      found.slice(0, most),
      (one) => `${one.project}/${one.id}`,
    ),
    more("cohorts", Math.min(most, found.length), found.length, step),
  ];
}

const ORDER = { missing: 0, loading: 1, here: 2 };
const COHORT = [
  {
    title: "Cohort",
    cell: (one) => [
      h("code", null, one.id),
      one.group_type && one.group_type !== "User" ? h("small", null, `of ${one.group_type}`) : null,
    ],
  },
  { title: "Project", cell: (one) => one.project },
  { title: "State", cell: cohortState },
  { title: "Members", number: true, cell: (one) => count(one.size) },
  { title: "Confirmed", number: true, cell: (one) => ago(one.age_seconds) },
  {
    title: "Computed",
    number: true,
    cell: (one) => (one.last_modified ? clock(one.last_modified / 1000) : "–"),
  },
  { title: "Index", number: true, cell: (one) => bytes(one.index_bytes) },
];

function cohortState(one) {
  const moods = { here: "good", loading: "wait", missing: "bad" };
  return [
    mark(moods[one.state] ?? "wait", one.state),
    one.loading ? h("small", null, progress(one.loading)) : null,
    one.trouble || (one.state === "missing" && one.reason)
      ? h("small", { class: "bad" }, one.trouble || one.reason)
      : null,
  ];
}

function progress(load) {
  const of = load.total_bytes ? ` of ${bytes(load.total_bytes)}` : "";
  const share = load.total_bytes
    ? ` (${percent(Math.floor((100 * load.bytes) / load.total_bytes))})`
    : "";
  const members = load.members ? `, ${counted(load.members, "member")}` : "";
  return `${load.stage}: ${bytes(load.bytes)}${of}${share}${members}`;
}
