// Where a user fell: the hash, the bucket within the rollout, the rest among the variants.

import { ruler, swatch } from "./bars.js";
import { selected } from "./conditions.js";
import { h } from "./dom.js";
import { mark } from "./tables.js";
import { count, jsonText, percent } from "./words.js";

const PLACES = 100;
const POSITIONS = 42949673;

/** The hash, the bucket and the variant that a bucketing came to, drawn. */
export function bucketing({ bucketing: told, bucketVariant }, hueOf) {
  const { selector, value, salt, hash, bucket, point } = told;
  const name = Array.isArray(selector) ? selected(selector) : selector;
  if (value === undefined || value === null || value === "" || typeof hash !== "number") {
    return h(
      "p",
      null,
      mark("off", h("code", null, name), " is missing: no bucket, so the segment’s own variant"),
    );
  }
  return h(
    "div",
    { class: "bucketing" },
    h(
      "dl",
      { class: "hash" },
      h("div", null, h("dt", null, name), h("dd", null, h("code", null, jsonText(value, 80)))),
      h("div", null, h("dt", null, "salt"), h("dd", null, h("code", null, salt))),
      h("div", null, h("dt", null, "hash"), h("dd", null, h("code", null, String(hash)))),
      h(
        "div",
        null,
        h("dt", null, "bucket"),
        h("dd", null, h("code", null, String(bucket)), " of 0–99"),
      ),
    ),
    rollout(told),
    told.distributions?.length ? split(told, { point, bucketVariant, hueOf }) : null,
  );
}

// The first question: is the user within the part of all users that is dealt out at all?
function rollout({ bucket, allocation, allocations }) {
  const all = allocations ?? (allocation ? [allocation] : []);
  const ranges = all.map((range) => ({
    range,
    hue: sameRange(range, allocation) ? "taken" : "offered",
  }));
  const told =
    all.map(([from, to]) => (to > from ? `${from}–${to - 1}` : "no bucket")).join(", ") ||
    "no bucket";
  const words = allocation
    ? `Bucket ${bucket} lies in the rollout, which takes ${told}.`
    : `Bucket ${bucket} lies outside the rollout, which takes ${told}.`;
  return h(
    "figure",
    null,
    h("figcaption", null, mark(allocation ? "good" : "bad", words)),
    ruler({ top: PLACES, ranges, point: bucket + 0.5, words }),
    h("div", { class: "axis", "aria-hidden": "true" }, h("span", null, "0"), h("span", null, "99")),
  );
}

function sameRange(one, other) {
  return Boolean(other) && one[0] === other[0] && one[1] === other[1];
}

// The second: which of the variants' ranges holds the rest of the hash?
function split({ distributions }, { point, bucketVariant, hueOf }) {
  const hit = distributions.find(({ range: [from, to] }) => from <= point && point < to);
  const words = hit
    ? `${count(point)} of ${count(POSITIONS)} lies in the range of ${hit.variant}.`
    : `${count(point)} of ${count(POSITIONS)} lies in no variant’s range${bucketVariant ? `: ${bucketVariant}` : ""}.`;
  return h(
    "figure",
    null,
    h("figcaption", null, mark(hit ? "good" : "bad", words)),
    ruler({
      top: POSITIONS,
      ranges: distributions.map(({ range, variant }) => ({ range, hue: hueOf(variant) })),
      point,
      words,
    }),
    h(
      "ul",
      { class: "legend" },
      distributions.map(({ variant, range: [from, to] }) =>
        h(
          "li",
          null,
          swatch(hueOf(variant)),
          h("span", null, variant),
          h("strong", null, percent((100 * (to - from)) / POSITIONS)),
        ),
      ),
    ),
  );
}
