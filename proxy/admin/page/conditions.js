// The conditions of a segment as a user met them.

import { h } from "./dom.js";
import { mark } from "./tables.js";
import { count, jsonText } from "./words.js";

const MOST_VALUES = 12;
const COHORTS = "cohort_ids";
/** As the flags are described by the proxy. */
const WORDS = {
  less: "is less than",
  "less or equal": "is at most",
  greater: "is greater than",
  "greater or equal": "is at least",
  "version less": "is a version before",
  "version less or equal": "is at most version",
  "version greater": "is a version after",
  "version greater or equal": "is at least version",
  "regex match": "matches",
  "regex does not match": "does not match",
};
const COHORT_WORDS = {
  "set contains any": "is in any of the cohorts",
  "set does not contain any": "is in none of the cohorts",
};

/** Each condition that was tried, what it saw, and whether it held. */
export function conditions(tried) {
  if (!tried) return h("p", { class: "quiet" }, "no conditions: everybody");
  if (!tried.length) return h("p", { class: "quiet" }, "an empty list of conditions: nobody");
  return h(
    "ul",
    { class: "conditions" },
    tried.flatMap((inner, number) =>
      inner.map((test, place) => condition(test, place ? "and" : number ? "or" : "if")),
    ),
  );
}

function condition({ condition: { selector, op, values }, propValue, matched }, joint) {
  const ofCohorts = selector.at(-1) === COHORTS && COHORT_WORDS[op];
  const subject = ofCohorts ? selected(selector.slice(0, -1)) : selected(selector);
  return h(
    "li",
    { class: matched ? "held" : "failed" },
    h("span", { class: "joint" }, joint),
    h(
      "span",
      null,
      h("code", null, subject),
      ` ${ofCohorts || (WORDS[op] ?? op)} `,
      h("code", null, wanted(values)),
      h(
        "span",
        { class: "seen" },
        mark(
          matched ? "good" : "bad",
          matched ? "holds: " : "fails: ",
          ofCohorts ? membership(propValue) : seen(propValue),
        ),
      ),
    ),
  );
}

function seen(value) {
  if (value === undefined || value === null) return "the value is missing";
  return ["the value is ", h("code", null, jsonText(value))];
}

function membership(value) {
  if (!Array.isArray(value)) return "nothing is known of cohorts";
  return value.length ? ["in ", h("code", null, wanted(value))] : "in no cohort that flags ask for";
}

/** What a selector selects, without the roots that all have. */
export function selected(selector) {
  const [root, first, ...rest] = selector;
  if (root === "result" && rest.length) {
    return rest.join(".") === "key"
      ? `variant of flag ${first}`
      : `${rest.join(".")} of flag ${first}`;
  }
  if (root === "context" && first === "user") return rest.join(".") || "user";
  if (root === "context" && first === "groups") return ["group", ...rest].join(".");
  return selector.join(".") || "(nothing)";
}

function wanted(values) {
  if (!values.length) return "(nothing)";
  const rest = values.length - MOST_VALUES;
  return values.slice(0, MOST_VALUES).join(", ") + (rest > 0 ? ` and ${count(rest)} more` : "");
}
