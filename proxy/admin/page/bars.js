// Shares of users as bars. Each bar has its figures beside it in words.

import { h } from "./dom.js";
import { percent } from "./words.js";

const HUES = 6;

/** Give each variant of a flag the class of its colour; "off" is grey everywhere. */
export function huesOf(variants) {
  const hues = new Map();
  for (const key of variants) {
    if (!hues.has(key)) hues.set(key, key === "off" ? "v-off" : `v-${hues.size % HUES}`);
  }
  return (key) => (key === null || key === undefined ? "v-none" : (hues.get(key) ?? "v-off"));
}

/** A segment's parts: each variant's share in percent, and what becomes of the others. */
export function partsOf(segment) {
  const { shares, variant, bucketed_by: bucketed } = segment;
  if (!bucketed) return [{ variant: variant ?? null, percent: 100 }];
  const parts = shares.filter((one) => one.percent > 0).map((one) => ({ ...one }));
  const rest = Math.round((100 - parts.reduce((sum, one) => sum + one.percent, 0)) * 100) / 100;
  if (rest >= 0.01) {
    const same = parts.find((one) => one.variant === variant);
    if (same) same.percent += rest;
    else parts.push({ variant: variant ?? null, percent: rest });
  }
  return parts;
}

/** The parts side by side; `words` is what a screen reader says, null when text stands beside it. */
export function bar(parts, hueOf, { thin = false, words = null } = {}) {
  let from = 0;
  const rects = parts.map((one) => {
    const x = from;
    from += one.percent;
    return h("rect", {
      class: hueOf(one.variant),
      x: `${x}%`,
      // The pixel between neighbours is the bar's ground: they differ without their colours too.
      width: `${Math.max(0.4, one.percent)}%`,
      height: "100%",
    });
  });
  const told = words ? { role: "img", "aria-label": words } : { "aria-hidden": "true" };
  return h("svg", { class: thin ? "bar thin" : "bar", ...told }, rects);
}

/** What the colours of a bar mean, with the figures. */
export function legend(parts, hueOf, none = "no variant") {
  return h(
    "ul",
    { class: "legend" },
    parts.map((one) =>
      h(
        "li",
        null,
        swatch(hueOf(one.variant)),
        h("span", null, one.variant ?? none),
        h("strong", null, percent(one.percent)),
      ),
    ),
  );
}

/** A little square in a variant's colour. */
export function swatch(hue) {
  return h(
    "svg",
    { class: "swatch", "aria-hidden": "true" },
    h("rect", { class: hue, width: "100%", height: "100%" }),
  );
}

/** A line of places 0 to `top` with ranges on it, and where a user fell. */
export function ruler({ top, ranges, point, words }) {
  const at = (number) => `${Math.min(100, Math.max(0, (100 * number) / top))}%`;
  return h(
    "svg",
    { class: "bar ruler", role: "img", "aria-label": words },
    ranges.map(({ range: [from, to], hue }) =>
      h("rect", {
        class: hue,
        x: at(from),
        y: "6",
        width: `${Math.max(0.2, (100 * (Math.min(to, top) - Math.max(from, 0))) / top)}%`,
        height: "14",
      }),
    ),
    h("line", { class: "halo", x1: at(point), x2: at(point), y1: "0", y2: "26" }),
    h("line", { class: "point", x1: at(point), x2: at(point), y1: "0", y2: "26" }),
    h("circle", { class: "point", cx: at(point), cy: "3", r: "3" }),
  );
}
