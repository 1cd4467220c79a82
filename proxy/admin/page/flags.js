// The flags of one deployment: found, filtered, unfolded.

import { bar, huesOf, legend, partsOf } from "./bars.js";
import { h } from "./dom.js";
import { mark, more } from "./tables.js";
import { count, counted, percent } from "./words.js";

const MOST_STRIPES = 4;
const HAYSTACKS = new WeakMap();

/** Put the flags that clients ask for first, each kind by key. */
export function sorted(flags) {
  return flags.toSorted(
    (one, other) => Number(other.deployed) - Number(one.deployed) || (one.key < other.key ? -1 : 1),
  );
}

/** The flags that the search and the kind leave. */
export function found(flags, { search, kind }) {
  const words = search.toLowerCase().split(/\s+/u).filter(Boolean);
  return flags.filter(
    (one) =>
      (kind === "" || (kind === "on") === one.on) &&
      words.every((word) => haystack(one).includes(word)),
  );
}

function haystack(flag) {
  let text = HAYSTACKS.get(flag);
  if (text === undefined) {
    text = [
      flag.key,
      flag.type,
      flag.variants.map((one) => [one.key, one.name]),
      flag.segments.map((one) => [one.name, one.conditions]),
      flag.cohorts,
      flag.dependencies,
    ]
      .flat(5)
      .join("\n")
      .toLowerCase();
    HAYSTACKS.set(flag, text);
  }
  return text;
}

/** The list: one line a flag, which unfolds; `open` holds the keys of those unfolded. */
export function list(flags, { shown, step, open }) {
  return [
    h(
      "div",
      { class: "flags" },
      flags.slice(0, shown).map((one) => row(one, open.has(one.key))),
    ),
    more("flags", Math.min(shown, flags.length), flags.length, step),
  ];
}

/** What is said above the list: how many there are, and how many of them are shown. */
export function countWords(found_, all) {
  if (!all) return "No flags.";
  return found_ === all ? counted(all, "flag") : `${count(found_)} of ${counted(all, "flag")}`;
}

/** Flags that are not in force as upstream has them, with the reasons. */
export function trouble({ left_out: leftOut, waiting }, search, { shown, step }) {
  const wanted = search.toLowerCase();
  const rows = [
    ...leftOut.map((one) => ({
      key: one.key,
      mood: "warn",
      what: "left out",
      why: one.reason,
      then: inForce(one),
    })),
    ...waiting.map((one) => ({
      key: one.key,
      mood: "wait",
      what: "waiting",
      why: `for ${one.cohorts.length === 1 ? "cohort" : "cohorts"} ${one.cohorts.slice(0, 5).join(", ")}${one.cohorts.length > 5 ? ` and ${one.cohorts.length - 5} more` : ""}`,
      then: "",
    })),
  ].filter((one) => one.key.toLowerCase().includes(wanted));
  if (!rows.length) return null;
  return [
    h(
      "ul",
      { class: "troubles", "aria-label": "Flags that are not in force as they came" },
      rows
        .slice(0, shown)
        .map((one) =>
          h(
            "li",
            { "data-key": `${one.what}/${one.key}` },
            mark(one.mood, h("code", null, one.key), ` ${one.what}: ${one.why}${one.then}`),
          ),
        ),
    ),
    more("trouble", Math.min(shown, rows.length), rows.length, step),
  ];
}

function inForce(one) {
  return one.in_force === "earlier version"
    ? " – an earlier version is in force"
    : " – nothing is in force in its place";
}

function row(flag, isOpen) {
  const hueOf = huesOf(flag.variants.map((one) => one.key));
  return h(
    "details",
    { class: "flag", "data-key": flag.key, "data-flag": flag.key, open: isOpen },
    h(
      "summary",
      null,
      h("span", { class: "flag-key" }, h("code", null, flag.key)),
      h("span", { class: "flag-state" }, flag.on ? mark("good", "on") : mark("off", "off")),
      h("span", { class: "flag-type" }, flag.type.replaceAll("-", " ") || "–"),
      h("span", { class: "flag-version" }, flag.version === null ? "–" : `v${flag.version}`),
      stripes(flag, hueOf),
    ),
    isOpen ? inside(flag, hueOf) : null,
  );
}

function stripes(flag, hueOf) {
  const told = flag.segments.map((one) => `${one.name}: ${partWords(one)}`).join("; ");
  return h(
    "span",
    { class: "stripes", role: "img", "aria-label": told.slice(0, 400) || "no segments" },
    flag.segments.slice(0, MOST_STRIPES).map((one) => bar(partsOf(one), hueOf, { thin: true })),
  );
}

function partWords(segment) {
  return partsOf(segment)
    .map((one) => `${one.variant ?? "no variant"} ${percent(one.percent)}`)
    .join(", ");
}

function inside(flag, hueOf) {
  return h(
    "div",
    { class: "inside" },
    h(
      "ol",
      { class: "segments" },
      flag.segments.map((one) => segment(one, hueOf)),
    ),
    h(
      "dl",
      { class: "facts inline" },
      pair("Variants", flag.variants.map((one) => variantWords(one)).join(", ") || "none"),
      flag.cohorts.length ? pair("Cohorts", flag.cohorts.join(", ")) : null,
      flag.dependencies.length ? pair("Needs flags", flag.dependencies.join(", ")) : null,
      pair(
        "Evaluated",
        [flag.evaluation_mode, flag.delivery_method].filter(Boolean).join(", ") || "–",
      ),
      flag.deployed ? null : pair("Deployed", "no: only other flags need it"),
    ),
    h(
      "p",
      null,
      h(
        "button",
        { type: "button", class: "small", "data-action": "play", "data-flag": flag.key },
        "Explain in the playground",
      ),
    ),
  );
}

function pair(term, value) {
  return h("div", null, h("dt", null, term), h("dd", null, value));
}

function variantWords(variant) {
  const name = variant.name && variant.name !== variant.key ? ` (${variant.name})` : "";
  return `${variant.key}${name}${variant.has_payload ? " with payload" : ""}`;
}

function segment(one, hueOf) {
  const parts = partsOf(one);
  return h(
    "li",
    null,
    h("h3", null, one.name),
    conditions(one.conditions),
    one.too_many_ranges ? null : bar(parts, hueOf),
    h(
      "div",
      { class: "legend-row" },
      one.too_many_ranges
        ? h("span", { class: "quiet" }, "more ranges than can be added up here")
        : legend(parts, hueOf, one.bucketed_by ? "on to the next segment" : "no variant"),
      one.bucketed_by
        ? h("span", { class: "quiet" }, "by ", h("code", null, one.bucketed_by))
        : null,
    ),
  );
}

function conditions(outer) {
  if (outer === null) return h("p", { class: "quiet" }, "everybody");
  if (!outer.length || outer.every((inner) => !inner)) return h("p", { class: "quiet" }, "nobody");
  return h(
    "ul",
    { class: "conditions" },
    outer.flatMap((inner, number) =>
      inner.map((text, place) =>
        h(
          "li",
          null,
          h("span", { class: "joint" }, place ? "and" : number ? "or" : "if"),
          h("span", null, text),
        ),
      ),
    ),
  );
}
