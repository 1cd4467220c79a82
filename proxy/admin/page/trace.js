// How one user came to the variants: each flag, each of its segments, what came of it.

import { huesOf } from "./bars.js";
import { bucketing } from "./bucketing.js";
import { conditions } from "./conditions.js";
import { h } from "./dom.js";
import { mark, more } from "./tables.js";
import { counted, jsonText } from "./words.js";

/** Everything an explanation holds; `open` has the keys of the flags that are unfolded. */
export function explanation(answer, { shown, step, open, search }) {
  const { traces, variants } = answer;
  const wanted = search.toLowerCase();
  const found = traces.filter((one) => one.flagKey.toLowerCase().includes(wanted));
  return [
    disagreement(answer),
    h(
      "div",
      { class: "flags" },
      found.slice(0, shown).map((one) => flag(one, variants[one.flagKey], open.has(one.flagKey))),
    ),
    found.length
      ? null
      : h(
          "p",
          { class: "quiet" },
          traces.length ? "No flag has this in its key." : "No flag was evaluated.",
        ),
    more("explained", Math.min(shown, found.length), found.length, step),
    leftOut(answer.left_out),
    evaluated(answer.user),
  ];
}

/** What was explained, in one line. */
export function title({ traces, deployment, version }) {
  const of = h(
    "span",
    { class: "quiet" },
    ` of ${deployment}, version `,
    h("code", null, version ?? "–"),
  );
  return h("h3", null, counted(traces.length, "flag"), of);
}

function disagreement({ disagrees }) {
  if (!disagrees || (Array.isArray(disagrees) && !disagrees.length)) return null;
  return h(
    "p",
    { class: "banner bad" },
    h("strong", null, "The trace and the answer differ. "),
    `That is a fault of the proxy; the answer is what clients get. ${jsonText(disagrees)}`,
  );
}

function leftOut(flags) {
  const keys = Object.entries(flags ?? {});
  if (!keys.length) return null;
  return h(
    "ul",
    { class: "troubles" },
    keys
      .slice(0, 20)
      .map(([key, why]) => h("li", null, mark("warn", h("code", null, key), ` left out: ${why}`))),
  );
}

function evaluated(user) {
  return h(
    "details",
    { class: "aside", "data-key": "user" },
    h("summary", null, "The user as evaluated"),
    h("pre", null, JSON.stringify(user, null, 2)),
  );
}

function flag(trace, variant, isOpen) {
  const key = variantOf(trace, variant);
  return h(
    "details",
    {
      class: "flag explained",
      "data-key": trace.flagKey,
      "data-explained": trace.flagKey,
      open: isOpen,
    },
    h(
      "summary",
      null,
      h("span", { class: "flag-key" }, h("code", null, trace.flagKey)),
      h("span", { class: "arrow", "aria-hidden": "true" }, "→"),
      h("span", { class: "unseen" }, " gives "),
      h("strong", { class: key === null ? "variant none" : "variant" }, key ?? "no variant"),
      h(
        "span",
        { class: "flag-why" },
        trace.matchedSegment ?? (trace.matched ? "" : "no segment decided"),
      ),
    ),
    isOpen ? steps(trace, variant, key) : null,
  );
}

function variantOf(trace, variant) {
  return (
    variant?.key ??
    variant?.value ??
    (typeof trace.variant === "string" ? trace.variant : (trace.variant?.key ?? null))
  );
}

function steps(trace, variant, key) {
  const named = trace.steps.flatMap((one) => [
    ...(one.bucketing?.distributions ?? []).map((each) => each.variant),
    one.bucketVariant,
  ]);
  const hueOf = huesOf(named.filter((one) => typeof one === "string"));
  const decider = trace.steps.findIndex((one) => one.matched && isDecisive(trace, one));
  return h(
    "div",
    { class: "inside" },
    h(
      "ol",
      { class: "steps" },
      trace.steps.map((one, index) =>
        step(one, { hueOf, after: decider >= 0 && index > decider, decides: index === decider }),
      ),
      h(
        "li",
        { class: "step end" },
        h("span", { class: "dot", "aria-hidden": "true" }, "→"),
        h("h4", null, key === null ? "No variant" : ["Variant ", h("code", null, key)]),
        variant?.payload === undefined
          ? null
          : [
              h("p", { class: "quiet" }, "with the payload"),
              h("pre", null, JSON.stringify(variant.payload, null, 2)),
            ],
      ),
    ),
  );
}

// A segment may name a variant that the flag does not have; then the next one is tried.
function isDecisive(trace, one) {
  return (
    trace.matched && (trace.matchedSegment === undefined || trace.matchedSegment === one.segment)
  );
}

function step(one, { hueOf, after, decides }) {
  const [mood, words] = verdict(one, { after, decides });
  const shown = [
    h("span", { class: "dot", "aria-hidden": "true" }, { good: "✓", bad: "×", off: "–" }[mood]),
    h("h4", null, one.segment || "segment", h("span", { class: `verdict-words ${mood}` }, words)),
  ];
  const kind = `step ${mood}${after ? " after" : ""}${decides ? " decides" : ""}`;
  if (after) return h("li", { class: kind }, shown);
  const bucket = one.bucketing ? bucketing(one, hueOf) : null;
  return h("li", { class: kind }, shown, conditions(one.conditionResult), bucket);
}

function verdict(one, { after, decides }) {
  const late = after ? "decided before; " : "";
  if (!one.conditionsPassed) return ["bad", `${late}not for this user`];
  if (!one.matched) return ["off", `${late}for this user, who is outside its rollout`];
  const variant = one.bucketVariant ?? "its variant";
  if (after) return ["good", `${late}would give ${variant}`];
  return decides ? ["good", `gives ${variant}`] : ["bad", `names ${variant}, which the flag lacks`];
}
